"""Known unusual times on the grid: whom they touch, what is learned of them, and which episodes they explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercast.declarations import CalendarRow, SignalRow
from aftercast.detection import Detection, detect
from aftercast.detection.known_times import Event, Events, events_of
from aftercast.detection.series import IDENTITY, MASKS, POINTS, Panel, masked
from aftercast.window import Window

START = datetime(2026, 3, 2, tzinfo=UTC)
GRAIN, PER_DAY, N_DAYS = 15, 96, 25
WINDOW = Window(START, START + timedelta(days=N_DAYS))
NO_MASKS = pl.DataFrame(schema=dict(MASKS))
REQUESTS = SignalRow(name="requests", fact="metric", value="requests", by=("service",), grain_minutes=GRAIN)
ATTEMPTS = SignalRow(name="attempts", fact="kpi", value="attempts", by=("journey", "region", "country"), grain_minutes=GRAIN)
CONVERSION = SignalRow(name="conversion", fact="kpi", numerator="successes", denominator="attempts", by=("journey",), grain_minutes=GRAIN)


def at(bucket: int) -> datetime:
    return START + timedelta(minutes=GRAIN * bucket)


def identity(*subjects: str, signal: SignalRow = REQUESTS, **other: str) -> pl.DataFrame:
    kind = "service" if signal.fact == "metric" else "journey"
    rows = [
        {"series_id": f"{signal.name}|{one}", "signal": signal.name, "subject_kind": kind, "subject": one, "environment": "production"}
        | {"region": "", "segment": "all"}
        | other
        for one in subjects
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(IDENTITY, pl.String))


def panel(who: pl.DataFrame, signal: SignalRow = REQUESTS, n_buckets: int = N_DAYS * PER_DAY) -> Panel:
    return Panel(signal, who, START, GRAIN, np.zeros((who.height, n_buckets)), None, None)


def row(*spans: tuple[int, int], name: str = "sale", **other: object) -> CalendarRow:
    times = [{"starts": at(first).isoformat(), "ends": at(until).isoformat()} for first, until in spans]
    return CalendarRow.model_validate({"name": name, "kind": "promotion", "times": times, "signals": ["requests"], **other})


def evening(day: int, length: int = 24) -> tuple[int, int]:
    return day * PER_DAY + 60, day * PER_DAY + 60 + length


@given(first=st.integers(-30, 120), length=st.integers(1, 2000), before=st.integers(0, 90), after=st.integers(0, 90))
def test_a_bucket_is_masked_when_and_only_when_a_part_of_it_lies_in_the_widened_window(first: int, length: int, before: int, after: int):
    starts = START + timedelta(minutes=7 * first)
    ends = starts + timedelta(minutes=length)
    one = CalendarRow(
        name="sale",
        kind="promotion",
        starts=starts.isoformat(),
        ends=ends.isoformat(),
        signals=("requests",),
        before_minutes=before,
        after_minutes=after,
    )
    events = events_of(panel(identity("cart"), n_buckets=PER_DAY), [one], Window(START, at(PER_DAY)))
    begin, end = starts - timedelta(minutes=before), ends + timedelta(minutes=after)
    assert events.masked[0].tolist() == [at(bucket) < end and at(bucket + 1) > begin for bucket in range(PER_DAY)]


def test_a_window_that_ends_where_a_bucket_begins_leaves_that_bucket_alone() -> None:
    events = events_of(panel(identity("cart")), [row((10, 12))], WINDOW)
    assert np.flatnonzero(events.masked[0]).tolist() == [10, 11]


def test_a_holiday_is_the_day_of_its_zone_also_when_clocks_change() -> None:
    easter = CalendarRow(name="easter", kind="holiday", country="GR", zone="Europe/Athens", signals=("requests",))
    april = Window.parse("2026-04-12", "2026-04-14")
    own = replace(panel(identity("cart"), n_buckets=2 * PER_DAY), start=april.start)
    assert np.flatnonzero(events_of(own, [easter], april).masked[0])[[0, -1]].tolist() == [PER_DAY - 12, 2 * PER_DAY - 13]
    clocks = CalendarRow(name="clocks", kind="other", zone="Europe/Athens", starts="2026-03-29", ends="2026-03-30", signals=("requests",))
    march = replace(own, start=datetime(2026, 3, 28, tzinfo=UTC))
    assert events_of(march, [clocks], Window.parse("2026-03-28", "2026-03-30")).masked[0].sum() == 23 * 4


@pytest.mark.parametrize(
    ("scope", "touched"),
    [
        ({}, ["shop eu de", "shop us", "wallet"]),
        ({"signals": ["conversion"]}, []),
        ({"journeys": ["shop"], "services": ["cart"]}, ["shop eu de", "shop us"]),
        ({"services": ["cart"]}, []),
        ({"regions": ["eu"]}, ["shop eu de", "wallet"]),
        ({"countries": ["FR"]}, ["shop us", "wallet"]),
        ({"environments": ["staging"]}, []),
    ],
)
def test_a_row_touches_its_scope_and_what_does_not_tell_places_apart(scope: dict[str, object], touched: list[str]) -> None:
    who = pl.concat(
        [
            identity("shop", signal=ATTEMPTS, region="eu", segment="region=eu,country=DE", series_id="shop eu de"),
            identity("shop", signal=ATTEMPTS, region="us", segment="region=us", series_id="shop us"),
            identity("wallet", signal=ATTEMPTS, series_id="wallet"),
        ]
    )
    events = events_of(panel(who, ATTEMPTS), [row((10, 12), **{"signals": [], **scope})], WINDOW)
    assert who.filter(pl.Series(events.masked.any(axis=1)))["series_id"].to_list() == touched


def test_without_signals_a_row_moves_journeys_only() -> None:
    assert not events_of(panel(identity("cart")), [row((10, 12), signals=[])], WINDOW).masked.any()


def test_an_episode_is_explained_by_the_event_that_holds_most_of_it_and_expects_its_direction() -> None:
    calendar = [row((100, 120), name="sale", expects="up"), row((110, 140), name="feast", expects="both")]
    events = events_of(panel(identity("cart")), calendar, WINDOW)
    assert events.explains(0, 102, 112, 1) == "sale"
    assert events.explains(0, 102, 112, -1) is None  # down, and only two of ten buckets are in the feast
    assert events.explains(0, 108, 130, 1) == "feast"
    assert events.explains(0, 130, 150, -1) == "feast"
    assert events.explains(0, 130, 151, -1) is None
    assert events.explains(0, 140, 150, 1) is None


spans = st.lists(st.tuples(st.integers(0, 90), st.integers(1, 9)), min_size=1, max_size=4)


@given(names=st.lists(spans, min_size=1, max_size=3), cut=st.integers(0, 50), length=st.integers(1, 50))
def test_events_of_a_part_are_the_part_of_the_events(names: list[list[tuple[int, int]]], cut: int, length: int) -> None:
    rng = np.random.default_rng(cut)
    whole = Events(
        (4, 100),
        tuple(
            Event(f"e{number}", "both", rng.random(4) < 0.6, tuple(sorted((begin, begin + size) for begin, size in own)))
            for number, own in enumerate(names)
        ),
    )
    rows = np.array([2, 0])
    part = whole.take(rows).between(cut, cut + length)
    assert np.array_equal(part.masked, whole.masked[rows][:, cut : cut + length])
    for place, series in enumerate(rows):
        assert part.mark(place, 0, length) == whole.mark(int(series), cut, cut + length)
        assert part.explains(place, 0, length, 1) == whole.explains(int(series), cut, cut + length, 1)


def learned(*spans: tuple[int, int], residual: np.ndarray, past: int, noise: float = 1.0) -> np.ndarray:
    """The usual effect of one event of one series, in blocks of two buckets."""
    events = Events((1, 2 * len(residual)), (Event("sale", "up", np.array([True]), spans),))
    return events.usual_effect(np.where(events.masked.reshape(1, -1, 2).any(axis=2), residual, np.nan), np.array([noise]), 2, past)[0][0]


def test_the_first_occurrence_adds_nothing_and_the_second_what_the_first_did() -> None:
    shape = np.array([5.0, 40.0, 40.0, 20.0])
    residual = np.zeros(100)
    residual[20:24] = shape
    effect = learned((40, 48), (120, 128), residual=residual, past=50)
    assert effect[120:128] == pytest.approx(np.repeat(shape, 2), abs=2.5)
    assert not effect[:40].any() and not effect[48:120].any() and not effect[128:].any()
    assert not learned((40, 48), (120, 128), residual=residual, past=20).any()


def test_the_usual_effect_is_drawn_to_zero_when_it_is_no_more_than_noise() -> None:
    residual = np.random.default_rng(2).normal(size=100)
    assert np.abs(learned((40, 48), (120, 128), residual=residual, past=50)[120:128]).max() < np.abs(residual[20:24]).max() / 2


def test_one_odd_occurrence_of_five_does_not_move_the_usual_effect() -> None:
    residual = np.zeros(400)
    begins = [20, 80, 140, 200, 260, 320]
    for begin in begins[:-1]:
        residual[begin : begin + 4] = 20.0
    residual[140:144] = -60.0
    effect = learned(*[(2 * one, 2 * one + 8) for one in begins], residual=residual, past=300)
    assert effect[640:648] == pytest.approx(20.0, abs=1.5)


def test_earlier_days_of_an_occurrence_that_goes_on_count() -> None:
    residual = np.zeros(200)
    residual[20:120] = 10.0
    effect = learned((40, 240), residual=residual, past=60, noise=0.5)
    assert effect[120:240] == pytest.approx(10.0, abs=0.5)


def test_effects_of_events_that_overlap_add_up() -> None:
    residual = np.zeros(300)
    residual[20:24], residual[60:64] = 30.0, 12.0
    both = Events(
        (1, 600),
        (
            Event("sale", "up", np.array([True]), ((40, 48), (400, 408))),
            Event("feast", "up", np.array([True]), ((120, 128), (400, 408))),
        ),
    )
    known = np.where(both.masked.reshape(1, -1, 2).any(axis=2), residual, np.nan)
    effect, doubt = both.usual_effect(known, np.array([0.5]), 2, 100)
    assert effect[0, 400:408] == pytest.approx(42.0, abs=1.0)
    assert doubt[0, 400:408] == pytest.approx(np.hypot(30, 12) * np.sqrt(0.5), rel=0.05)  # of one occurrence each: half its effect, twice
    assert not doubt[0, 48:120].any()


def test_what_two_rows_say_of_the_same_times_is_learned_once() -> None:
    spans = ((40, 48), (120, 128), (400, 408))
    twice = Events((1, 600), tuple(Event(name, "up", np.array([True]), spans) for name in ("sale", "fair")))
    known = np.where(twice.masked.reshape(1, -1, 2).any(axis=2), 20.0, np.nan)
    assert twice.usual_effect(known, np.array([0.1]), 2, 100)[0][0, 400:408] == pytest.approx(20.0, abs=0.5)


def test_the_more_occurrences_agree_the_less_the_next_may_differ() -> None:
    spans = tuple((40 * number, 40 * number + 8) for number in range(1, 12))
    event = Events((1, 600), (Event("sale", "up", np.array([True]), spans),))
    residual = np.where(event.masked.reshape(1, -1, 2).any(axis=2), 20.0, np.nan)
    doubts = [event.usual_effect(residual, np.array([0.1]), 2, past)[1].max() for past in (10, 30, 50, 110, 210)]
    assert doubts[0] == 0
    assert doubts[1] == pytest.approx(20 * 0.5 * 2**0.5, rel=0.01)
    assert doubts[1] > doubts[2] > doubts[3] > doubts[4] > 2
    uneven = residual + np.repeat(8 * np.random.default_rng(1).normal(size=15), 20)
    assert event.usual_effect(uneven, np.array([0.1]), 2, 210)[1].max() > 1.5 * doubts[4]


@given(seed=st.integers(0, 50))
def test_what_happens_later_teaches_nothing_earlier(seed: int) -> None:
    rng = np.random.default_rng(seed)
    residual = 10 * rng.normal(size=200)
    later = residual.copy()
    later[100:] = 1000.0
    spans = tuple((int(one), int(one) + 16) for one in np.cumsum(rng.integers(20, 60, 8)))
    assert np.array_equal(*(learned(*spans, residual=values, past=100) for values in (residual, later)))


def rows_of(signal: SignalRow, subject: str, value: np.ndarray, **sides: np.ndarray) -> pl.DataFrame:
    return (
        pl.DataFrame(
            {"value": value, **dict.fromkeys(("numerator", "denominator"))} | sides, schema_overrides=dict.fromkeys(sides, pl.Float64)
        )
        .with_columns(
            pl.col("numerator", "denominator").cast(pl.Float64),
            pl.datetime_range(START, at(len(value)), f"{GRAIN}m", closed="left", time_unit="us", eager=True).alias("bucket_at"),
        )
        .join(identity(subject, signal=signal), how="cross")
        .select(list(POINTS))
    )


@cache
def traffic(seed: int = 3) -> np.ndarray:
    """Ordinary requests of a service."""
    day = np.arange(N_DAYS * PER_DAY) / PER_DAY
    load = np.exp(0.6 * np.sin(2 * np.pi * (day - 0.3))) * np.where(np.floor(day) % 7 >= 5, 0.8, 1.0)
    return np.random.default_rng(seed).poisson(900 * load).astype(float)


def with_sales(days: Sequence[int], size: float = 1.45) -> np.ndarray:
    value = traffic().copy()
    for day in days:
        value[slice(*evening(day))] *= size
    return np.rint(value)


def found(value: np.ndarray, calendar: Sequence[CalendarRow] = (), masks: pl.DataFrame = NO_MASKS) -> Detection:
    return detect(rows_of(REQUESTS, "cart", value), (REQUESTS,), masks, WINDOW, calendar=calendar)


def on(day: int) -> pl.Expr:
    first, until = evening(day)
    return (pl.col("started_at") < at(until)) & (pl.col("ended_at") > at(first))


def test_a_known_promotion_hurts_nobody_and_an_unknown_one_of_its_size_does() -> None:
    value = with_sales([15])
    (unknown,) = found(value).anomalies.filter(on(15)).to_dicts()
    assert (unknown["hurts"], unknown["direction"], unknown["explained_by"]) == (True, "up", None)
    known = found(value, [row(evening(15), expects="up")]).anomalies.filter(on(15))
    assert known.height == 1
    assert known.select("hurts", "direction", "explained_by").row(0) == (False, "up", "sale")


def test_the_next_occurrence_is_expected() -> None:
    days, value = (10, 16, 22), with_sales([10, 16, 22])
    detection = found(value, [row(*[evening(day) for day in days], expects="up")])
    points = detection.scores.filter(pl.col("day_at") == at(22 * PER_DAY)).row(0, named=True)
    inside = slice(60, 84)
    ratio = np.array(points["value"][inside]) / np.array(points["expected"][inside])
    assert np.median(ratio) == pytest.approx(1.0, abs=0.05)
    assert all(points["is_masked"][inside]) and not any(points["is_masked"][:60])
    first = detection.scores.filter(pl.col("day_at") == at(10 * PER_DAY)).row(0, named=True)
    assert np.median(np.array(first["value"][inside]) / np.array(first["expected"][inside])) > 1.3
    assert detection.anomalies.filter(on(10)).height == 1
    assert detection.anomalies.filter(on(22)).is_empty()


def test_a_promotion_leaves_ordinary_evenings_as_they_are() -> None:
    days = range(8, 18)
    bent, kept, calm = (
        np.stack([row["expected"][60:84] for row in found(value, calendar).scores.filter(pl.col("day_at") == at(18 * PER_DAY)).to_dicts()])
        for value, calendar in (
            (with_sales(days), ()),
            (with_sales(days), [row(*[evening(day) for day in days])]),
            (traffic(), ()),
        )
    )
    assert np.median(kept / calm) == pytest.approx(1.0, abs=0.03)
    assert np.median(bent / calm) > 1.1


def test_a_failure_during_a_promotion_still_hurts() -> None:
    days = (10, 16, 22)
    value = with_sales(days)
    first, _ = evening(22)
    value[first + 4 : first + 16] *= 0.5
    anomalies = found(np.rint(value), [row(*[evening(day) for day in days], expects="up")]).anomalies.filter(on(22))
    assert anomalies.select("hurts", "direction", "explained_by").rows() == [(True, "down", None)]


def test_a_promotion_weaker_than_the_last_is_no_failure() -> None:
    value = with_sales([16])
    value[slice(*evening(22))] *= 1.2
    assert found(np.rint(value), [row(*[evening(day) for day in (16, 22)], expects="up")]).anomalies.filter(on(22)).is_empty()


def test_a_promotion_that_brings_nobody_is_a_failure_once_several_did() -> None:
    days = (8, 10, 12, 14, 16, 18)
    anomalies = found(with_sales(days), [row(*[evening(day) for day in (*days, 22)], expects="up")]).anomalies.filter(on(22))
    assert anomalies.select("hurts", "direction").rows() == [(True, "down")]


def test_a_changed_calendar_scores_again_only_the_days_it_reaches_and_ends_as_if_scored_anew() -> None:
    rows, later = rows_of(REQUESTS, "cart", with_sales([15, 22])), [row(evening(15), evening(22), expects="up")]
    before = detect(rows, (REQUESTS,), NO_MASKS, WINDOW)
    after = detect(rows, (REQUESTS,), NO_MASKS, WINDOW, calendar=later, kept=before.scores)
    assert after.scored_days == {at(day * PER_DAY) for day in range(15, N_DAYS)}
    assert after.anomalies.equals(detect(rows, (REQUESTS,), NO_MASKS, WINDOW, calendar=later).anomalies)
    other = [row(evening(15), evening(22), expects="both", name="sale")]
    assert not detect(rows, (REQUESTS,), NO_MASKS, WINDOW, calendar=other, kept=after.scores).scored_days


def maintenance(service: str, *days: int) -> pl.DataFrame:
    times = [evening(day) for day in days]
    windows = [{"started_at": at(first), "ended_at": at(until), "name": f"chg-{first}"} for first, until in times]
    rows = [{"kind": "maintenance", "environment": "production", "service": service, **one} for one in windows]
    return pl.DataFrame(rows, schema=dict(MASKS))


def test_maintenance_is_masked_and_explained_for_its_service_alone() -> None:
    days = range(8, 18)
    value = with_sales([*days, 20], 0.4)
    rows = pl.concat([rows_of(REQUESTS, name, value) for name in ("cart", "mail")])
    detection = detect(rows, (REQUESTS,), maintenance("cart", *days, 20), WINDOW)
    first = detection.anomalies.filter(on(8)).sort("subject")
    assert first.select("subject", "hurts", "explained_by").rows() == [
        ("cart", False, f"maintenance: chg-{evening(8)[0]}"),
        ("mail", True, None),
    ]
    scores = detection.scores.filter(pl.col("day_at") == at(18 * PER_DAY)).sort("series_id").to_dicts()
    expected = [np.median(np.array(one["expected"])[60:84] / traffic()[slice(*evening(18))]) for one in scores]
    assert expected[0] == pytest.approx(1.0, abs=0.05)
    assert expected[1] < 0.8
    assert detection.anomalies.filter(on(20) & (pl.col("subject") == "cart"))["explained_by"].to_list() == [
        f"maintenance: chg-{evening(20)[0]}"
    ]


def test_what_a_maintenance_did_is_not_expected_of_the_next() -> None:
    days = (10, 13, 16, 22)
    (one,) = found(with_sales(days, 0.4), masks=maintenance("cart", *days)).scores.filter(pl.col("day_at") == at(22 * PER_DAY)).to_dicts()
    assert np.median(np.array(one["expected"])[60:84] / traffic()[slice(*evening(22))]) == pytest.approx(1.0, abs=0.05)


def test_maintenance_of_everything_is_of_every_series_and_no_other_environment() -> None:
    who = pl.concat([identity("cart"), identity("cart", environment="staging", series_id="staging")])
    events = events_of(panel(who), (), WINDOW, maintenance("", 9))
    first, until = evening(9)
    assert [events.explains(series, first, until, -1) for series in (0, 1)] == [f"maintenance: chg-{first}", None]
    assert not events.masked.any()  # series.masked does that, with incidents


def test_maintenance_of_a_region_is_masked_and_explained_there_alone() -> None:
    who = pl.concat([identity("cart", region=name, series_id=name or "all") for name in ("", "eu", "us")])
    masks = maintenance("cart", 9).with_columns(region=pl.lit("eu"))
    first, until = evening(9)
    events = events_of(panel(who), (), WINDOW, masks)
    assert [events.explains(series, first, until, -1) is not None for series in range(3)] == [True, True, False]
    flags, windows = masked(masks, panel(who), timedelta(0), timedelta(0))
    assert flags.sum(axis=1).tolist() == [24, 24, 0]
    assert [one.tolist() for one in windows] == [[[first, until]], [[first, until]], []]


def test_a_ratio_learns_its_usual_effect_too() -> None:
    rng = np.random.default_rng(5)
    asked = traffic().astype(int)
    share = np.full(len(asked), 0.6)
    for day in (10, 16, 22):
        share[slice(*evening(day))] = 0.7
    paid = rng.binomial(asked, share).astype(float)
    rows = rows_of(CONVERSION, "shop", paid / asked, numerator=paid, denominator=asked.astype(float))
    sale = row(*[evening(day) for day in (10, 16, 22)], signals=["conversion"], expects="up")
    detection = detect(rows, (CONVERSION,), NO_MASKS, WINDOW, calendar=[sale])
    last = detection.scores.filter(pl.col("day_at") == at(22 * PER_DAY)).row(0, named=True)
    assert np.median(last["expected"][60:84]) == pytest.approx(0.7, abs=0.015)
    assert np.median(last["expected"][:60]) == pytest.approx(0.6, abs=0.01)
