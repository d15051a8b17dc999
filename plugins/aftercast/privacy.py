"""Personal data out of rows before anything is stored: people become tokens, free text is redacted.

Tokens are keyed hashes (HMAC-SHA256), so that one person stays one token inside a deployment and cannot be looked up outside it. The key
comes from AFTERCAST_TOKEN_KEY, else it is made once under `secrets/` of AFTERCAST_HOME. Redaction covers e-mail and IP addresses, card and
phone numbers, bearer tokens and the common shapes of API secrets; it is a net, not a proof.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

TOKEN_PREFIX = "tok_"
FORGOTTEN = "tok_forgotten"  # everybody who was forgotten: somebody was there, and nothing tells who
PERSON_COLUMNS = frozenset({"actor_token", "author_token"})
FREE_TEXT: dict[str, tuple[str, ...]] = {
    "metric_points": ("attributes",),
    "log_patterns": ("pattern", "sample"),
    "spans_red": ("operation",),
    "span_events": ("operation", "event"),
    "changes": ("title", "attributes", "url"),
    "alerts": ("name",),
    "incidents": ("title", "summary", "trigger", "url"),
    "incident_events": ("text",),
    "action_items": ("title", "success_criterion", "url"),
    "postmortems": ("title", "text", "trigger", "contributing_factors", "url"),
    "insights": ("text",),
    "verdicts": (),
    "service_edges": (),
    "journey_kpis": (),
}

# Order matters: the most specific shapes go first.
PATTERNS: tuple[tuple[str, str], ...] = (
    (r"(?i)\bbearer\s+[a-z0-9._~+/=-]{8,}", "Bearer <secret>"),
    (
        r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abprs]-[\w-]{10,}|sk_(?:live|test)_\w{10,}|sk-[\w-]{20,}"
        r"|A(?:KIA|SIA)[A-Z0-9]{16}|AIza[\w-]{30,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{4,})",
        "<secret>",
    ),
    (
        r"(?i)(api[_-]?key|access[_-]?token|auth[_-]?token|token|secret|passw(?:or)?d|pwd)(\"?\s*[=:]\s*\"?)[^\s\"'&,;<>]{4,}",
        "${1}${2}<secret>",
    ),
    (r"(://)[^/\s:@]+:[^/\s@]+@", "${1}<secret>@"),
    (r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}", "<email>"),
    (
        r"\b(?:4\d{3}|5[1-5]\d{2}|2[2-7]\d{2}|3[47]\d{2}|6(?:011|5\d{2}))(?:[ -]?\d{4}){2}[ -]?\d{3,4}\b"
        r"|\b3[47]\d{2}[ -]?\d{6}[ -]?\d{5}\b",
        "<card>",
    ),
    (r"\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b", "<ip>"),
    (
        r"(?i)\b(?:[0-9a-f]{1,4}:){5,7}[0-9a-f]{1,4}\b|\b(?:fe[89ab][0-9a-f]|f[cd][0-9a-f]{2}|[23][0-9a-f]{3})(?::[0-9a-f]{0,4}){2,7}\b",
        "<ip>",
    ),
    (
        r"\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d(?:[ .-]?\d){6,11}\b"
        r"|\(\d{3}\)[ .-]?\d{3}[ .-]\d{4}\b|\b\d{3}[ .-]\d{3}[ .-]\d{4}\b",
        "<phone>",
    ),
)
# What no published text may hold, whatever let it in: for the last look before readers get it.
NEVER_PUBLISHED: tuple[tuple[str, str], ...] = (
    *(pair for pair in PATTERNS if pair[1] in ("Bearer <secret>", "<secret>", "<email>")),
    (r"\btok_[0-9a-f]{16}\b", "<person>"),
)
# Every pattern above needs one of these; a cheap test that spares clean text the nine replacements.
SUSPECT = (
    r"(?i)@|bearer|gh[pousr]_|github_pat|glpat|xox|sk[_-]|a[ks]ia|aiza|eyj|key|token|secret|passw|pwd"
    r"|\d{4}[ -]?\d{4}|\d{6}|\d\.\d|[0-9a-f]:[0-9a-f:]|\d{3}[ .)-]|\+\d"
)


def redact_expression(text: pl.Expr) -> pl.Expr:
    """Return the expression that redacts a text expression."""
    redacted = text
    for pattern, replacement in PATTERNS:
        redacted = redacted.str.replace_all(pattern, replacement)
    return redacted


def redact_series(column: pl.Series) -> pl.Series:
    """Redact a column of texts (or of lists of texts). Each distinct suspicious text is worked on once."""
    if isinstance(column.dtype, pl.List):
        frame = pl.DataFrame({"row": pl.int_range(len(column), eager=True), "texts": column}).explode("texts", empty_as_null=True)
        grouped = frame.with_columns(redact_series(frame["texts"])).group_by("row", maintain_order=True).agg("texts")["texts"]
        kept = pl.DataFrame({"old": column, "new": grouped})
        return kept.select(pl.when(pl.col("old").list.len().fill_null(0) > 0).then("new").otherwise("old").alias(column.name)).to_series()
    distinct = column.unique().drop_nulls()
    suspects = distinct.filter(distinct.str.contains(SUSPECT)).to_frame("old")
    changed = suspects.with_columns(redact_expression(pl.col("old")).alias("new")).filter(pl.col("old") != pl.col("new"))
    if changed.is_empty():
        return column
    return column.replace(changed["old"], changed["new"])


def redact(text: str) -> str:
    """Redact one text."""
    return str(redact_series(pl.Series([text]))[0])


class TokenKey(bytes):
    """A key that knows whom to forget: `forgotten` holds what `mark_of` makes of tokens, so that nobody is found by reading it."""

    forgotten: frozenset[str] = frozenset()


def mark_of(person: str, key: bytes) -> str:
    """Return the mark of a token on the list of the forgotten: keyed, and of another kind than tokens."""
    return hmac.new(key, f"forgotten {person}".encode(), hashlib.sha256).hexdigest()[:32]


def token(value: str, key: bytes) -> str:
    """Return the token of a person's name or address; a value that already is a token passes unchanged. The forgotten share one."""
    made = value
    if not value.startswith(TOKEN_PREFIX):
        made = TOKEN_PREFIX + hmac.new(key, value.strip().casefold().encode(), hashlib.sha256).hexdigest()[:16]
    if isinstance(key, TokenKey) and key.forgotten and mark_of(made, key) in key.forgotten:
        return FORGOTTEN
    return made


def tokenise_series(column: pl.Series, key: bytes) -> pl.Series:
    """Tokenise a column of people; null stays null."""
    people = [str(value) for value in column.unique().drop_nulls()]
    return column.replace(people, [token(person, key) for person in people])


def protect(entity: str, frame: pl.DataFrame, key: bytes, *, everywhere: Iterable[str] = ()) -> pl.DataFrame:
    """Return the rows of an entity without personal data: people tokenised, free text redacted, and so is every column in `everywhere`."""
    people = [name for name in frame.columns if name in PERSON_COLUMNS]
    texts = [name for name in frame.columns if name in {*FREE_TEXT.get(entity, ()), *everywhere} and name not in PERSON_COLUMNS]
    return frame.with_columns(
        *(tokenise_series(frame[name].cast(pl.String), key).alias(name) for name in people),
        *(redact_series(frame[name]).alias(name) for name in texts if frame[name].dtype in (pl.String, pl.List(pl.String))),
    )


# Columns nobody declared, by the look of their names, that may hold people.
PERSONAL = (
    r"(?i)mail|person|people|employee|customer|author|assignee|reporter|owner|actor|creator|(^|_)by$|login|user|member|contact"
    r"|phone|address|birth|(first|last|full|display|real|family|given)_?name"
)


def protect_unknown(frame: pl.DataFrame, key: bytes) -> pl.DataFrame:
    """Return columns of text that no entity declares without personal data: tokens where the name looks personal, else redacted."""
    return frame.with_columns(
        (tokenise_series(frame[name], key) if re.search(PERSONAL, name) else redact_series(frame[name])).alias(name)
        for name in frame.columns
    )


def token_key(home: Path) -> TokenKey:
    """Return this deployment's key with the list of the forgotten; the key is made on the first call (readable by its owner only)."""
    key = TokenKey(_key(home))
    key.forgotten = marks_of_forgotten(home)
    return key


def forget(home: Path, tokens: Iterable[str]) -> int:
    """Put persons on the list of the forgotten, so that a source that tells of them again brings nobody back; return how many are new."""
    key = token_key(home)
    return learn(home, (mark_of(one, key) for one in tokens))


def learn(home: Path, marks: Iterable[str]) -> int:
    """Put marks on the list of the forgotten, as another machine with the same key made them; return how many are new."""
    known = marks_of_forgotten(home)
    new = frozenset(marks) - known
    if new:
        path = _list_of_forgotten(home)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write("\n".join(sorted(known | new)) + "\n")
        beside.replace(path)
    return len(new)


def marks_of_forgotten(home: Path) -> frozenset[str]:
    """Return the list of the forgotten: keyed marks, from which nobody is found."""
    path = _list_of_forgotten(home)
    return frozenset(path.read_text(encoding="ascii").split()) if path.exists() else frozenset()


def _list_of_forgotten(home: Path) -> Path:
    return home / "secrets" / "forgotten.txt"


def _key(home: Path) -> bytes:
    given = os.environ.get("AFTERCAST_TOKEN_KEY")
    if given:
        return given.encode()
    path = home / "secrets" / "token.key"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        try:
            os.link(temporary, path)  # the first of two racing tasks wins; both then read the same key
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return path.read_text(encoding="ascii").strip().encode()


# Keys of a document that hold a person, alone or as an object; those inside that say what it is and not who; and those whose values look
# like what they are not: a version of four parts is no address, a long id is no card.
PERSON_KEYS = re.compile(
    r"(?i)^(?:.*(?:e?mail|login|user_?name|(?:first|last|display|real|family|given)_?name)"
    r"|actor|agent|assignees?|author|commenter|committer|created_?by|creator|from_?user|member|merged_?by|owner|pusher|reporter|requester"
    r"|acknowledged_?by|resolved_?by|reviewers?|sender|triggered_?by|triggering_actor|updated_?by|users?)$"
)
SECRET_KEYS = re.compile(r"(?i)passw(?:or)?d$|pwd$|secret$|token$|api_?key$|authorization$|credentials?$")
KEPT_OF_PERSON = frozenset({"type", "kind"})
NAMES_OF_THINGS = re.compile(r"(?i)(?:^|_)ids?$|[a-z](?:Id|ID)$|uuid$|fingerprint$|version$|revision$|sha$|digest$|(?:^|_)(?:ref|tag)$")
THING = re.compile(r"pkg:\S+|[\w.:/+-]+", re.ASCII)


def protect_document(document: Any, key: bytes) -> Any:
    """Return a JSON value without personal data: texts where a person is told become tokens, every other text is redacted."""
    texts: dict[str, None] = {}

    def gather(value: Any) -> None:
        for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            gather(one)
        if isinstance(value, str):
            texts[value] = None

    def safe(value: Any, name: str = "", is_person: bool = False) -> Any:
        if isinstance(value, dict):
            return {
                inner: safe(one, inner, inner not in KEPT_OF_PERSON and (is_person or PERSON_KEYS.match(inner) is not None))
                for inner, one in value.items()
            }
        if isinstance(value, list):
            return [safe(one, name, is_person) for one in value]
        if is_person:
            return token(value, key) if isinstance(value, str) and value else value if isinstance(value, bool) else None
        if isinstance(value, str) and SECRET_KEYS.search(name):
            return "<secret>"
        if isinstance(value, str):
            return value if NAMES_OF_THINGS.search(name) and THING.fullmatch(value) else redacted[value]
        return value

    gather(document)
    distinct = pl.Series(list(texts), dtype=pl.String)
    redacted = dict(zip(distinct, redact_series(distinct), strict=True))
    return safe(document)
