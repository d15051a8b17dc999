"""Promises of loss about currencies, refunds, known times, and what segments of one incident lend each other."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from aftercast.errors import ConfigError
from aftercast.measurement import Inputs, measure
from aftercast.measurement.factors import _pooled, odds_of_nothing
from aftercast.measurement.inputs import READ
from aftercast.measurement.known_times import KnownTime, lines, usual_effect
from aftercast.measurement.outcomes import Outcome, tempered
from aftercast.settings import Settings, load_deployment
from aftercast.steps import refreshing
from aftercast.window import Window

START = datetime(2026, 3, 2, tzinfo=UTC)
DAYS = 120
DAY = timedelta(days=1)
AS_OF = START + DAYS * DAY
PLACES = {"de": ("EUR", 40.0), "us": ("USD", 50.0), "jp": ("JPY", 6_000.0)}

Lift = tuple[int, int, float]


def points(cut: dict[str, tuple[int, int, float]] | None = None, lifts: tuple[Lift, ...] = (), seed: int = 5) -> pl.DataFrame:
    """One row per day and country: a hundred orders a day with order values of heavy tails; cuts take orders, lifts add some everywhere."""
    frames = []
    for number, (country, (currency, price)) in enumerate(PLACES.items()):
        chance = np.random.default_rng([seed, number])
        level = np.full(DAYS, 100.0)
        for first, until, factor in lifts:
            level[first:until] *= factor
        orders = chance.poisson(level)
        kept = orders.copy()
        if cut and country in cut:
            first, until, share = cut[country]
            kept[first:until] = chance.binomial(orders[first:until], 1 - share)
        money = [float(np.random.default_rng([seed, number, day]).lognormal(np.log(price), 0.8, n).sum()) for day, n in enumerate(kept)]
        frames.append(
            pl.DataFrame({"bucket_at": [START + DAY * day for day in range(DAYS)], "attempts": kept, "successes": kept}).with_columns(
                journey=pl.lit("shop"),
                step=pl.lit("order"),
                segment=pl.lit(f"country={country}"),
                region=pl.lit(""),
                tier=pl.lit(""),
                plan=pl.lit(""),
                country=pl.lit(country),
                revenue_minor=pl.Series(np.rint(np.array(money) * 100)).cast(pl.Int64),
                currency=pl.lit(currency),
            )
        )
    return pl.concat(frames)


def inputs(rows: pl.DataFrame, incidents: list[tuple[str, int, int]], **more: pl.DataFrame) -> Inputs:
    return Inputs(
        incidents=pl.DataFrame(
            [
                {"incident_id": name, "region": "", "started_at": START + DAY * first, "impact_end_at": START + DAY * until}
                for name, first, until in incidents
            ]
        ),
        incident_services=pl.DataFrame({"incident_id": [row[0] for row in incidents], "service": ["shop"] * len(incidents)}),
        kpi_points=rows,
        journeys=pl.DataFrame({"journey": ["shop"], "currency": ["EUR"], "grain_minutes": [1440]}),
        journey_services=pl.DataFrame({"journey": ["shop"], "step": ["order"], "position": [0], "service": ["shop"], "earns": [True]}),
        **more,
    )


def rates(*rows: tuple[str, float, int]) -> pl.DataFrame:
    """Rates in EUR since a day of the world; the row of EUR in itself comes with them."""
    listed = [("EUR", "EUR", 1.0, None), *((code, "EUR", rate, START + DAY * day) for code, rate, day in rows)]
    return pl.DataFrame(listed, schema=READ["exchange_rates"], orient="row")


def known(*spans: tuple[str, int, int], countries: tuple[str, ...] = ()) -> pl.DataFrame:
    rows = [(name, START + DAY * first, START + DAY * until, [], [], list(countries)) for name, first, until in spans]
    return pl.DataFrame(rows, schema=READ["known_times"], orient="row")


CUT = dict.fromkeys(PLACES, (60, 62, 0.6))
INCIDENT = [("a", 60, 62)]


def test_several_currencies_add_up_in_the_reporting_one_at_the_rate_of_the_day():
    found = measure(
        inputs(points(CUT), INCIDENT, exchange_rates=rates(("USD", 0.5, 0), ("USD", 0.9, 50), ("USD", 9.0, 61), ("JPY", 0.006, 0))), AS_OF
    )
    rows = {row["country"]: row for row in found.impact.iter_rows(named=True)}
    total = found.incident_loss.row(0, named=True)
    assert (rows["us"]["currency"], rows["us"]["exchange_rate"], rows["us"]["rate_since"]) == ("USD", 0.9, START + 50 * DAY)
    assert rows["us"]["reported_loss"] == pytest.approx(0.9 * rows["us"]["lost_revenue"], abs=0.011)
    assert (rows["de"]["exchange_rate"], rows["de"]["rate_since"]) == (1.0, None)
    assert (total["status"], total["currency"], total["report_currency"]) == ("quantified", "EUR", "EUR")
    assert total["lost_revenue"] == pytest.approx(sum(row["reported_loss"] for row in rows.values()), abs=0.011)
    assert total["lost_revenue_low"] <= total["lost_revenue"] <= total["lost_revenue_high"]
    assert "USD at 0.9 EUR since 2026-04-21" in total["reason"]


def test_without_a_rate_a_sum_of_currencies_is_unknown_and_rows_keep_their_own():
    early = measure(inputs(points(CUT), INCIDENT, exchange_rates=rates(("USD", 0.9, 61), ("JPY", 0.006, 0))), AS_OF)
    total = early.incident_loss.row(0, named=True)
    assert (total["status"], total["lost_revenue"]) == ("unknown", None)
    assert total["reason"] == "currency mix: no rate of USD in EUR on 2026-05-01"
    rows = {row["country"]: row for row in early.impact.iter_rows(named=True)}
    assert (rows["us"]["status"], rows["us"]["currency"], rows["us"]["reported_loss"]) == ("quantified", "USD", None)
    assert rows["jp"]["reported_loss"] is not None
    none = measure(inputs(points(CUT), INCIDENT), AS_OF).incident_loss.row(0, named=True)
    assert none["reason"] == "currency mix: EUR, JPY, USD, and no currency to report in is declared"


def test_one_currency_needs_no_rate_and_is_told_in_the_reporting_one_beside_its_own():
    rows = points(CUT).filter(pl.col("country") == "us")
    plain = measure(inputs(rows, INCIDENT), AS_OF).incident_loss.row(0, named=True)
    assert (plain["status"], plain["currency"], plain["reported_loss"], plain["report_currency"]) == ("quantified", "USD", None, None)
    told = measure(inputs(rows, INCIDENT, exchange_rates=rates(("USD", 0.9, 0))), AS_OF).incident_loss.row(0, named=True)
    assert (told["currency"], told["lost_revenue"]) == ("USD", plain["lost_revenue"])
    assert told["reported_loss"] == pytest.approx(0.9 * plain["lost_revenue"], abs=0.011)
    assert told["reported_loss_high"] == pytest.approx(0.9 * plain["lost_revenue_high"], abs=0.011)


def test_a_segment_that_changes_its_currency_is_unknown():
    rows = points(CUT).filter(pl.col("country") == "de")
    rows = rows.with_columns(currency=pl.when(pl.col("bucket_at") < START + 30 * DAY).then(pl.lit("DEM")).otherwise("currency"))
    found = measure(inputs(rows, INCIDENT, exchange_rates=rates(("DEM", 0.5, 0))), AS_OF)
    assert found.impact.select("status", "reason").row(0) == ("unknown", "currency mix: DEM, EUR")


def test_refunds_are_a_figure_of_their_own_and_not_netted_into_the_loss():
    plain = points(CUT)
    paid_back = plain.filter(pl.col("bucket_at") == START + 61 * DAY).with_columns(
        attempts=pl.lit(0, pl.Int64), successes=pl.lit(0, pl.Int64), revenue_minor=pl.lit(-90_000_000, pl.Int64)
    )
    more = measure(inputs(pl.concat([plain, paid_back]), INCIDENT), AS_OF).impact
    less = measure(inputs(plain, INCIDENT), AS_OF).impact
    assert more["refunds"].to_list() == [900_000.0] * 3
    assert less["refunds"].to_list() == [0.0] * 3
    assert more["lost_revenue"].to_list() == less["lost_revenue"].to_list()
    assert more["actual_revenue"].to_list() == less["actual_revenue"].to_list()


SALE = ((20, 23, 2.5), (45, 48, 2.5), (75, 78, 2.5), (100, 103, 2.5))


def test_a_promotion_is_expected_to_do_what_its_other_occurrences_did():
    rows = points({"de": (75, 77, 0.5)}, SALE).filter(pl.col("country") == "de")
    truth = points(None, SALE).filter(
        (pl.col("country") == "de") & pl.col("bucket_at").is_between(START + 75 * DAY, START + 77 * DAY, closed="left")
    )
    times = known(*(("sale", first, until) for first, until, _ in SALE))
    blind = measure(inputs(rows, [("a", 75, 77)]), AS_OF).impact.row(0, named=True)
    told = measure(inputs(rows, [("a", 75, 77)], known_times=times), AS_OF).impact.row(0, named=True)
    due = float(truth["attempts"].sum())
    assert told["expected_attempts"] == pytest.approx(due, rel=0.15)
    assert abs(blind["expected_attempts"] - due) > 2 * abs(told["expected_attempts"] - due)
    assert (told["status"], told["reason"]) == ("quantified", None)


def test_a_promotion_that_never_happened_before_widens_the_interval_and_says_so():
    rows = points(None, ((75, 77, 1.6),)).filter(pl.col("country") == "de")
    plain = measure(inputs(rows, [("a", 75, 77)]), AS_OF).impact.row(0, named=True)
    told = measure(inputs(rows, [("a", 75, 77)], known_times=known(("sale", 75, 77))), AS_OF).impact.row(0, named=True)
    assert told["reason"] == "falls into sale, of which no other occurrence is known"
    assert told["status"] == "below_noise"
    assert told["lost_revenue_high"] - told["lost_revenue_low"] > 1.5 * (plain["lost_revenue_high"] - plain["lost_revenue_low"])


def test_a_promotion_elsewhere_changes_nothing():
    rows = points({"de": (75, 77, 0.5)}).filter(pl.col("country") == "de")
    plain = measure(inputs(rows, [("a", 75, 77)]), AS_OF).impact
    told = measure(inputs(rows, [("a", 75, 77)], known_times=known(("sale", 70, 80), countries=("fr",))), AS_OF).impact
    assert told.equals(plain)


def test_nothing_is_learned_of_a_known_time_from_hours_of_incidents():
    stamps = np.arange(8, dtype=np.int64) * 3_600
    times = (KnownTime("sale", (0,), ((0, 7_200), (14_400, 21_600))),)
    actual, expected = np.array([[30.0], [30], [10], [10], [2], [2], [10], [10]]), np.full((8, 1), 10.0)
    fair = np.array([True] * 4 + [False, False, True, True])
    usual = usual_effect(times, lines(times, stamps, 3_600), actual, expected, fair, 1)
    assert usual.factor[:, 0].tolist() == [3, 3, 1, 1, 3, 3, 1, 1]
    assert (usual.doubt[[0, 4], 0] > 0.3).all()
    assert (usual.doubt[[2, 7], 0] == 0).all()


def test_segments_lend_strength_within_a_pool_and_none_beyond_it():
    chance = np.random.default_rng(2)
    due = np.array([1_000.0, 50.0, 50.0])
    draws = np.array([300.0, 60.0, -10.0]) + chance.standard_normal((400, 3)) * np.array([60.0, 40.0, 40.0])
    lost, spread = _pooled(np.array([300.0, 60.0, -10.0]), draws, due, ((0, 1, 2),))
    alone, _ = _pooled(np.array([300.0, 60.0, -10.0]), draws, due, ((0,), (1,), (2,)))
    assert alone.tolist() == [300.0, 60.0, -10.0]
    assert 0 < lost[2] < lost[1] < 60
    assert spread[:, 1].std() < 0.9 * draws[:, 1].std()
    apart, _ = _pooled(np.array([300.0, 60.0, -10.0]), draws * 0.01 + np.array([297.0, 59.4, -9.9]), due, ((0, 1, 2),))
    assert apart == pytest.approx([300.0, 60.0, -10.0], abs=1.0)


def test_one_quiet_window_in_twenty_as_bad_is_not_enough_to_quantify():
    few, many = np.array([-1.0] * 9 + [1.0] * 171), np.array([-1.0] * 3 + [1.0] * 177)
    assert odds_of_nothing(few) > 0.05 > odds_of_nothing(many)


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.tuples(st.integers(45, 100), st.integers(1, 4)), min_size=1, max_size=4),
    st.sampled_from([("USD",), ("USD", "JPY")]),
)
def test_rows_add_up_to_their_incident_and_shared_days_are_counted_once(windows: list[tuple[int, int]], codes: tuple[str, ...]):
    incidents = [(f"i{number}", first, first + length) for number, (first, length) in enumerate(windows)]
    rows = points(dict.fromkeys(PLACES, (60, 75, 0.4))).filter(pl.col("currency").is_in(["EUR", *codes]))
    frame = inputs(rows, incidents, exchange_rates=rates(("USD", 0.9, 0), ("JPY", 0.006, 0)))
    found = measure(frame, AS_OF)
    summed = dict(found.impact.group_by("incident_id").agg(pl.col("reported_loss").sum()).iter_rows())
    for row in found.incident_loss.iter_rows(named=True):
        assert row["status"] in ("quantified", "below_noise")
        assert row["lost_revenue"] == pytest.approx(summed[row["incident_id"]], abs=0.05)
    days = {START + DAY * day for _, first, until in incidents for day in range(first, until)}
    sold = rows.filter(pl.col("bucket_at").is_in(sorted(days)))["attempts"].sum()
    split = found.impact.filter(pl.col("shared_minutes") > 0)["incident_id"].n_unique()
    assert found.impact["actual_attempts"].sum() == pytest.approx(sold, abs=0.1)
    assert split != 1


def test_an_open_incident_is_measured_until_now_and_one_longer_than_history_is_unknown():
    frame = inputs(points(), INCIDENT)
    open_one = replace(
        frame, incidents=frame.incidents.with_columns(started_at=AS_OF - 2 * DAY, impact_end_at=pl.lit(None, pl.Datetime("us", "UTC")))
    )
    row = measure(open_one, AS_OF).impact.row(0, named=True)
    assert (row["window_end"], row["status"]) == (AS_OF, "below_noise")
    longer = replace(frame, incidents=frame.incidents.with_columns(started_at=START - 5 * DAY))
    row = measure(longer, AS_OF).impact.row(0, named=True)
    assert (row["status"], row["reason"]) == ("unknown", "incident began before the journey's data")


def test_a_journey_without_any_traffic_is_unknown():
    idle = points().with_columns(attempts=pl.lit(0, pl.Int64), successes=pl.lit(0, pl.Int64), revenue_minor=pl.lit(0, pl.Int64))
    found = measure(inputs(idle.filter(pl.col("country") == "de"), INCIDENT), AS_OF)
    assert found.incident_loss["status"].to_list() == ["unknown"]
    assert found.impact["reason"].to_list() == ["no traffic on the journey in 118 days of history"]


def test_currencies_are_read_from_the_configuration_and_refused_by_name(tmp_path: Path):
    (tmp_path / "sources.yml").write_text("company: x\nhistory: {start: '2026-01-01', end: '2026-02-01'}\nsources: []\n")
    (tmp_path / "currencies.yml").write_text("report_in: EUR\nrates:\n  - {currency: USD, rate: 0.92, since: 2026-01-01}\n")
    declared = load_deployment(tmp_path).currencies
    assert (declared.report_in, declared.rates[0].rate, declared.rates[0].since) == ("EUR", 0.92, date(2026, 1, 1))
    for text in (
        "rates: [{currency: USD, rate: 1, since: 2026-01-01}]",
        "report_in: EUR\nrates: [{currency: EUR, rate: 1, since: 2026-01-01}]",
    ):
        (tmp_path / "currencies.yml").write_text(text)
        with pytest.raises(ConfigError, match=r"currencies\.yml"):
            load_deployment(tmp_path)


def test_the_step_hands_over_declared_rates_and_the_calendar_of_journeys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "sources.yml").write_text("company: x\nhistory: {start: '2026-01-01', end: '2026-02-01'}\nsources: []\n")
    (tmp_path / "currencies.yml").write_text("report_in: EUR\nrates:\n  - {currency: USD, rate: 0.92, since: 2026-01-01}\n")
    (tmp_path / "calendar.yml").write_text(
        "calendar:\n"
        "  - {name: sale, kind: promotion, regions: [eu], after_minutes: 30, starts: 2026-01-10, ends: 2026-01-12, expects: up}\n"
        "  - {name: later, kind: promotion, starts: 2027-01-10, ends: 2027-01-12}\n"
    )
    at = Settings(home=tmp_path, config=tmp_path)
    monkeypatch.setattr(refreshing, "_window", lambda _: Window.parse("2026-01-01", "2026-02-01"))
    day = datetime(2026, 1, 1, tzinfo=UTC)
    assert refreshing._rates(at).rows() == [("EUR", "EUR", 1.0, None), ("USD", "EUR", 0.92, day)]
    assert refreshing._known_times(at).rows() == [("sale", day + 9 * DAY, day + 11 * DAY + timedelta(minutes=30), [], ["eu"], [])]


def test_a_loud_loss_is_drawn_towards_nothing_and_keeps_its_sign():
    for lost in (30.0, -30.0):
        noisy = norm.ppf((np.arange(500) + 0.5) / 500)[:, None] * 50 + lost
        made = Outcome(
            gross=np.array([lost]), draws=noisy, chance={}, echo=None, times=np.arange(500), actual=np.array([100.0 - lost]),
            attempts=np.zeros((4, 1)), successes=np.zeros((2, 1)), coverage=np.ones(1), n_buckets=np.ones(1),
            shared_minutes=np.zeros(1), trained_until=0, refunds=np.zeros(1),
        )  # fmt: skip
        kept = tempered(made, [0])
        assert kept.gross[0] / lost == pytest.approx(1 / 3 / (1 / 3 + 0.25), abs=0.005)
        assert kept.draws.std() < noisy.std()
        assert tempered(replace(made, draws=lost + (noisy - lost) * 0.01), [0]).gross[0] == pytest.approx(lost, rel=0.001)
