"""Search in what was published: one index, asked the same way from SQL, the command line and the page.

The index is three marts that dbt builds. A table macro in the published file, `marts.search(asked)`, ranks: documents that hold more of the
words asked for come first, then those the words say more about (BM25, Robertson and Zaragoza 2009), the more important ones raised. A word
also finds what has the same stem; one that stands nowhere finds words that begin as it does, and failing that, words one slip away from it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from aftercast import warehouse
from aftercast.errors import ConfigError, WarehouseError

KINDS = ("incident", "postmortem", "insight", "action_item", "recommendation", "runbook")
LEAST_PREFIX, LEAST_SLIP = 2, 5  # shorter words are not completed, or not corrected
LEAST_STEM, MOST_ENDING = 4, 3  # an ending that stands nowhere is cut off, as in `restarting`
EXCERPT = 160


MACRO = rf"""
create or replace macro marts.search(asked) as table
with words as (
    select distinct unnest(regexp_extract_all(lower(strip_accents(asked)), '[\p{{L}}\p{{N}}]+')) as word
),
exact as (
    select words.word, known.stem, 1.0 as likeness from words inner join marts.mart_search_words as known on words.word = known.word
),
begun as (
    select words.word, known.stem, 0.8 as likeness
    from words inner join marts.mart_search_words as known
        on starts_with(known.word, words.word)
        or (
            starts_with(words.word, known.stem) and length(known.stem) >= {LEAST_STEM}
            and length(words.word) - length(known.stem) <= {MOST_ENDING}
        )
    where length(words.word) >= {LEAST_PREFIX} and words.word not in (select exact.word from exact)
),
near as (
    select words.word, known.stem, 0.5 as likeness
    from words inner join marts.mart_search_words as known
        on abs(length(known.word) - length(words.word)) <= 1 and damerau_levenshtein(known.word, words.word) = 1
    where length(words.word) >= {LEAST_SLIP}
        and words.word not in (select exact.word from exact) and words.word not in (select begun.word from begun)
),
meant as (
    select word, stem, max(likeness) as likeness
    from (from exact union all from begun union all from near) group by word, stem
),
hits as (
    select terms.document_id, meant.word, max(terms.weight * meant.likeness) as weight
    from meant inner join marts.mart_search_terms as terms on meant.stem = terms.stem
    group by terms.document_id, meant.word
),
scored as (
    select document_id, count(*) as matched_n, sum(weight) as relevance from hits group by document_id
)
select
    row_number() over (
        order by scored.matched_n desc, scored.relevance * (1 + documents.importance) desc, documents.occurred_at desc nulls last,
            documents.document_id
    ) as position,
    scored.matched_n,
    (select count(*) from words) as asked_n,
    scored.relevance * (1 + documents.importance) as score,
    documents.*
from scored inner join marts.mart_search_documents as documents on scored.document_id = documents.document_id
order by position
"""


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that was found.

    Attributes:
        position: from 1, among all that was found for the words.
        matched: how many of the words asked for it holds.
        asked: how many words were asked for.
        excerpt: the part of its text where the words stand, or its beginning.
    """

    position: int
    matched: int
    asked: int
    kind: str
    entity_id: str
    title: str
    excerpt: str
    incident_id: str | None
    service: str | None
    family_id: str | None
    severity: str | None
    url: str | None
    occurred_at: datetime | None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of what was found, and how much there is in all."""

    hits: tuple[Hit, ...]
    total: int
    page: int
    pages: int


def search(
    mart: Path,
    asked: str,
    *,
    kinds: Sequence[str] = (),
    service: str | None = None,
    family: str | None = None,
    candidate: str | None = None,
    page: int = 1,
    size: int = 10,
) -> Page:
    """Return a page of the documents of a published mart that hold words asked for, the best first.

    Args:
        mart: the published file.
        asked: words; signs between them are ignored.
        kinds: only these kinds of document; none means all.
        service: only what is about this service.
        family: only what belongs to this family of incidents.
        candidate: only what belongs to incidents with this confirmed cause or top candidate.
        page: from 1. A page past the end is empty.
        size: documents on a page.

    Raises:
        ConfigError: no word was asked for, or a kind is not one.
        WarehouseError: there is no mart, or it was published by a version that had no index.
    """
    wrong = [kind for kind in kinds if kind not in KINDS]
    if wrong:
        raise ConfigError(f"kind {wrong[0]!r} is not searched; kinds are {', '.join(KINDS)}")
    if not words_of(asked):
        raise ConfigError("nothing to search for: give one word or more")
    if page < 1 or size < 1:
        raise ConfigError(f"page {page} of {size} rows cannot be shown; both begin at 1")
    filters = {"service": service, "family_id": family, "candidate_id": candidate}
    clauses = [f"{column} = ?" for column, value in filters.items() if value]
    values: list[object] = [value for value in filters.values() if value]
    if kinds:
        clauses.append(f"kind in ({', '.join('?' * len(kinds))})")
        values.extend(kinds)
    where = f"where {' and '.join(clauses)}" if clauses else ""
    try:
        rows = warehouse.query(
            mart,
            f"select *, count(*) over () as total from marts.search(?) {where} order by position limit {size} offset {(page - 1) * size}",
            [asked, *values],
        )
        total = rows["total"][0] if rows.height else 0
        if not rows.height and page > 1:
            total = warehouse.query(mart, f"select count(*) from marts.search(?) {where}", [asked, *values]).item()
    except WarehouseError as error:
        if re.search(r"(?i)search.* does not exist", str(error)):
            raise WarehouseError(f"{mart} was published by a version that had no search; `aftercast run` publishes it anew") from error
        raise
    hits = tuple(
        Hit(
            position=row["position"],
            matched=row["matched_n"],
            asked=row["asked_n"],
            kind=row["kind"],
            entity_id=row["entity_id"],
            title=row["title"],
            excerpt=excerpt(row["text"], asked),
            incident_id=row["incident_id"],
            service=row["service"],
            family_id=row["family_id"],
            severity=row["severity"],
            url=row["url"],
            occurred_at=row["occurred_at"],
        )
        for row in rows.iter_rows(named=True)
    )
    return Page(hits, total, page, -(-total // size))


def words_of(text: str) -> list[str]:
    """Return the words that a text asks for, in lower case."""
    return re.findall(r"[^\W_]+", text.lower())


def excerpt(text: str, asked: str, width: int = EXCERPT) -> str:
    """Return the part of a text around the first of the words asked for, cut between words; the beginning when none stands there."""
    plain = re.sub(r"\s+", " ", text).strip()
    if len(plain) <= width:
        return plain
    stems = [re.escape(word[: max(4, len(word) - 2)]) for word in words_of(asked)]
    found = re.search(rf"\b(?:{'|'.join(stems)})", plain.lower()) if stems else None
    start = max(0, found.start() - width // 4) if found else 0
    start = 0 if start == 0 else plain.find(" ", start) + 1
    part = plain[start : start + width]
    if start + width < len(plain) and " " in part:
        part = part[: part.rfind(" ")] + " …"
    return f"… {part}" if start else part
