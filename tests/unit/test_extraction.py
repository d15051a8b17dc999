"""Extracting: bounded windows, scheduled windows, reconciliation, and failures that say whose window failed."""

from __future__ import annotations

import itertools
import logging
import os
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercast import extraction, landing, sources
from aftercast.declarations import SourceRow
from aftercast.errors import ConfigError, QualityError, SourceRejected, SourceUnavailable
from aftercast.settings import Settings, raw_folder
from aftercast.sources import Batch
from aftercast.steps import extracting
from aftercast.window import DAY, Window
from tests.unit.landing_fixture import HOUR, NOW, START, batch, deployment, hours, in_window, landed, points

ROWS = 'history: {start: "2026-09-01", end: "2026-09-08"}\nsources: [{name: shop, kind: fake, %s}]\n'
Answer = Callable[[Window], Iterator[Batch]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    place = deployment(tmp_path)
    monkeypatch.setenv("AFTERCAST_HOME", str(place.home))
    monkeypatch.setenv("AFTERCAST_CONFIG", str(place.config))
    monkeypatch.setattr("aftercast.quality.landing_gate", lambda settings: None)
    return place


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], list[Window]]:
    """Make the kind `fake` answer what a function says; returns the list of windows it is asked for."""

    def use(answer: Answer) -> list[Window]:
        asked: list[Window] = []

        class Fake:
            def extract(self, window: Window) -> Iterator[Batch]:
                asked.append(window)
                yield from answer(window)

        module = ModuleType("fake_kind")
        module.open = lambda row, settings: Fake()  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "fake_kind", module)
        monkeypatch.setitem(sources.KINDS, "fake", "fake_kind")
        return asked

    return use


def hourly(window: Window) -> Iterator[Batch]:
    yield batch(in_window(window))


def declare(place: Settings, keys: str = "owner: me") -> None:
    (place.config / "sources.yml").write_text(ROWS % keys)


def row(**keys: object) -> SourceRow:
    return SourceRow(name="shop", kind="fake", **keys)


def extract(place: Settings, window: Window, **keys: object) -> list[landing.Landed]:
    return extraction.extract(place, row(**keys), window, ingested_at=NOW)


@given(start=st.integers(0, 100), length=st.integers(1, 400), days=st.integers(1, 9))
def test_the_parts_of_a_window_are_the_window_and_none_is_too_long(start: int, length: int, days: int):
    window = hours(start, start + length)
    cut = extraction.parts(window, days)
    assert (cut[0].start, cut[-1].end) == (window.start, window.end)
    assert all(before.end == after.start for before, after in itertools.pairwise(cut))
    assert all(part.length <= days * DAY for part in cut)
    assert all(part.end.hour == 0 for part in cut[:-1])
    assert len(cut) <= length // (24 * days) + 2


def test_months_are_extracted_in_bounded_windows_one_after_the_other(place, answers, caplog):
    asked = answers(hourly)
    caplog.set_level(logging.INFO)
    extract(place, hours(5, 24 * 60), max_window_days=7)
    assert len(asked) == 9
    assert max(window.length for window in asked) == 7 * DAY
    assert landed(place).height == 24 * 60 - 5
    assert "window 3 of 9" in caplog.text
    assert "168 rows landed" in caplog.text
    assert "shop/metric_points: 168 received" in caplog.text


def test_a_window_is_left_whole_when_its_row_sets_no_bound(place, answers):
    asked = answers(hourly)
    extract(place, hours(0, 24 * 90))
    assert asked == [hours(0, 24 * 90)]


@pytest.mark.parametrize("kind", [SourceUnavailable, SourceRejected])
def test_a_failure_names_source_and_window_and_keeps_what_landed_before(place, answers, kind):
    def second_fails(window: Window) -> Iterator[Batch]:
        yield batch(in_window(window))
        if window.start > START:
            raise kind("source 'shop': GET /points answered nonsense")

    answers(second_fails)
    with pytest.raises(kind) as failure:
        extract(place, hours(0, 72), max_window_days=1)
    assert str(failure.value) == (
        "source 'shop', window 2 of 3, 2026-09-02 00:00..2026-09-03 00:00 UTC: GET /points answered nonsense "
        "(nothing of this window was landed; the 1 window(s) before it have landed)"
    )
    assert landed(place).height == 24
    assert landing.covered_until(place, "shop") == START + DAY


@pytest.mark.parametrize(
    ("stumble", "kind", "said"),
    [
        (KeyError("data"), SourceRejected, "KeyError: 'data'"),
        (TypeError("'NoneType' object is not subscriptable"), SourceRejected, "NoneType"),
        (pl.exceptions.ShapeError("rows differ"), SourceRejected, "rows differ"),
        (ConnectionResetError("gone"), SourceUnavailable, "gone"),
    ],
)
def test_what_a_kind_stumbles_over_is_named_with_source_window_and_page(place, answers, stumble, kind, said):
    def stumbling(window: Window) -> Iterator[Batch]:
        yield Batch("metric_points", in_window(window), origin="page 7")
        raise stumble

    answers(stumbling)
    with pytest.raises(kind, match=said) as failure:
        extract(place, hours(0, 1))
    assert all(part in str(failure.value) for part in ("'shop'", "2026-09-01 00:00", "after page 7"))
    assert landed(place).is_empty()


def test_a_window_held_back_by_the_gate_does_not_stop_the_later_ones(place, answers, monkeypatch):
    def gate(entity: str, rows: pl.LazyFrame) -> None:
        if rows.filter(pl.col("ts") == START + 24 * HOUR).collect().height:
            raise QualityError("a suite failed")

    monkeypatch.setattr("aftercast.quality.landing_gate", lambda settings: gate)
    answers(hourly)
    with pytest.raises(QualityError, match=r"window 2 of 3.*a suite failed"):
        extract(place, hours(0, 72), max_window_days=1)
    assert landed(place)["ts"].dt.day().unique().sort().to_list() == [1, 3]
    assert landing.covered_until(place, "shop") == START + DAY


def test_a_scheduled_window_begins_where_the_last_good_one_ended(place, answers):
    answers(hourly)
    declare(place)

    def scheduled(first: int, last: int) -> Window:
        return extracting.choose_window("shop", None, None, START + first * HOUR, START + last * HOUR)

    assert scheduled(5, 6) == hours(5, 6)
    extract(place, hours(5, 6))
    assert scheduled(8, 9) == hours(6, 9), "two runs were missed"
    assert scheduled(5, 6) == hours(5, 6), "a run that is cleared asks for what it asked before"
    extract(place, hours(0, 2))
    assert scheduled(6, 7) == hours(6, 7), "a backfill of earlier hours moves nothing back"


def test_a_scheduled_window_begins_early_by_the_overlap_but_one_given_by_hand_does_not(place, answers):
    answers(hourly)
    declare(place, "overlap_minutes: 90")
    at = (START + 5 * HOUR, START + 6 * HOUR)
    assert extracting.choose_window("shop", None, None, *at) == Window(START + 3.5 * HOUR, START + 6 * HOUR)
    assert extracting.choose_window("shop", "2026-09-01", "2026-09-02", *at) == hours(0, 24)
    with pytest.raises(ConfigError, match="both `from` and `to`"):
        extracting.choose_window("shop", "2026-09-01", None, *at)


def test_overlapping_windows_leave_one_row_a_key(place, answers):
    answers(hourly)
    for hour in range(2, 6):
        extract(place, hours(hour - 2, hour + 1))
    assert landed(place).height == 6


def test_reconciling_extracts_the_last_days_as_one_window_and_drops_what_was_deleted(place, answers):
    deleted = START + 30 * HOUR
    asked = answers(hourly)
    for day in range(4):
        extract(place, hours(24 * day, 24 * day + 24))
    extract(place, hours(96, 100))

    def without(window: Window) -> Iterator[Batch]:
        yield batch(in_window(window).filter(pl.col("ts") != deleted))

    asked = answers(without)
    declare(place, "reconcile_days: 3, max_window_days: 1")
    extracting.reconcile("shop", ingested_at=NOW + HOUR)
    assert asked == [hours(24, 100)]
    assert landed(place).height == 99
    assert deleted not in landed(place)["ts"].to_list()


def test_there_is_nothing_to_reconcile_before_the_first_extract(place, answers):
    asked = answers(hourly)
    declare(place, "reconcile_days: 3")
    assert extracting.reconcile("shop", ingested_at=NOW)["received"] == 0
    assert asked == []


def test_progress_is_logged_while_a_long_window_is_read(place, answers, caplog, monkeypatch):
    monkeypatch.setattr(extraction, "SAY_EVERY", 0.0)
    caplog.set_level(logging.INFO)
    answers(lambda window: iter([batch(points([START])), batch(points([START + HOUR, START + 2 * HOUR]))]))
    extract(place, hours(0, 24))
    assert "3 metric_points so far, in 2 batches; now at here" in caplog.text


def test_raw_pages_lie_by_source_and_window_and_an_extract_replaces_its_own(place, answers):
    window = hours(0, 24)
    assert raw_folder(place, row(), window) is None
    folder = raw_folder(place, row(keep_raw=True), window)
    assert folder == place.home / "raw" / "shop" / "20260901T0000_20260902T0000"
    folder.mkdir(parents=True)
    (folder / "00009.json.gz").write_text("a page of an earlier extract")
    answers(hourly)
    extract(place, window, keep_raw=True)
    assert not folder.exists()


def test_raw_pages_past_their_days_and_abandoned_folders_are_pruned(place):
    declare(place, "keep_raw: true, keep_raw_days: 3")
    for name, days in {"raw/shop/old": 4, "raw/shop/new": 2, "raw/gone/old": 31, "raw/gone/new": 29, "staging/killed": 2}.items():
        folder = place.home / name
        folder.mkdir(parents=True)
        (folder / "page").touch()
        for path in (folder / "page", folder):
            os.utime(path, ((NOW - timedelta(days=days)).timestamp(),) * 2)
    counts = landing.prune(place, NOW)
    assert counts == {"raw_windows": 2, "abandoned": 1}
    assert sorted(path.relative_to(place.home).as_posix() for path in place.home.glob("raw/*/*")) == ["raw/gone/new", "raw/shop/new"]
