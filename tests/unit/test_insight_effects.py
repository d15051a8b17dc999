"""What a threshold or a mask that an insight prescribes would have changed since, and when that is worth a shadow or going live."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from aftercast.declarations import DetectorRow
from aftercast.detection.masks import explained_by
from aftercast.detection.prescribed import LOOKBACK, READ_ANOMALIES, READ_INCIDENTS, SUBJECTS, effects
from aftercast.detection.scorecard import VERDICTS
from aftercast.prescriptions import Advice, detector_with, parse, version_name
from aftercast.promoting import LEAST_HOLDOUT, Compared, luck, verdict_of
from aftercast.settings import PROJECT

START = datetime(2026, 9, 7, tzinfo=UTC)  # a Monday
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOTED, AS_OF = START + 10 * DAY, START + 70 * DAY
LIVE = DetectorRow(version="one", state="live")
NIGHT = "mask: {services: [api], signals: [errors], expects: up, weekly: {days: [mon], starts: '02:00', ends: '04:00'}}"
CALM = "threshold: {signal: errors, subject: api, sensitivity: 0.5}"

Rang = tuple[float, float, str | None]  # hours since the start, evidence, what people said


def told(text: str, recorded_at: datetime = NOTED) -> Advice:
    return Advice("INC-7:ab", recorded_at, parse(text))


def alarm(number: int, rang: Rang, **other: Any) -> dict[str, Any]:
    begun = START + rang[0] * HOUR
    return {
        "anomaly_id": f"a-{number:03d}",
        "signal": "errors",
        "subject_kind": "service",
        "subject": "api",
        "environment": "production",
        "region": "eu",
        "segment": "region=eu",
        "direction": "up",
        "detector_version": "one",
        "explained_by": None,
        "evidence": rang[1],
        "hurts": True,
        "started_at": begun,
        "ended_at": begun + HOUR,
        "alarmed_at": begun + HOUR / 4,
        **other,
    }


def incident(name: str, hour: float, **other: Any) -> dict[str, Any]:
    started = START + hour * HOUR
    return {"incident_id": name, "environment": "production", "region": "", "started_at": started, "impact_end_at": started + HOUR, **other}


def row_of(
    advice: Advice,
    rang: Sequence[Rang],
    *detectors: DetectorRow,
    incidents: Sequence[dict[str, Any]] = (),
    subject: tuple[str, str] = ("service", "api"),
    alarms: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    rows = [*(alarm(number, one) for number, one in enumerate(rang)), *alarms]
    said = [
        {"anomaly_id": f"a-{number:03d}", "verdict": word, "decided_at": START + hour * HOUR + DAY}
        for number, (hour, _, word) in enumerate(rang)
        if word
    ]
    concerned = [{"incident_id": one["incident_id"], "subject_kind": subject[0], "subject": subject[1]} for one in incidents]
    found = effects(
        [advice],
        pl.DataFrame(rows, schema=READ_ANOMALIES, orient="row"),
        pl.DataFrame(said, schema=VERDICTS, orient="row"),
        pl.DataFrame(list(incidents), schema=READ_INCIDENTS, orient="row"),
        pl.DataFrame(concerned, schema=SUBJECTS, orient="row"),
        detectors or (LIVE,),
        AS_OF,
    )
    (row,) = found.to_dicts()
    return row


def mondays(n: int, *, first: int = 2, word: str = "reject") -> list[Rang]:
    """One false alarm every Monday night, from a week on, and a true one every Thursday noon."""
    nights: list[Rang] = [(24 * 7 * week + 2.5, 2.0, word) for week in range(first, first + n)]
    return [*nights, *((24 * (7 * week + 3) + 12.0, 3.0, "confirm") for week in range(first, first + n))]


def test_a_mask_that_silences_false_alarms_alone_is_worth_a_shadow():
    row = row_of(told(NIGHT), [*mondays(1, first=0), *mondays(6)])
    assert (row["verdict"], row["state"], row["compared_from"], row["kind"]) == ("run_in_shadow", "proposed", NOTED, "mask")
    assert (row["alarms_before"], row["alarms_now"], row["alarms_then"]) == (2, 12, 6)
    assert (row["confirmed_now"], row["rejected_now"], row["confirmed_then"], row["rejected_then"]) == (6, 6, 6, 0)
    assert (row["precision_now"], row["precision_then"]) == (0.5, 1.0)
    assert row["precision_now_low"] < 0.5 < row["precision_now_high"]
    assert "0 of 6 rejected" in row["reason"]


def test_what_rang_before_the_insight_tells_nothing():
    row = row_of(told(NIGHT, START + 60 * DAY), mondays(8, first=0))
    assert row["verdict"] == "not_enough_data"
    assert (row["alarms_now"], row["precision_now"]) == (0, None)
    assert row["alarms_before"] == 16


def test_an_insight_that_silences_true_alarms_is_advised_against():
    row = row_of(told(NIGHT), mondays(6, word="confirm"))
    assert (row["verdict"], row["confirmed_then"]) == ("keep", 6)
    assert "not better" in row["reason"]


def test_an_incident_without_its_only_alarm_is_reason_enough_to_keep():
    during = incident("INC-9", 24 * 14 + 2.6)
    row = row_of(told(NIGHT), mondays(6), incidents=[during, incident("INC-8", 24 * 17 + 12)])
    assert (row["incidents_n"], row["incidents_caught_now"], row["incidents_caught_then"]) == (2, 2, 1)
    assert row["verdict"] == "keep"
    assert "1 incident would have gone without any alarm" in row["reason"]
    assert (row["recall_now"], row["recall_then"], row["incidents_lost"]) == (1.0, 0.5, 1)


def test_an_incident_that_another_signal_tells_of_is_not_lost():
    during = incident("INC-9", 24 * 14 + 2.6)
    other = alarm(99, (24 * 14 + 2.7, 2.0, None), signal="latency")
    row = row_of(told(NIGHT), mondays(6), incidents=[during], alarms=[other])
    assert (row["incidents_caught_now"], row["incidents_caught_then"], row["incidents_lost"]) == (1, 0, 0)
    assert row["verdict"] == "run_in_shadow"


@pytest.mark.parametrize(
    ("other", "caught"),
    [
        ({}, 1),
        ({"region": "eu"}, 1),
        ({"region": "us"}, 0),
        ({"environment": "staging"}, 0),
        ({"started_at": START + 24 * 17 * HOUR + 13.1 * HOUR, "impact_end_at": START + 24 * 18 * HOUR}, 0),
        ({"started_at": START + 24 * 17 * HOUR + 13 * HOUR, "impact_end_at": None}, 1),
        ({"started_at": START + 24 * 17 * HOUR + 11 * HOUR, "impact_end_at": START + 24 * 17 * HOUR + 12.2 * HOUR}, 0),
    ],
)
def test_an_alarm_notices_an_incident_of_its_place_while_that_lasts(other: dict[str, Any], caught: int):
    row = row_of(told(NIGHT), mondays(6), incidents=[incident("INC-8", 24 * 17 + 12, **other)])
    assert (row["incidents_n"], row["incidents_caught_now"]) == (1, caught)


def test_an_alarm_belongs_to_an_incident_as_the_warehouse_says():
    variables = yaml.safe_load((PROJECT / "dbt_project" / "dbt_project.yml").read_text())["vars"]
    assert timedelta(minutes=variables["signal_lookback_minutes"]) == LOOKBACK


def test_incidents_of_something_else_or_from_before_the_insight_are_not_counted():
    assert row_of(told(NIGHT), mondays(6), incidents=[incident("INC-1", 12)])["incidents_n"] == 0
    assert row_of(told(NIGHT), mondays(6), incidents=[incident("INC-8", 24 * 17 + 12)], subject=("service", "web"))["incidents_n"] == 0


def test_a_threshold_drops_weak_alarms_of_its_subject():
    rang: list[Rang] = [(24 * (11 + day), 3.0 if day % 2 else 1.2, "confirm" if day % 2 else "reject") for day in range(20)]
    other = alarm(99, (24 * 15, 1.1, None), subject="web")
    row = row_of(told(CALM), rang, alarms=[other])
    assert (row["verdict"], row["alarms_now"], row["alarms_then"], row["rejected_then"]) == ("run_in_shadow", 20, 10, 0)


def test_more_sensitivity_needs_a_shadow_that_has_it():
    row = row_of(told("threshold: {signal: errors, sensitivity: 1.5}"), mondays(6))
    assert row["verdict"] == "not_enough_data"
    assert "only a shadow tells" in row["reason"]
    shadow = detector_with(told("threshold: {signal: errors, sensitivity: 1.5}"), LIVE, version="two", since=NOTED)
    rang = [alarm(n, (24 * (12 + n), 0.8, None), detector_version="two") for n in range(6)]
    seen = row_of(told("threshold: {signal: errors, sensitivity: 1.5}"), [], LIVE, shadow, alarms=rang)
    assert (seen["alarms_now"], seen["alarms_then"], seen["state"]) == (0, 6, "shadow")


def test_a_shadow_that_held_may_go_live_and_a_young_one_may_not():
    since = START + 14 * DAY
    for noted, verdict in ((since, "promote"), (AS_OF - 10 * DAY, "run_in_shadow")):
        shadow = detector_with(told(NIGHT), LIVE, version="two", since=noted)
        row = row_of(told(NIGHT), mondays(8), LIVE, shadow)
        assert (row["verdict"], row["state"], row["shadow_version"], row["compared_from"]) == (verdict, "shadow", "two", noted)


def test_what_its_own_shadow_already_explains_still_counts_as_an_alarm_without_it():
    shadow = detector_with(told(NIGHT), LIVE, version=version_name(told(NIGHT), "one"), since=START + 14 * DAY)
    adopted = shadow.model_copy(update={"state": "live"})
    rows = [
        alarm(n, one, detector_version=adopted.version, hurts=False, explained_by=adopted.masks[0].name)
        for n, one in enumerate(mondays(3)[:3])
    ]
    row = row_of(told(NIGHT), [], adopted, LIVE.model_copy(update={"state": "retired"}), alarms=rows)
    assert (row["verdict"], row["state"], row["alarms_now"], row["alarms_then"]) == ("adopted", "live", 3, 0)


def test_an_insight_that_was_retired_says_so():
    gone = detector_with(told(NIGHT), LIVE, version="two", since=NOTED).model_copy(update={"state": "retired"})
    assert "it ran before, as two" in row_of(told(NIGHT), mondays(6), LIVE, gone)["reason"]


def test_rules_and_what_cannot_be_used_are_not_the_detectors():
    rule = told("rule: {kinds: [deploy], of: [api], says: known}")
    frames = (pl.DataFrame(schema=one) for one in (READ_ANOMALIES, VERDICTS, READ_INCIDENTS, SUBJECTS))
    assert effects([rule, Advice("x", NOTED, None, problem="?")], *frames, (LIVE,), AS_OF).is_empty()


hours = st.floats(0, 24 * 69)
rangs = st.lists(st.tuples(hours, st.floats(1.0, 5.0), st.sampled_from(["confirm", "reject", None])), max_size=30)


@given(rangs, st.sampled_from([NIGHT, CALM]), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_effects_do_not_depend_on_order_nor_on_what_rang_before(rang: list[Rang], text: str, chance: random.Random):
    row = row_of(told(text), rang)
    after = [one for one in rang if START + one[0] * HOUR + HOUR / 4 >= NOTED]
    chance.shuffle(after)
    assert {**row_of(told(text), after), "alarms_before": 0, "reason": ""} == {**row, "alarms_before": 0, "reason": ""}
    assert row["alarms_then"] <= row["alarms_now"] == len(after)
    assert row["confirmed_now"] + row["rejected_now"] <= row["alarms_now"]


@given(st.integers(0, 40), st.integers(0, 40))
def test_luck_is_a_chance_and_better_is_less_luck(better: int, worse: int):
    assert 0 <= luck(better, worse) <= 1
    assert luck(better + 1, worse) <= luck(better, worse)


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12), st.booleans(), st.booleans(), st.integers(0, 40))
def test_nothing_is_promoted_without_a_shadow_time_and_cases(n: int, better: int, worse: int, holds: bool, loses: bool, days: int):
    compared = Compared(n, better, worse, holds, "lost" if loses else "", "seen", "cases")
    verdict, reason = verdict_of(compared, AS_OF - days * DAY, "two", AS_OF)
    if verdict == "promote":
        assert n >= LEAST_HOLDOUT
        assert holds
        assert not loses
        assert days >= 14
        assert luck(better, worse) <= 0.05
    assert verdict_of(compared, AS_OF - days * DAY, "", AS_OF)[0] != "promote"
    assert reason


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({}, True),
        ({"direction": "down"}, False),
        ({"signal": "latency"}, False),
        ({"subject": "web"}, False),
        ({"subject_kind": "journey"}, False),
        ({"started_at": START + 7 * DAY + 3.6 * HOUR, "ended_at": START + 7 * DAY + 4.6 * HOUR}, False),
        ({"started_at": START + 7 * DAY + 3.4 * HOUR, "ended_at": START + 7 * DAY + 4.4 * HOUR}, True),
        ({"started_at": START + 8 * DAY + 2.5 * HOUR, "ended_at": START + 8 * DAY + 3 * HOUR}, False),
        ({"started_at": START + 2.5 * HOUR, "ended_at": START + 3 * HOUR}, False),
    ],
)
def test_a_mask_expects_what_lies_mostly_in_it_and_began_after_it_was_known(other: dict[str, Any], expected: bool):
    mask = detector_with(told(NIGHT, START + DAY), LIVE, version="two", since=NOTED).masks[0]
    episode = {**alarm(0, (24 * 7 + 2.5, 2.0, None)), **other}
    assert (explained_by([mask], episode) == mask.name) is expected


def test_names_of_masks_made_of_insights_fit_the_calendar():
    assert re.fullmatch(r"insight_[0-9a-f]{8}", told(NIGHT).slug)
