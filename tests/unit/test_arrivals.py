"""Volume and freshness against a source's own history: what is judged, what is not, and how often it is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from aftercast import arrivals, landing
from aftercast.declarations import SourceRow
from aftercast.errors import QualityError
from aftercast.steps import refreshing
from tests.unit import landing_fixture as fixture

END = datetime(2026, 11, 16, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def hours(per_day: list[int], *, last_hour: int = 23) -> pl.DataFrame:
    """So many rows a day, the last of the days before END, spread over its hours."""
    rows = []
    for number, count in enumerate(per_day):
        day = END - (len(per_day) - number) * DAY
        used = last_hour + 1 if number == len(per_day) - 1 else 24
        for hour in range(used):
            share = count // used + (hour < count % used)
            if share:
                rows.append(("shop", "alerts", day + hour * HOUR, share, day + hour * HOUR + timedelta(minutes=59)))
    schema = {
        "source": pl.String,
        "entity": pl.String,
        "hour": pl.Datetime("us", "UTC"),
        "rows": pl.Int64,
        "last": pl.Datetime("us", "UTC"),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def judged(per_day: list[int], *, stopping: frozenset[str] = frozenset(), entity: str = "alerts", **more: int) -> dict[str, dict]:
    found = arrivals.judge(
        hours(per_day, **more).with_columns(entity=pl.lit(entity)), {("shop", entity): (END - len(per_day) * DAY, END)}, stopping
    )
    return {row["border"]: row for row in found.iter_rows(named=True)}


def test_a_day_like_the_same_weekdays_before_passes_and_says_n_and_interval():
    row = judged([100, 100, 100, 100, 100, 20, 20] * 6)["volume"]
    assert (row["status"], row["severity"], row["n"], row["value"]) == ("passed", "warning", 5, 20.0)
    assert row["low"] < 20 < row["high"] < 100
    assert "(n=5 days)" in row["observed"] and "usual are" in row["observed"]


@pytest.mark.parametrize("last", [0, 200, 4000])
def test_a_day_that_lost_or_doubled_its_rows_is_unusual(last: int):
    row = judged([*[1000, 990, 1010, 1005, 1000, 995, 1002] * 6, *[1000, 990, 1010, 1005, 1000, 995], last])["volume"]
    assert (row["status"], row["severity"]) == ("failed", "warning")
    assert row["reason"] == arrivals.ABOUT["volume"]


def test_too_little_history_is_said_and_judged_by_nobody():
    volume, freshness = (judged([5] * 3)[name] for name in ("volume", "freshness"))
    assert (volume["status"], volume["low"], volume["high"]) == ("not_judged", None, None)
    assert "not enough history: 2 days, 14 are needed" in volume["observed"]
    assert (freshness["status"], freshness["high"]) == ("not_judged", None)
    assert judged([])["volume"]["observed"] == "no complete day is covered yet"
    assert judged([0, 0])["freshness"]["observed"] == "no row has landed yet"


def test_young_sources_are_compared_with_the_days_before():
    assert judged([*[50] * 15, 48])["volume"]["status"] == "passed"
    assert judged([*[50] * 15, 500])["volume"]["status"] == "failed"


def test_a_source_that_went_quiet_is_unusual_and_one_that_is_often_quiet_is_not():
    busy = judged([240] * 20, last_hour=12)["freshness"]
    assert (busy["status"], round(busy["value"]), busy["high"]) == ("failed", 11, pytest.approx(2.0, abs=0.1))
    rare = judged([0, 1, 0, 0, 1, 0, 1] * 10, last_hour=12)["freshness"]
    assert rare["status"] == "passed" and rare["high"] > 24


def test_what_was_longer_at_one_moment_in_a_thousand_is_the_limit():
    assert arrivals.longest_quiet([1.0] * 19) is None
    assert arrivals.longest_quiet([1.0] * 1000) == pytest.approx(0.999)
    gaps = [1.0] * 990 + [10.0]
    limit = arrivals.longest_quiet(gaps)
    assert sum(max(gap - limit, 0.0) for gap in gaps) == pytest.approx(arrivals.RARE * sum(gaps))


def test_rows_that_are_dated_again_have_no_volume():
    assert set(judged([5] * 40, entity="service_edges")) == {"freshness"}


def test_false_alarms_are_rare_on_counts_that_only_vary_by_chance():
    """500 series of 8 weeks each: weekly rhythm, counts three times as variable as Poisson's."""
    chance = np.random.default_rng(7)
    wrong = 0
    for _ in range(500):
        mean = float(np.exp(chance.uniform(np.log(2), np.log(5000))))
        rhythm = np.array([1, 1, 1, 1, 1, 0.6, 0.5] * 8)[:57] * mean
        counts = chance.negative_binomial(rhythm / 2, 1 / 3).tolist() if mean > 1 else []
        same = counts[:-1][(len(counts) - 1) % 7 :: 7]
        low, high, _n = arrivals.volume(counts[:-1], same)
        assert low is not None and high is not None
        wrong += not low <= counts[-1] <= high
    assert wrong / 500 <= 0.05, f"{wrong} of 500 ordinary days would warn"


def test_arrived_and_covered_are_read_from_what_landed(tmp_path: Path):
    place = fixture.deployment(tmp_path)
    fixture.land(place, fixture.hours(0, 48), fixture.batch(fixture.in_window(fixture.hours(0, 48))))
    found = landing.arrived(place)
    assert (found.height, found["rows"].sum(), found["entity"].unique().to_list()) == (48, 48, ["metric_points"])
    assert landing.covered(place) == {("shop", "metric_points"): (fixture.START, fixture.START + 48 * HOUR)}


def test_unusual_arrivals_warn_and_stop_only_a_source_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog):
    place = fixture.deployment(tmp_path)
    landing.prepare(place)
    bad = arrivals.judge(hours([1000] * 40 + [1]), {("shop", "alerts"): (END - 41 * DAY, END)}, frozenset())
    assert bad.filter(status="failed").height
    monkeypatch.setenv("AFTERCAST_HOME", str(place.home))
    monkeypatch.setenv("AFTERCAST_CONFIG", str(place.config))
    monkeypatch.setattr("aftercast.quality.check_marts", lambda *_: [])
    monkeypatch.setattr("aftercast.landing.arrived", lambda _: hours([1000] * 40 + [1]))
    monkeypatch.setattr("aftercast.landing.covered", lambda _: {("shop", "alerts"): (END - 41 * DAY, END)})
    import duckdb

    duckdb.connect(str(place.warehouse)).close()
    refreshing.check()
    assert "volume of shop/alerts is unusual (warning)" in caplog.text
    kept = pl.read_parquet(landing.derived_path(place, "gate_results"))
    assert dict(kept.select("border", "status").iter_rows())["volume"] == "failed"
    (place.config / "sources.yml").write_text(
        'history: {start: "2026-09-01", end: "2026-09-08"}\nsources: [{name: shop, kind: demo, unusual: stop}]\n'
    )
    with pytest.raises(QualityError, match=r"source 'shop': volume of alerts: 1 rows .* `unusual: stop`; see docs/quality.md"):
        refreshing.check()
    assert SourceRow(name="a", kind="demo").unusual == "warn"
