"""Detection end to end on small synthetic companies: what is found, what is not, and what must never leak."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercast.analyses import DERIVED
from aftercast.declarations import DetectorRow, SignalRow, TuningRow
from aftercast.detection import TABLES, Detection, detect
from aftercast.detection.correcting import level, profile
from aftercast.detection.detecting import _interval
from aftercast.detection.prophet_batch import Spec, as_seconds, load
from aftercast.detection.series import MASKS, POINTS
from aftercast.errors import AftercastError
from aftercast.window import Window

START = datetime(2026, 1, 5, tzinfo=UTC)
GRAIN = 15
PER_DAY = 24 * 60 // GRAIN
N_DAYS = 28
WINDOW = Window(START, START + timedelta(days=N_DAYS))
NO_MASKS = pl.DataFrame(schema=dict(MASKS))

REQUESTS = SignalRow(name="requests", fact="metric", value="requests", by=("service",), grain_minutes=GRAIN)
ERRORS = SignalRow(
    name="errors",
    fact="metric",
    numerator="errors",
    denominator="requests",
    by=("service",),
    grain_minutes=GRAIN,
    hurts="up",
    minimum_effect=0.005,
)
LATENCY = SignalRow(name="latency", fact="metric", value="p95", aggregate="mean", by=("service",), grain_minutes=GRAIN, hurts="up")
SIGNALS = (REQUESTS, ERRORS, LATENCY)

Planted = dict[str, list[tuple[int, int]]]


def at(bucket: int, grain: int = GRAIN) -> datetime:
    return START + timedelta(minutes=grain * bucket)


def points(
    signal: SignalRow, name: str, value: np.ndarray, numerator: np.ndarray | None = None, denominator: np.ndarray | None = None
) -> pl.DataFrame:
    sides = [np.full(len(value), np.nan) if side is None else side for side in (numerator, denominator)]
    return (
        pl.DataFrame(
            {"value": value, "numerator": sides[0], "denominator": sides[1]},
            schema=dict.fromkeys(("value", "numerator", "denominator"), pl.Float64),
        )
        .with_columns(pl.all().fill_nan(None))
        .with_columns(
            bucket_at=pl.datetime_range(
                START, at(len(value), signal.grain_minutes), f"{signal.grain_minutes}m", closed="left", time_unit="us", eager=True
            ),
            series_id=pl.lit(f"{signal.name}|environment=production|service={name}"),
            signal=pl.lit(signal.name),
            subject_kind=pl.lit("service"),
            subject=pl.lit(name),
            environment=pl.lit("production"),
            region=pl.lit(""),
            segment=pl.lit("all"),
        )
        .drop_nulls("value")
        .select(list(POINTS))
    )


def rhythm(per_day: int = PER_DAY, n_days: int = N_DAYS) -> np.ndarray:
    days = np.arange(per_day * n_days) / per_day
    weekend = (np.floor(days) % 7) >= 5
    return (
        np.exp(0.7 * np.sin(2 * np.pi * (days - 0.3)) + 0.3 * np.sin(4 * np.pi * days))
        * np.where(weekend, 0.7, 1.0)
        * (1 + 0.1 * days / n_days)
    )


@cache
def company() -> tuple[pl.DataFrame, tuple[tuple[str, int, int, str], ...]]:
    """Five services, three signals each, about two planted episodes per series: (series_id, first, end, direction)."""
    random = np.random.default_rng(11)
    load_, frames, planted = rhythm(), [], []
    total = len(load_)
    for number in range(5):
        for signal in SIGNALS:
            series_id = f"{signal.name}|environment=production|service=s{number}"
            spans = []
            for first in random.choice(np.arange(9, N_DAYS - 1), 2, replace=False) * PER_DAY + random.integers(0, PER_DAY, 2):
                spans.append((int(first), int(first + random.integers(3, 12))))
            slow = np.repeat(random.normal(size=total // 4), 4)
            level = 10 ** random.uniform(1.7, 3.3)
            wave = np.exp(0.03 * slow + 0.02 * random.normal(size=total))
            inside = np.zeros(total, dtype=bool)
            for first, end in spans:
                inside[first:end] = True
                planted.append((series_id, first, end, "down" if signal is REQUESTS else "up"))
            if signal is REQUESTS:
                frames.append(points(signal, f"s{number}", random.poisson(level * load_ * wave * np.where(inside, 0.4, 1.0)).astype(float)))
            elif signal is ERRORS:
                asked = random.poisson(level * load_).astype(float)
                failed = random.binomial(asked.astype(int), np.where(inside, 0.12, 0.004 * np.exp(0.15 * slow))).astype(float)
                frames.append(
                    points(signal, f"s{number}", np.divide(failed, asked, out=np.full(total, np.nan), where=asked > 0), failed, asked)
                )
            else:
                frames.append(points(signal, f"s{number}", 80 * (0.9 + 0.2 * load_) * wave**2 * np.where(inside, 1.6, 1.0)))
    whole = pl.concat(frames)
    return whole.filter(pl.Series(random.random(whole.height) > 0.02)), tuple(planted)


@cache
def found() -> Detection:
    return detect(company()[0], SIGNALS, NO_MASKS, WINDOW)


def test_planted_episodes_are_found_and_little_else() -> None:
    _, planted = company()
    assert len(planted) == 30
    rows = found().anomalies.to_dicts()
    hit = {
        one: [
            row["anomaly_id"]
            for row in rows
            if row["series_id"] == one[0] and row["started_at"] < at(one[2]) and row["ended_at"] > at(one[1])
        ]
        for one in planted
    }
    n_true = sum(bool(ids) for ids in hit.values())
    n_false = len(rows) - len({name for ids in hit.values() for name in ids})
    recall, precision = n_true / len(planted), n_true / (n_true + n_false)
    assert 2 * precision * recall / (precision + recall) >= 0.9
    assert n_false <= 3  # in 15 series over three weeks
    directions = {one: {row["direction"] for row in rows if row["anomaly_id"] in ids} for one, ids in hit.items() if ids}
    assert all(one[3] in directions[one] for one in directions)


def test_episodes_begin_and_end_where_the_trouble_does() -> None:
    starts, ends = [], []
    for series_id, first, end, direction in company()[1]:
        near = found().anomalies.filter(
            (pl.col("series_id") == series_id)
            & (pl.col("direction") == direction)
            & (pl.col("started_at") < at(end))
            & (pl.col("ended_at") > at(first))
        )
        if near.height == 1:
            starts.append(abs(near["started_at"][0] - at(first)) <= timedelta(minutes=GRAIN))
            ends.append(abs(near["ended_at"][0] - at(end)) <= timedelta(minutes=2 * GRAIN))
    assert len(starts) > 20
    assert np.mean(starts) >= 0.9
    assert np.mean(ends) >= 0.9


def test_frames_have_the_declared_shape_and_every_named_model_is_kept() -> None:
    detection = found()
    for name in ("anomalies", "series_health", "models"):
        assert dict(getattr(detection, name).schema) == DERIVED[name]
    assert detection.anomalies.height > 20
    assert detection.anomalies["anomaly_id"].is_unique().all()
    named = pl.concat(
        [detection.anomalies.select("series_id", "trained_until"), detection.series_health.select("series_id", "trained_until")]
    ).unique()
    assert named.join(detection.models, on=["series_id", "trained_until"], how="anti").is_empty()
    assert detection.models.height == named.height


def test_the_model_of_an_episode_was_trained_before_it_began() -> None:
    anomalies = found().anomalies
    assert (anomalies["trained_until"] <= anomalies["started_at"]).all()
    assert (anomalies["trained_from"] < anomalies["trained_until"]).all()
    assert (anomalies["started_at"] >= START + timedelta(days=7)).all()


def test_what_happens_later_changes_nothing_earlier() -> None:
    whole, _ = company()
    now = START + timedelta(days=20)
    doubled = whole.with_columns(value=pl.when(pl.col("bucket_at") >= now).then(pl.col("value") * 3).otherwise("value"))
    before = [
        detect(frame.filter(pl.col("signal") != "errors"), (LATENCY,), NO_MASKS, WINDOW).anomalies.filter(pl.col("ended_at") < now)
        for frame in (whole, doubled)
    ]
    assert before[0].height > 0
    assert before[0].equals(before[1])


def test_the_order_of_rows_does_not_matter_and_runs_repeat() -> None:
    whole, _ = company()
    shuffled = detect(whole.sample(fraction=1.0, shuffle=True, seed=3), SIGNALS, NO_MASKS, WINDOW)
    for name in ("anomalies", "series_health", "models"):
        assert getattr(shuffled, name).equals(getattr(found(), name))


def incidents(*spans: tuple[int, int]) -> pl.DataFrame:
    rows = [
        {"kind": "incident", "name": "", "environment": "production", "service": "", "started_at": at(first), "ended_at": at(end)}
        for first, end in spans
    ]
    return pl.DataFrame(rows, schema=dict(MASKS))


def test_a_masked_incident_does_not_hide_the_next_one() -> None:
    """Four long evening outages in two weeks look like a habit of the series, unless incident windows are kept out of training."""
    random = np.random.default_rng(4)
    load_ = rhythm()
    outages = [(day * PER_DAY + 72, day * PER_DAY + 90) for day in (8, 10, 11, 12, 13, 14, 15, 16, 17)]
    latency = 100 * (0.9 + 0.2 * load_) * np.exp(0.04 * random.normal(size=len(load_)))
    for first, end in outages:
        latency[first:end] *= 1.6
    second = (18 * PER_DAY + 76, 18 * PER_DAY + 84)
    latency[second[0] : second[1]] *= 1.5
    series = points(LATENCY, "cart", latency)

    def finds(masks: pl.DataFrame) -> bool:
        anomalies = detect(series, (LATENCY,), masks, WINDOW).anomalies
        return not anomalies.filter((pl.col("started_at") < at(second[1])) & (pl.col("ended_at") > at(second[0]))).is_empty()

    assert finds(incidents(*outages))
    assert not finds(NO_MASKS)
    other_place = incidents(*outages).with_columns(environment=pl.lit("staging"))
    assert not finds(other_place)


def test_masked_windows_are_scored_and_counted() -> None:
    _, planted = company()
    masks = incidents(*[(first, end) for _, first, end, _ in planted])
    masked = detect(company()[0], SIGNALS, masks, WINDOW).anomalies
    caught = [
        one
        for one in planted
        if not masked.filter(
            (pl.col("series_id") == one[0]) & (pl.col("started_at") < at(one[2])) & (pl.col("ended_at") > at(one[1]))
        ).is_empty()
    ]
    assert len(caught) >= 0.9 * len(planted)
    assert masked["masked_windows"].max() > 3


def test_a_few_errors_among_few_requests_are_no_alarm() -> None:
    random = np.random.default_rng(2)
    asked = random.poisson(3.0, N_DAYS * PER_DAY).astype(float)
    failed = random.binomial(asked.astype(int), 0.02).astype(float)
    share = np.divide(failed, asked, out=np.full(len(asked), np.nan), where=asked > 0)
    series = points(ERRORS, "tiny", share, failed, asked)
    assert series["value"].max() == 1.0
    assert detect(series, (ERRORS,), NO_MASKS, WINDOW).anomalies.is_empty()


def test_a_gap_is_no_drop() -> None:
    random = np.random.default_rng(5)
    value = random.poisson(300 * rhythm()).astype(float)
    value[18 * PER_DAY + 20 : 19 * PER_DAY + 10] = np.nan
    detection = detect(points(REQUESTS, "cart", value), (REQUESTS,), NO_MASKS, WINDOW)
    assert detection.anomalies.is_empty()
    (health,) = detection.series_health.to_dicts()
    assert health["expected_points"] - health["n_points"] == PER_DAY - 10
    assert health["n_scored"] == N_DAYS * PER_DAY - 4 * PER_DAY - (PER_DAY - 10)  # not the first two days and the first weekend


def test_a_series_that_cannot_be_judged_says_why() -> None:
    random = np.random.default_rng(6)
    normal = random.poisson(300 * rhythm()).astype(float)
    short, gone = (np.where(np.arange(len(normal)) < n_days * PER_DAY, normal, np.nan) for n_days in (2, 4))
    odd = np.full(len(normal), np.nan)
    odd[700] = 5.0
    frames = [
        points(REQUESTS, name, value)
        for name, value in (("short", short), ("gone", gone), ("odd", odd), ("flat", np.full(len(normal), 3.0)), ("good", normal))
    ]
    health = detect(pl.concat(frames), (REQUESTS,), NO_MASKS, WINDOW).series_health
    status = dict(health.select("subject", "status").iter_rows())
    assert status == {"short": "not_enough_data", "gone": "stopped", "odd": "not_enough_data", "flat": "flat", "good": "scored"}
    assert "192 points on 2 days" in health.filter(pl.col("subject") == "short")["reason"][0]
    assert health.filter(pl.col("subject") == "odd")["trained_until"].to_list() == [None]
    last_seen = dict(health.select("subject", "last_seen_at").iter_rows())
    assert last_seen["short"] == at(2 * PER_DAY - 1)


def test_two_days_score_nothing_and_a_young_company_is_learning_and_quiet() -> None:
    first_days = detect(company()[0], SIGNALS, NO_MASKS, Window(START, START + timedelta(days=2)))
    assert first_days.series_health["n_scored"].sum() == 0
    detection = detect(company()[0], SIGNALS, NO_MASKS, Window(START, START + timedelta(days=6)))
    assert detection.anomalies.is_empty()
    assert detection.series_health["n_scored"].min() > 2 * PER_DAY
    assert set(detection.series_health["status"]) == {"learning"}
    assert detect(company()[0], SIGNALS, NO_MASKS, Window(START - timedelta(days=30), START)).series_health.is_empty()


def _young(first_day: int, n_days: int, low: float, hit: int) -> Detection:
    """A service whose points begin on a day of the window, and a quarter of whose traffic is lost for two hours of the day `hit`."""
    value = np.random.default_rng(21).poisson(400 * rhythm(n_days=n_days)).astype(float)
    value[: first_day * PER_DAY] = np.nan
    value[hit * PER_DAY + 40 : hit * PER_DAY + 48] *= low
    return detect(points(REQUESTS, "new", value), (REQUESTS,), NO_MASKS, Window(START, START + timedelta(days=n_days)))


@pytest.mark.parametrize(("first_day", "n_days", "hit"), [(0, 5, 4), (14, 18, 17)])
def test_a_young_series_reports_what_it_never_did_and_nothing_less(first_day: int, n_days: int, hit: int) -> None:
    loud, faint = (_young(first_day, n_days, low, hit) for low in (0.1, 0.9))
    (found,) = loud.anomalies.to_dicts()
    assert abs(found["started_at"] - at(hit * PER_DAY + 40)) <= timedelta(minutes=30)
    assert found["trained_until"] == at(hit * PER_DAY)
    assert faint.anomalies.is_empty()
    assert loud.series_health["status"].to_list() == ["learning"]
    assert "until 7 days are seen" in loud.series_health["reason"][0]


def test_a_kind_of_day_a_series_had_less_than_twice_is_not_judged() -> None:
    days = _young(0, 7, 0.1, 5).series_days.sort("day_at")  # begins on a Monday
    assert (days["n_scored"] > 0).to_list() == [True, True, True, False, False]


@pytest.mark.parametrize(("grain", "n_days"), [(5, 21), (60, 35), (1440, 200)])
def test_every_grain_is_watched(grain: int, n_days: int) -> None:
    signal = REQUESTS.model_copy(update={"grain_minutes": grain})
    per_day = 1440 // grain
    random = np.random.default_rng(grain)
    value = random.poisson(500 * grain / 5 * rhythm(per_day, n_days) if per_day > 1 else 1e5 * rhythm(1, n_days)).astype(float)
    first, length = (n_days - 5) * per_day + per_day // 2, max(12 * 5 // grain, 4)
    value[first : first + length] *= 0.3
    window = Window(START, START + timedelta(days=n_days))
    anomalies = detect(points(signal, "cart", value), (signal,), NO_MASKS, window).anomalies
    assert anomalies.height == 1
    assert abs(anomalies["started_at"][0] - at(first, grain)) <= timedelta(minutes=grain)
    assert anomalies["actual"][0] < anomalies["low"][0] < anomalies["expected"][0] < anomalies["high"][0]


def test_a_journey_of_coarser_grain_is_watched_on_its_own_grid() -> None:
    fine = REQUESTS.model_copy(update={"grain_minutes": 5})
    coarse = points(REQUESTS, "cart", np.random.default_rng(1).poisson(200 * rhythm()).astype(float))
    (health,) = detect(coarse, (fine,), NO_MASKS, WINDOW).series_health.to_dicts()
    assert (health["status"], health["expected_points"]) == ("scored", N_DAYS * PER_DAY)


def test_a_window_of_one_service_masks_that_service_only() -> None:
    whole, _ = company()
    window = incidents((10 * PER_DAY, 11 * PER_DAY))
    detection = detect(whole, (REQUESTS,), window.with_columns(service=pl.lit("s1")), WINDOW)
    masked = dict(detection.models.filter(pl.col("trained_until") > at(11 * PER_DAY)).select("series_id", "masked_windows").iter_rows())
    assert {name[-2:]: n for name, n in masked.items()} == {"s0": 0, "s1": 1, "s2": 0, "s3": 0, "s4": 0}


def kept_apart(points_: pl.DataFrame, masks: pl.DataFrame, kept: pl.DataFrame | None, window: Window = WINDOW) -> Detection:
    return detect(points_, SIGNALS, masks, window, kept=kept)


def test_kept_scores_are_used_and_change_nothing() -> None:
    whole, _ = company()
    first = found()
    again = kept_apart(whole, NO_MASKS, first.scores)
    assert again.scored_days == frozenset()
    for table in TABLES:
        assert getattr(again, table).equals(getattr(first, table))


def test_an_increment_equals_a_rebuild_and_scores_only_what_changed() -> None:
    whole, _ = company()
    early = Window(START, at(20 * PER_DAY + 30))
    before = kept_apart(whole, NO_MASKS, None, early).scores
    masks = incidents((19 * PER_DAY + 4, 19 * PER_DAY + 8))
    grown = kept_apart(whole, masks, before, Window(START, at(20 * PER_DAY + 34)))
    rebuilt = kept_apart(whole, masks, None, Window(START, at(20 * PER_DAY + 34)))
    assert grown.scored_days == {at(19 * PER_DAY), at(20 * PER_DAY)}
    for table in TABLES:
        assert getattr(grown, table).equals(getattr(rebuilt, table))


def test_a_late_point_is_scored_again_for_its_series_only() -> None:
    whole, _ = company()
    late = whole.with_columns(
        value=pl.when((pl.col("series_id").str.ends_with("s3")) & (pl.col("bucket_at") == at(15 * PER_DAY))).then(0.0).otherwise("value")
    )
    scores = kept_apart(late, NO_MASKS, found().scores).scores.join(
        found().scores.select("series_id", "day_at", "fingerprint"), on=["series_id", "day_at", "fingerprint"], how="anti"
    )
    assert set(scores["series_id"].str.slice(-2)) == {"s3"}
    assert scores["day_at"].min() == at(15 * PER_DAY)
    assert scores["day_at"].n_unique() == N_DAYS - 15


def test_every_declared_version_judges_the_same_scores() -> None:
    whole, _ = company()
    versions = (
        DetectorRow(version="a", state="live"),
        DetectorRow(version="b", state="shadow", since=START, tuning=(TuningRow(signal="latency", subject="s1", sensitivity=0.2),)),
    )
    anomalies = detect(whole, SIGNALS, NO_MASKS, WINDOW, detectors=versions).anomalies
    keys = ["series_id", "started_at", "ended_at", "direction", "evidence"]
    live, shadow = (anomalies.filter(pl.col("mode") == mode) for mode in ("live", "shadow"))
    assert live.select(keys).equals(found().anomalies.select(keys))
    lost = live.join(shadow, on=keys, how="anti")
    assert set(lost["series_id"]) == {"latency|environment=production|service=s1"}
    assert lost["evidence"].max() < 5
    assert set(anomalies["detector_version"]) == {"a", "b"}
    assert shadow.filter(pl.col("evidence") * 0.2 < 1, pl.col("series_id") == "latency|environment=production|service=s1").is_empty()


def test_a_picture_holds_the_episode_and_as_much_around_it() -> None:
    anomaly = found().anomalies.filter(pl.col("hurts")).row(0, named=True)
    picture = found().anomaly_points.filter(pl.col("anomaly_id") == anomaly["anomaly_id"]).sort("bucket_at")
    n_inside = (anomaly["ended_at"] - anomaly["started_at"]) // timedelta(minutes=GRAIN)
    around = max(n_inside, 24)
    assert picture["bucket_at"][0] == anomaly["started_at"] - around * timedelta(minutes=GRAIN)
    assert picture.height == n_inside + 2 * around
    (peak,) = picture.filter(pl.col("bucket_at") == anomaly["peak_at"]).to_dicts()
    assert [peak[name] for name in ("actual", "expected", "low", "high")] == [
        anomaly[name] for name in ("actual", "expected", "low", "high")
    ]
    assert set(found().anomaly_points["anomaly_id"]) == set(found().anomalies.filter(pl.col("hurts"))["anomaly_id"])


def test_days_add_up_to_the_health_of_a_series() -> None:
    days = found().series_days.group_by("series_id").agg(pl.col("n_scored", "n_outside_interval").sum())
    both = days.join(found().series_health, on="series_id", suffix="_whole")
    assert both.height == 15
    assert (both["n_scored"] == both["n_scored_whole"]).all()
    assert (both["n_outside_interval"] == both["n_outside_interval_whole"]).all()


def test_small_effects_are_left_out() -> None:
    whole, _ = company()
    wide = ERRORS.model_copy(update={"minimum_effect": 0.5})
    assert detect(whole, (wide,), NO_MASKS, WINDOW).anomalies.is_empty()


def test_a_stored_model_predicts_again() -> None:
    import json

    row = found().models.filter(pl.col("series_id").str.starts_with("latency")).row(-1, named=True)
    parameters = json.loads(row["parameters"])
    fitted = load([parameters], Spec(growth=parameters["growth"]))
    expected = fitted.predict(as_seconds(np.array([row["trained_until"].replace(tzinfo=None)], dtype="datetime64[us]")))[0, 0]
    assert 20 < (np.exp(expected) if parameters["transform"] == "log" else expected) < 400


def test_points_of_a_wrong_shape_are_refused() -> None:
    whole, _ = company()
    with pytest.raises(AftercastError, match="lack the column 'denominator'"):
        detect(whole.drop("denominator"), SIGNALS, NO_MASKS, WINDOW)
    with pytest.raises(AftercastError, match="without zone is not guessed"):
        detect(whole.with_columns(pl.col("bucket_at").dt.replace_time_zone(None)), SIGNALS, NO_MASKS, WINDOW)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("signal", [REQUESTS, LATENCY], ids=["sums", "means"])
def test_one_bad_series_never_fails_the_batch(signal: SignalRow) -> None:
    random = np.random.default_rng(0)
    total = N_DAYS * PER_DAY
    late = np.arange(total) > 0.6 * total
    values = {
        "huge": 1e300 * (1 + random.random(total)),
        "tiny": 1e-300 * (1 + random.random(total)),
        "below zero": -random.random(total),
        "hardly ever": (random.random(total) < 0.002).astype(float),
        "infinite": np.full(total, np.inf),
        "sparse": np.where(random.random(total) < 0.03, random.random(total), np.nan),
        "exploding": np.exp(np.arange(total) / 20.0),
        "dying": np.where(late, np.nan, random.poisson(50, total)),
        "newborn": np.where(late, random.poisson(50, total), np.nan),
    }
    detection = detect(pl.concat([points(signal, name, value) for name, value in values.items()]), (signal,), NO_MASKS, WINDOW)
    status = dict(detection.series_health.select("subject", "status").iter_rows())
    assert set(status) == set(values)
    assert (status["infinite"], status["huge"]) == ("not_enough_data", "not_enough_data")
    assert (status["dying"], status["newborn"]) == ("stopped", "scored")
    assert detection.anomalies.filter(pl.col("subject").is_in(["dying", "newborn"])).is_empty()
    assert detection.anomalies.select(pl.col("expected", "low", "high", "score").is_finite().all()).row(0) == (True,) * 4


def test_duplicated_points_count_once() -> None:
    series = points(REQUESTS, "cart", np.random.default_rng(1).poisson(200 * rhythm()).astype(float))
    once, twice = (detect(frame, (REQUESTS,), NO_MASKS, WINDOW) for frame in (series, pl.concat([series, series])))
    assert once.series_health.equals(twice.series_health)
    assert once.anomalies.equals(twice.anomalies)


def test_one_odd_point_of_a_series_is_no_episode() -> None:
    value = 100 * rhythm() * np.exp(0.03 * np.random.default_rng(8).normal(size=N_DAYS * PER_DAY))
    value[20 * PER_DAY + 40] *= 50
    detection = detect(points(LATENCY, "cart", value), (LATENCY,), NO_MASKS, WINDOW)
    assert detection.anomalies.is_empty()
    assert detection.series_health["n_outside_interval"][0] > 0


def test_a_block_never_moves_its_own_level() -> None:
    residual = np.random.default_rng(3).normal(size=(1, 60))
    moved = residual.copy()
    moved[0, 30] += 100
    before, after = level(residual, 8), level(moved, 8)
    assert np.array_equal(before[0, :31], after[0, :31])
    assert (before[0, 31:39] != after[0, 31:39]).any()
    assert np.array_equal(before[0, 39:], after[0, 39:])


def test_the_usual_residual_of_a_weekday_is_kept_when_it_is_clear_and_dropped_when_it_is_noise() -> None:
    random = np.random.default_rng(1)
    weekday = np.arange(28) % 7
    noise = random.normal(size=(1, 28, 48))
    habit = noise + np.where(weekday == 2, 20.0, 0.0)[None, :, None]
    assert np.abs(profile(noise, weekday)).mean() < 0.15
    learned = profile(habit, weekday)[0].mean(axis=1)
    assert learned[2] == pytest.approx(20, rel=0.1)
    assert np.abs(np.delete(learned, 2)).max() < 1


@given(
    st.lists(st.tuples(st.floats(-3, 3), st.floats(0, 2)), min_size=1, max_size=8),
    st.booleans(),
    st.booleans(),
)
def test_what_is_expected_and_its_interval_are_values_a_series_can_have_and_in_order(points, non_negative: bool, share: bool) -> None:
    expected, scale = np.array(points).T
    scored = SimpleNamespace(models=[[{"non_negative": non_negative, "share": share}]], expected=expected[None], scale=scale[None])
    middle, low, high = _interval(cast("Any", SimpleNamespace(scored=scored)), 0, 0, slice(0, len(points)))
    assert (low <= middle).all()
    assert (middle <= high).all()
    assert not non_negative or low.min() >= 0
    assert not share or high.max() <= 1
