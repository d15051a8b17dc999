"""Promises of leading indicators: mined on the past, judged on later data, silent about chance."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftercast.correlation import correlate
from aftercast.correlation.families import Portrait
from aftercast.correlation.inputs import Inputs
from aftercast.correlation.leading import HORIZON, Indicator, Rate, Trouble, Watch, mine
from aftercast.correlation.leading_rows import leading_tables, since_mined
from aftercast.correlation.precursors import Occurrence, Occurrences, Pattern, occurrences
from aftercast.correlation.surroundings import incidents_of, micros
from aftercast.correlation.telemetry import DAY, HOUR, MINUTE
from tests.unit.correlate_fixture import AS_OF

BEGIN = micros(datetime(2026, 1, 5, tzinfo=UTC))
DAYS = 120
END = BEGIN + DAYS * DAY
FULL = Pattern("episode", "saturation_ratio", "service", "store", "production", "up")
STORE = ("service", "store", "production")


def warned(*moments: int) -> list[Occurrence]:
    return [Occurrence(at, at + HOUR, f"E-{at}") for at in moments]


def troubles(*moments: int) -> list[Trouble]:
    return [Trouble(at, at + HOUR, f"INC-{at}") for at in moments]


def day(number: float, hour: float = 10) -> int:
    return BEGIN + int(number * DAY + hour * HOUR)


def leaks(days: list[int], lead: int = 4 * HOUR) -> tuple[Occurrences, dict[Any, list[Trouble]]]:
    """Each day a warning, and an incident four hours later."""
    return {FULL: warned(*(day(each) for each in days))}, {STORE: troubles(*(day(each) + lead for each in days))}


def only(found: list[Indicator], pattern: Pattern = FULL) -> Indicator:
    return next(one for one in found if one.pattern == pattern)


def test_a_pattern_is_judged_on_later_warnings_only() -> None:
    found, due = leaks([3, 10, 20, 30, 40, 50, 60])
    one = only(mine(found, due, END))
    assert one.mined_at == day(10) + HORIZON  # when the second of its warnings was over
    assert (one.judged.n, one.judged.k, one.status) == (5, 5, "trusted")
    assert [warning.at for warning in since_mined(one)] == [day(each) for each in (20, 30, 40, 50, 60)]
    assert one.lift is not None
    assert one.lift > 10
    assert one.recalled == Rate(5, 5)


def test_too_few_later_warnings_are_on_trial_however_good() -> None:
    found, due = leaks([3, 10, 20, 30])
    one = only(mine(found, due, END))
    assert (one.judged.n, one.judged.k, one.status) == (2, 2, "on_trial")


def test_one_incident_preceded_is_not_enough() -> None:
    found, due = leaks([3])
    one = only(mine(found, due, END))
    assert (one.status, one.mined_at, one.judged.n) == ("not_enough_data", None, 0)


def test_a_pattern_that_stops_keeping_its_word_is_rejected() -> None:
    found, due = leaks([3, 10])
    found = {FULL: sorted([*found[FULL], *warned(*(day(each) for each in range(20, 110, 5)))])}
    one = only(mine(found, due, END))
    assert (one.judged.n, one.judged.k, one.status) == (18, 0, "rejected")


def test_what_is_part_of_an_incident_warns_of_nothing() -> None:
    start = day(5)
    moments = (start - 10 * MINUTE, start, start + 30 * MINUTE, start + 80 * MINUTE)
    assert mine({FULL: warned(*moments)}, {STORE: troubles(start)}, END) == []


def test_repetitions_within_a_horizon_are_one_warning() -> None:
    at = day(5)
    moments = [at + number * HOUR for number in range(6)]
    one = only(mine({FULL: warned(*moments)}, {STORE: troubles(at + 7 * HOUR)}, END))
    assert [warning.at for warning in one.warnings] == [at]


def test_an_incident_after_the_horizon_does_not_count() -> None:
    at = day(5)
    assert mine({FULL: warned(at)}, {STORE: troubles(at + HORIZON + MINUTE)}, END) == []
    assert only(mine({FULL: warned(at)}, {STORE: troubles(at + HORIZON)}, END)).warnings[0].trouble is not None


def test_the_same_at_several_services_is_also_judged_together() -> None:
    other = replace(FULL, subject="mail")
    found: Occurrences = {FULL: warned(day(3), day(20), day(40)), other: warned(day(10), day(30), day(50), day(60))}
    due = {
        STORE: troubles(*(one.at + 3 * HOUR for one in found[FULL])),
        ("service", "mail", "production"): troubles(*(one.at + 3 * HOUR for one in found[other])),
    }
    together = only(mine(found, due, END), FULL.anywhere)
    assert (together.judged.n, together.judged.k, together.status) == (5, 5, "trusted")
    assert only(mine(found, due, END)).status == "on_trial"


def test_chance_is_that_of_the_hour_and_kind_of_day_when_that_is_larger() -> None:
    workdays = [each for each in range(0, 100) if (datetime(2026, 1, 5, tzinfo=UTC) + timedelta(days=each)).weekday() < 5]
    chances = Watch(troubles(*(day(each, 12) for each in workdays[::2])), BEGIN, END).chances(BEGIN, END)
    assert chances[0, 8] == pytest.approx(0.42, abs=0.02)
    assert chances[0, 8] > chances[0, 20] == chances[1, 8] >= 0.08  # at night and on weekends that of any time


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, DAYS * 24 - 1), min_size=1, max_size=40),
    st.lists(st.integers(0, DAYS * 24 - 1), min_size=1, max_size=30),
    st.integers(1, DAYS),
)
def test_later_data_never_changes_when_a_pattern_was_mined_nor_what_closed_warnings_came_to(
    alarms: list[int], incidents: list[int], until: int
) -> None:
    rows, due = warned(*sorted({BEGIN + each * HOUR for each in alarms})), troubles(*sorted({BEGIN + each * HOUR for each in incidents}))
    as_of = BEGIN + until * DAY
    early = mine({FULL: [row for row in rows if row.at < as_of]}, {STORE: [one for one in due if one.started < as_of]}, as_of)
    for one in early:
        late = only(mine({FULL: rows}, {STORE: due}, END))
        assert late.mined_at == one.mined_at or one.mined_at is None
        assert late.mined_at is None or late.mined_at > as_of or late.mined_at == one.mined_at
        closed = [warning for warning in one.warnings if warning.closes <= as_of]
        assert closed == list(late.warnings[: len(closed)])


def test_chance_alone_is_hardly_ever_trusted() -> None:
    """Thirty worlds of episodes and incidents that know nothing of each other, both by day rather than by night."""
    trusted = judged = mined = 0
    for world in range(30):
        chance = np.random.default_rng(world)
        found: Occurrences = {}
        due: dict[Any, list[Trouble]] = {}
        for service in range(6):
            name = f"s{service}"
            due["service", name, "production"] = troubles(*_by_day(chance, 40))
            for signal in range(5):
                found[Pattern("episode", f"signal-{signal}", "service", name, "production", "up")] = warned(*_by_day(chance, 60))
        indicators = mine(found, due, END)
        trusted += sum(one.status == "trusted" for one in indicators)
        mined += sum(one.mined_at is not None for one in indicators)
        judged += sum(one.judged.n >= 5 for one in indicators)
    assert mined > 150
    assert judged > 100
    assert trusted / judged <= 0.05


def _by_day(chance: np.random.Generator, n: int) -> list[int]:
    hours = np.clip(chance.normal(14, 3, n), 0, 23.9)
    return sorted(BEGIN + int(chance.integers(DAYS)) * DAY + int(hour * HOUR) for hour in hours)


# --- rows


def company(**frames: pl.DataFrame) -> Inputs:
    """A store whose pool fills four hours before each of six incidents, and once without one."""
    days = (3, 10, 20, 30, 40, 50)
    moment = [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=day(each)) for each in (*days, 60)]
    anomalies = pl.DataFrame(
        [
            {
                "anomaly_id": f"E-{number}",
                "signal": "saturation_ratio",
                "subject_kind": "service",
                "subject": "store",
                "environment": "production",
                "direction": "up",
                "started_at": at - timedelta(hours=1),
                "alarmed_at": at,
                "ended_at": at + timedelta(hours=5),
                "hurts": True,
            }
            for number, at in enumerate(moment)
        ]
    )
    incidents = [
        {
            "incident_id": f"INC-{number}",
            "title": "Store full",
            "environment": "production",
            "service_origin": "store",
            "started_at": at + timedelta(hours=4),
            "impact_end_at": at + timedelta(hours=5),
        }
        for number, at in enumerate(moment[:-1])
    ]
    return Inputs.of({"anomalies": anomalies, "incidents": pl.DataFrame(incidents), **frames}).conformed()


def tables(given_inputs: Inputs, as_of: datetime) -> dict[str, pl.DataFrame]:
    incidents = incidents_of(given_inputs, as_of)
    nothing: Any = frozenset()
    portraits = [Portrait(one.incident_id, one.started, "none", "", "", 0.5, nothing, nothing, nothing, "", None) for one in incidents]
    families = pl.DataFrame([{"incident_id": one.incident_id, "family_id": "f", "family_title": "store: full"} for one in incidents])
    return leading_tables(given_inputs, incidents, portraits, families, micros(as_of))


def moment_of(number: float, hour: float = 10) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=day(number, hour))


def test_a_match_says_what_was_known_when_it_was_raised_and_what_became_of_it() -> None:
    found = tables(company(), moment_of(90))
    row = found["leading_indicators"].row(0, named=True)
    assert (row["episodes_n"], row["preceding_n"], row["lead_minutes_median"], row["status"]) == (7, 6, 240.0, "trusted")
    assert (row["judged_n"], row["judged_true_n"], row["came_true_n"], row["false_n"], row["pending_n"]) == (5, 4, 4, 1, 0)
    matches = found["leading_matches"].sort("matched_at").to_dicts()
    assert [match["outcome"] for match in matches] == ["came_true"] * 4 + ["false"]
    assert [match["past_n"] for match in matches] == [0, 1, 2, 3, 4]
    assert matches[0]["past_precision"] is None
    assert (matches[4]["past_precision"], matches[4]["incident_id"], matches[4]["family_id"]) == (1.0, None, "f")
    assert matches[4]["similar_incidents"] == ["INC-5", "INC-4", "INC-3"]
    assert "saturation_ratio of store" in matches[4]["look"]
    assert "store: full" in matches[4]["look"]


def test_a_match_is_pending_until_its_horizon_is_over() -> None:
    during = tables(company(), moment_of(60, 12))
    assert during["leading_indicators"]["is_matching_now"].item()
    assert during["leading_indicators"]["pending_n"].item() == 1
    last = during["leading_matches"].sort("matched_at").row(-1, named=True)
    assert (last["outcome"], last["decided_at"], last["horizon_end_at"]) == ("pending", None, moment_of(60, 18))
    assert during["leading_indicators"]["judged_n"].item() == 4


def test_what_was_done_while_it_warned_may_have_prevented_it() -> None:
    change = {"change_id": "scale", "kind": "infra", "service": "store", "environment": "production", "started_at": moment_of(60, 12)}
    found = tables(company(changes=pl.DataFrame([change])), moment_of(90))
    last = found["leading_matches"].filter(pl.col("kind") == "episode").sort("matched_at").row(-1, named=True)
    assert (last["outcome"], last["prevented_by"]) == ("prevented", "infra scale")
    row = found["leading_indicators"].filter(pl.col("kind") == "episode").row(0, named=True)
    assert (row["prevented_n"], row["false_n"], row["judged_true_n"], row["judged_n"]) == (1, 0, 4, 5)  # not counted as kept


def test_maintenance_announced_or_an_ordinary_release_after_the_end_prevents_nothing() -> None:
    rows = [
        {"change_id": "m", "kind": "maintenance", "service": "store", "environment": "production", "started_at": moment_of(60, 12)},
        {"change_id": "d", "kind": "deploy", "service": "store", "environment": "production", "started_at": moment_of(60, 17)},
    ]
    found = tables(company(changes=pl.DataFrame(rows)), moment_of(90))
    assert found["leading_matches"].filter(pl.col("kind") == "episode").sort("matched_at")["outcome"][-1] == "false"


def test_a_filling_resource_is_seen_before_it_is_full() -> None:
    times = [moment_of(0, 0) + timedelta(minutes=5 * number) for number in range(12 * 24 * 10)]
    chance = np.random.default_rng(1)
    usual = 0.3 + 0.1 * np.sin(np.arange(len(times)) / 144 * np.pi) + 0.01 * chance.standard_normal(len(times))
    start = 12 * 24 * 9
    usual[start:] += np.linspace(0, 0.8, len(times) - start)
    points = pl.DataFrame({"bucket_at": times, "value": usual}).with_columns(
        service=pl.lit("store"), metric=pl.lit("pool_usage"), unit=pl.lit("ratio"), environment=pl.lit("production"), kind=pl.lit("gauge")
    )
    found = occurrences(Inputs.of({"metric_points": points}).conformed(), micros(times[-1]))
    moments = found[Pattern("filling", "pool_usage", "service", "store", "production", "up")]
    assert moments
    assert all(micros(times[start]) < one.at < micros(times[-1]) for one in moments)
    packed = points.group_by("service", "metric", "unit", "environment", "kind").agg(
        pl.struct(pl.col("bucket_at").dt.timestamp("us").alias("at"), "value").alias("points")
    )
    assert occurrences(Inputs.of({"metric_points": packed}).conformed(), micros(times[-1])) == found
    flat = points.head(start)
    assert not occurrences(Inputs.of({"metric_points": flat}).conformed(), micros(times[-1]))


def test_a_loud_message_is_news_only_after_a_week_of_listening() -> None:
    def line(number: float, pattern: str, severity: str = "error") -> dict[str, object]:
        return {
            "service": "store",
            "environment": "production",
            "bucket": moment_of(number),
            "pattern": pattern,
            "severity": severity,
            "count": 3,
        }

    lines = [line(0, "ok", "info"), line(2, "early"), line(9, "late"), line(10, "late"), line(20, "late"), line(21, "quiet", "info")]
    found = occurrences(Inputs.of({"log_patterns": pl.DataFrame(lines)}).conformed(), END)
    assert {pattern.signal: [one.at for one in rows] for pattern, rows in found.items()} == {
        "late": [day(9) + 5 * MINUTE, day(20) + 5 * MINUTE],
        "news": [day(9) + 5 * MINUTE, day(20) + 5 * MINUTE],
    }


def test_nothing_known_yields_no_indicator_and_no_match() -> None:
    result = correlate(Inputs.of({}), AS_OF)
    assert result.leading_indicators.is_empty()
    assert result.leading_matches.is_empty()
    assert result.incident_patterns.is_empty()


def test_rows_do_not_depend_on_the_order_of_input() -> None:
    given_inputs = company()
    shuffled = replace(given_inputs, anomalies=given_inputs.anomalies.reverse(), incidents=given_inputs.incidents.reverse())
    one, other = tables(given_inputs, moment_of(90)), tables(shuffled, moment_of(90))
    assert all(one[name].equals(other[name]) for name in one)
