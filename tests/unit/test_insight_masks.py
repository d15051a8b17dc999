"""A mask of a detector version in the pipeline: it explains the episodes of that version, and leaves everything else as it was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from aftercast.declarations import DetectorRow, SignalRow
from aftercast.detection import detect
from aftercast.detection.series import MASKS
from aftercast.prescriptions import Advice, detector_with, parse
from aftercast.window import Window

START = datetime(2026, 9, 7, tzinfo=UTC)  # a Monday
DAYS = 21
SIGNAL = SignalRow(name="latency", fact="metric", value="latency", by=("service",), aggregate="mean", hurts="up", grain_minutes=15)
LIVE = DetectorRow(version="one", state="live")
NIGHT = "mask: {services: [api], signals: [latency], expects: up, weekly: {days: [mon], starts: '02:00', ends: '04:00'}}"


@pytest.fixture(scope="module")
def points() -> pl.DataFrame:
    """Three quiet weeks of a service, slow on the last two Monday nights and one Thursday noon."""
    chance = np.random.default_rng(3)
    times = [START + timedelta(minutes=15 * bucket) for bucket in range(DAYS * 96)]
    values = 100 + 3 * chance.standard_normal(len(times))
    for day, hour in ((7, 2), (14, 2), (17, 12)):
        begin = (24 * day + hour) * 4
        values[begin : begin + 8] += 80
    columns = {"series_id": "latency|api", "signal": "latency", "subject_kind": "service", "subject": "api", "environment": "production"}
    named = [pl.lit(value).alias(name) for name, value in {**columns, "region": "", "segment": "all"}.items()]
    sides = [pl.lit(None, pl.Float64).alias(name) for name in ("numerator", "denominator")]
    frame = pl.DataFrame({"bucket_at": times, "value": values}).with_columns(*named, *sides)
    return frame.with_columns(pl.col("bucket_at").cast(pl.Datetime("us", "UTC")))


def test_a_mask_explains_the_episodes_of_its_version_alone_from_when_it_was_known(points: pl.DataFrame):
    told = Advice("INC-7:ab", START + timedelta(days=10), parse(NIGHT))
    shadow = detector_with(told, LIVE, version="two", since=START + timedelta(days=11))
    window = Window(START, START + timedelta(days=DAYS))
    masks = pl.DataFrame(schema=MASKS)
    found = detect(points, [SIGNAL], masks, window, detectors=[LIVE, shadow])
    alone = detect(points, [SIGNAL], masks, window, detectors=[LIVE])
    assert found.anomalies.filter(pl.col("mode") == "live").equals(alone.anomalies)
    assert found.scores.equals(alone.scores)
    explained = {
        (row["detector_version"], f"{row['started_at']:%a %d}"): row["explained_by"]
        for row in found.anomalies.filter(pl.col("direction") == "up").iter_rows(named=True)
    }
    name = shadow.masks[0].name
    assert explained["two", "Mon 21"] == name
    assert {key: value for key, value in explained.items() if value} == {("two", "Mon 21"): name}
    assert {("one", "Mon 14"), ("one", "Mon 21"), ("one", "Thu 24"), ("two", "Mon 14"), ("two", "Thu 24")} <= explained.keys()
    hurting = found.anomalies.filter(pl.col("hurts") & (pl.col("detector_version") == "two"))
    assert "Mon 21" not in [f"{moment:%a %d}" for moment in hurting["started_at"]]
    assert found.anomalies["feature_version"].unique().to_list() == [SIGNAL.feature_version]
