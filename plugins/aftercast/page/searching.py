"""Which incidents a text finds: the one place that knows how the page searches."""

from __future__ import annotations

from aftercast.page.reading import Mart

LONGEST = 200


def search(mart: Mart, text: str) -> list[str] | None:
    """Return the ids of the incidents that hold every word of a text in id, title, service or family; None for a text without words.

    Letters count alike in either case and with or without accents. Of a longer text the first 200 characters count.
    """
    words = text[:LONGEST].split()
    if not words:
        return None
    held = "strip_accents(lower(concat_ws(' ', incident_id, title, service_origin, family_title)))"
    every = " and ".join(f"contains({held}, strip_accents(lower(?)))" for _ in words)
    return [row["incident_id"] for row in mart.rows(f"select incident_id from mart_incidents where {every}", words)]
