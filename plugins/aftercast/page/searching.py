"""What a text finds: the one place that knows how the page searches.

The index of the published mart (`aftercast.searching`) is asked where it is there; a mart of an older version is searched by title, id,
service and family.
"""

from __future__ import annotations

import re
from typing import Any

from aftercast.page.reading import Mart
from aftercast.searching import excerpt

LONGEST = 200
OTHERS = 8


def search(mart: Mart, text: str) -> list[str] | None:
    """Return the ids of the incidents that a text finds, the best first; None for a text without words.

    An incident is found by what stands in it or in what belongs to it (postmortem, insights, action items), when that holds as many of the
    words as anything does. Of a longer text the first 200 characters count.
    """
    asked = text[:LONGEST].strip()
    if not asked:
        return None
    if _indexed(mart, asked):
        rows = mart.rows(
            """
            with found as (select * from marts.search(?) where incident_id is not null)
            select incident_id from found
            where matched_n = (select max(matched_n) from found)
            group by incident_id order by min(position)
            """,
            [asked],
        )
        return [row["incident_id"] for row in rows]
    words = asked.split()
    held = "strip_accents(lower(concat_ws(' ', incident_id, title, service_origin, family_title)))"
    every = " and ".join(f"contains({held}, strip_accents(lower(?)))" for _ in words)
    return [
        row["incident_id"] for row in mart.rows(f"select incident_id from mart_incidents where {every} order by started_at desc", words)
    ]


def others(mart: Mart, text: str) -> list[dict[str, Any]]:
    """Return what else a text finds, the best first, with an excerpt each: postmortems, insights, action items, advice, runbooks."""
    asked = text[:LONGEST].strip()
    if not _indexed(mart, asked):
        return []
    rows = mart.rows(
        """
        with found as (select * from marts.search(?))
        select kind, entity_id, title, text, incident_id, url from found
        where kind <> 'incident' and matched_n = (select max(matched_n) from found)
        order by position limit ?
        """,
        [asked, OTHERS],
    )
    return [row | {"excerpt": excerpt(row["text"] or "", asked)} for row in rows]


def _indexed(mart: Mart, asked: str) -> bool:
    return bool(re.search(r"[^\W_]", asked)) and mart.can_search
