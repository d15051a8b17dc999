"""What the `files` source makes of an inbox that a converter wrote, without landing it."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from aftercast.conform import conform
from aftercast.entities import ENTITIES
from aftercast.settings import Settings
from aftercast.sources import open_source


def extract_and_conform(home: Path) -> dict[str, pl.DataFrame]:
    """Return the accepted rows of every entity; fails on a rejected row, an ignored column, an unread file and a key given twice."""
    settings = Settings(home=home, config=home / "config")
    deployment = settings.deployment
    currencies = {journey.journey: journey.currency for journey in deployment.journeys}
    accepted: dict[str, list[pl.DataFrame]] = {}
    for row in deployment.sources:
        for batch in open_source(row, settings).extract(deployment.history):
            assert not batch.notes, batch.notes
            assert batch.rejected is None or not batch.rejected.height, batch.rejected
            entity = ENTITIES[batch.entity]
            result = conform(entity, batch.frame, origin=batch.origin, key=b"key", currencies=currencies)
            assert not result.rejected.height, result.rejected["reason"].value_counts()
            assert not result.notes, result.notes
            assert not result.accepted.select(entity.key).is_duplicated().any(), entity.name
            accepted.setdefault(entity.name, []).append(result.accepted)
    whole = {name: pl.concat(frames) for name, frames in accepted.items()}
    for name, frame in whole.items():
        times = frame[ENTITIES[name].time]
        assert all(deployment.history.contains(moment) for moment in (times.min(), times.max()) if moment), name
    return whole
