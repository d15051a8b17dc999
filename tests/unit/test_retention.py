"""Rows go when their source says they are too old: by whole days, told of honestly, the same when it is done again."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from aftercast import landing
from aftercast.acting import audit
from aftercast.cli import main
from aftercast.errors import ConfigError
from aftercast.settings import Settings
from aftercast.steps import extracting
from aftercast.store import Store
from tests.unit import landing_fixture
from tests.unit.landing_fixture import NOW, START, batch, hours, in_window

SHOP = "{name: shop, kind: demo, entities: [metric_points], keep_days: {metric_points: 2}}"
AT = START + timedelta(days=5, hours=7)  # rows from 4 September on are kept
DAYS = ["date=2026-09-04", "date=2026-09-05"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = landing_fixture.deployment(tmp_path)
    keep(settings, SHOP)
    monkeypatch.setenv("AFTERCAST_HOME", str(settings.home))
    monkeypatch.setenv("AFTERCAST_CONFIG", str(settings.config))
    monkeypatch.delenv("AFTERCAST_STORE", raising=False)
    return settings


def keep(settings: Settings, row: str) -> None:
    (settings.config / "sources.yml").write_text(f'history: {{start: "2026-09-01", end: "2026-09-08"}}\nsources: [{row}]\n')


def land(settings: Settings, first: int, last: int, *, keeps: bool = False) -> None:
    source = settings.deployment.source("shop") if keeps else landing_fixture.SOURCE
    window = hours(first, last)
    landing.land(settings, source, window, [batch(in_window(window), expected=last - first)], ingested_at=AT)


def days(settings: Settings) -> list[str]:
    return sorted(path.name for path in settings.landing.glob("metric_points/source=shop/*") if list(path.iterdir()))


def told(settings: Settings) -> list[tuple[object, ...]]:
    rows = landing_fixture.coverage(settings).sort("window_start")
    return rows.select(
        pl.col("window_start").dt.to_string("%d %H"), pl.col("window_end").dt.to_string("%d %H"), "expected", "received", "landed"
    ).rows()


def test_old_days_go_and_coverage_tells_of_what_is_left(place: Settings, capsys: pytest.CaptureFixture[str]):
    for first, last in ((0, 24), (24, 48), (48, 84), (84, 120)):
        land(place, first, last)
    before = landing.landing_fingerprint(place)
    assert [(str(one), one.rows) for one in landing.outdated(place, AT)] == [
        ("shop/metric_points: 72 rows in 3 files from before 2026-09-04", 72)
    ]
    assert landing.landing_fingerprint(place) == before
    assert extracting.prune(AT)["outdated_files"] == 3
    assert days(place) == DAYS
    assert told(place) == [("04 00", "04 12", 12, 12, 12), ("04 12", "06 00", 36, 36, 36)]
    assert landing.covered_window(place).start == START + timedelta(days=3)
    assert landing.gaps(place, "shop") == []
    assert [(row["what"], row["rows_n"]) for row in audit.rows(place.audit)] == [("outdated", 72)]
    after = landing.landing_fingerprint(place)
    assert extracting.prune(AT)["outdated_files"] == 0
    assert landing.landing_fingerprint(place) == after
    assert len(audit.rows(place.audit)) == 1


def test_one_long_window_is_cut(place: Settings):
    land(place, 0, 120)
    extracting.prune(AT)
    assert told(place) == [("04 00", "06 00", 48, 48, 48)]
    land(place, 0, 120, keeps=True)
    assert days(place) == DAYS
    assert told(place) == [("04 00", "06 00", 48, 48, 48)]
    assert "older than keep_days" in landing_fixture.coverage(place)["reasons"].item()


def test_what_is_too_old_does_not_land_again_and_is_not_told_of(place: Settings):
    land(place, 72, 120, keeps=True)
    land(place, 0, 24, keeps=True)
    assert days(place) == DAYS
    assert told(place) == [("04 00", "06 00", 48, 48, 48)]


def test_a_source_that_stood_still_goes_on_where_it_ended(place: Settings):
    land(place, 0, 24)
    extracting.prune(AT)
    assert days(place) == []
    assert landing.covered_until(place, "shop") == START + timedelta(days=1)
    assert extracting.prune(AT)["outdated_files"] == 0


def test_quarantine_and_unknown_columns_go_with_their_window(place: Settings):
    kept = ["20260903T1200_20260904T1200", "dropped_file-0123abcd"]
    for name in ["20260901T0000_20260902T0000", *kept]:
        for folder, suffix in (("quarantine", ".jsonl"), ("unknown_columns", ".jsonl.gz")):
            path = place.home / folder / "metric_points" / "source=shop" / f"{name}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}\n")
    assert extracting.prune(AT)["outdated_files"] == 2
    assert sorted(path.name.split(".")[0] for path in place.home.glob("*/metric_points/source=shop/*.jsonl*")) == sorted(kept * 2)


def test_without_keep_days_nothing_goes(place: Settings):
    keep(place, "{name: shop, kind: demo, entities: [metric_points]}")
    land(place, 0, 24)
    assert landing.outdated(place, NOW + timedelta(days=9_000)) == []
    assert extracting.prune(NOW + timedelta(days=9_000))["outdated_files"] == 0
    assert not place.audit.exists()


def test_an_unknown_entity_or_no_days_are_refused(place: Settings):
    unknown, none = SHOP.replace("{metric_points: 2}", "{metric_pints: 2}"), SHOP.replace("2}", "0}")
    for row, message in ((unknown, "did you mean 'metric_points'"), (none, "keep_days")):
        keep(place, row)
        with pytest.raises(ConfigError, match=message):
            _ = Settings(home=place.home, config=place.config).deployment


def test_killed_at_any_moment_it_ends_the_same_when_it_is_done_again(place: Settings, monkeypatch: pytest.MonkeyPatch):
    for first, last in ((0, 24), (24, 60), (60, 120)):
        land(place, first, last)

    class Killed(BaseException):
        pass

    real, seen, killed = os.unlink, 0, 0
    for at in range(1, 12):
        seen = 0

        def unlink(*arguments: object, _at: int = at, **named: object) -> None:
            nonlocal seen
            seen += 1
            if seen == _at:
                raise Killed
            real(*arguments, **named)

        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", unlink)
            with suppress(Killed):
                extracting.prune(AT)
        killed += seen >= at
        extracting.prune(AT)
        assert days(place) == DAYS
        assert told(place) == [("04 00", "06 00", 48, 48, 48)]
        for first, last in ((0, 24), (24, 60), (60, 120)):
            land(place, first, last)
    assert killed > 4


def test_over_a_shared_store_old_days_go_there_and_from_other_homes(place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bucket = (tmp_path / "bucket").as_uri()
    monkeypatch.setenv("AFTERCAST_TOKEN_KEY", "the same everywhere")
    monkeypatch.setenv("AFTERCAST_STORE", bucket)
    worker = Settings(home=tmp_path / "worker", config=place.config, store=bucket)
    land(worker, 0, 120)
    assert extracting.prune(AT)["outdated_files"] == 3
    names = Store(bucket, place.home).listing("sources/shop")
    assert sorted({name.split("/")[3] for name in names if "metric_points/" in name}) == DAYS
    assert "audit/log.jsonl" in Store(bucket, place.home).listing("state")
    land(worker, 120, 144)
    assert days(worker) == [*DAYS, "date=2026-09-06"]


def test_the_command_shows_and_then_deletes(place: Settings, capsys: pytest.CaptureFixture[str]):
    land(place, 0, 24)
    main(["prune"])
    assert "24 rows in 1 files" in capsys.readouterr().out
    assert days(place)
    main(["prune", "--yes"])
    assert "1 outdated files" in capsys.readouterr().out
    assert days(place) == []
