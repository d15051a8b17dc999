"""What a text finds: the incidents of the list, and the documents beside them. The one place that knows how the page searches.

The index of the mart is asked where it was published (`aftercast.searching`); a mart of an earlier version has names only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aftercast.page.reading import Mart
from aftercast.searching import words_of

LONGEST = 200
MOST_BESIDE = 8


@dataclass(frozen=True, slots=True)
class Found:
    """What holds every word of a text.

    Attributes:
        incidents: ids of incidents that do so themselves, or to which a postmortem, insight or action item that does belongs.
        beside: rows of other documents (`kind`, `entity_id`, `title`, `incident_id`), the best first.
    """

    incidents: list[str]
    beside: list[dict[str, Any]]


def search(mart: Mart, text: str) -> Found | None:
    """Return what a text finds; None for a text without words.

    Letters count alike in either case and with or without accents. Of a longer text the first 200 characters count.
    """
    asked = text[:LONGEST]
    if not asked.split():
        return None
    if not mart.has("mart_search_terms") or not words_of(asked):
        return Found(_by_name(mart, asked.split()), [])
    sql = "select kind, entity_id, title, incident_id from marts.search(?) where matched_n = asked_n order by position"
    rows = mart.rows(sql, [asked])
    incidents = dict.fromkeys(row["incident_id"] for row in rows if row["incident_id"])
    return Found(list(incidents), [row for row in rows if row["kind"] != "incident"][:MOST_BESIDE])


def _by_name(mart: Mart, words: list[str]) -> list[str]:
    held = "strip_accents(lower(concat_ws(' ', incident_id, title, service_origin, family_title)))"
    every = " and ".join(f"contains({held}, strip_accents(lower(?)))" for _ in words)
    return [row["incident_id"] for row in mart.rows(f"select incident_id from mart_incidents where {every}", words)]
