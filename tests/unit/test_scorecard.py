"""What verdicts may and may not say about the detector's sensitivity."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from aftercast.analyses import DERIVED
from aftercast.declarations import DetectorRow, DetectorsFile, SignalRow
from aftercast.detection.scorecard import LEAST_HOLDOUT, LEAST_TRAIN, READ, VERDICTS, Alarm, Kept, choose, cut_of, kept, propose
from aftercast.detection.versions import sensitivity_of, version_to_paste

START = datetime(2026, 9, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
AS_OF = START + 60 * DAY
LIVE = DetectorRow(version="one", state="live")

Judged = tuple[float, float, bool, float]  # day it rang, evidence, confirmed, days until judged


def tuned(state: str, sensitivity: float, *, subject: str = "", since: datetime | None = None) -> DetectorRow:
    tuning = [{"signal": "errors", "subject": subject, "sensitivity": sensitivity}]
    return DetectorRow.model_validate({"version": f"{state}-{sensitivity:g}", "state": state, "since": since, "tuning": tuning})


def frames(judged: Sequence[Judged], *, version: str = "one", subject: str = "api") -> tuple[pl.DataFrame, pl.DataFrame]:
    anomalies, verdicts = [], []
    for number, (day, evidence, is_confirmed, later) in enumerate(judged):
        rang_at = START + day * DAY
        name = f"{version}-{number:03d}"
        row: dict[str, Any] = {"anomaly_id": name, "signal": "errors", "subject": subject, "detector_version": version, "hurts": True}
        anomalies.append({**row, "evidence": evidence, "started_at": rang_at - HOUR, "alarmed_at": rang_at})
        verdicts.append({"anomaly_id": name, "verdict": "confirm" if is_confirmed else "reject", "decided_at": rang_at + later * DAY})
    schema = {name: DERIVED["anomalies"][name] for name in READ}
    return pl.DataFrame(anomalies, schema=schema, orient="row"), pl.DataFrame(verdicts, schema=VERDICTS, orient="row")


def proposals(judged: Sequence[Judged], *detectors: DetectorRow, subject: str = "api") -> list[dict[str, Any]]:
    found = propose(*frames(judged, subject=subject), detectors or (LIVE,), AS_OF)
    return [row for row in found.to_dicts() if row["subject"] == subject]


def noisy(n: int, *, first: float = 0.0, later: float = 0.5) -> list[Judged]:
    """Weak false alarms and strong true ones, by turns, one a day."""
    return [(first + day, 3.0 if day % 2 else 1.1, bool(day % 2), later) for day in range(n)]


alarms = st.lists(
    st.builds(
        Alarm,
        version=st.just("one"),
        subject=st.sampled_from(["api", "web"]),
        rang_at=st.integers(0, 900).map(lambda hours: START + hours * HOUR),
        evidence=st.floats(1.0, 5.0),
        is_confirmed=st.booleans(),
        decided_at=st.integers(0, 1400).map(lambda hours: START + hours * HOUR),
    ),
    max_size=40,
)
judgements = st.lists(st.tuples(st.floats(0, 40), st.floats(1.0, 5.0), st.booleans(), st.floats(0, 15)), max_size=40)


def test_weak_false_alarms_are_worth_a_less_sensitive_shadow():
    (row,) = proposals(noisy(30))
    assert (row["verdict"], row["current_sensitivity"], row["proposed_sensitivity"]) == ("run_in_shadow", 1.0, 0.9)
    assert (row["confirmed_dropped"], row["rejected_dropped"]) == (0, row["n_holdout"] // 2)
    assert row["precision_current"] == pytest.approx(0.5, abs=0.05)
    assert row["precision_proposed"] == 1.0
    assert "rejected" in row["reason"]


def test_false_alarms_as_strong_as_true_ones_cannot_be_tuned_away():
    judged = [(day, 2.0, bool(day % 2), 0.5) for day in range(30)]
    (row,) = proposals(judged)
    assert (row["verdict"], row["proposed_sensitivity"]) == ("keep", 1.0)


def test_what_helped_earlier_and_not_later_is_kept_as_it_is():
    early, late = noisy(20), [(21.0 + day, 1.1, True, 0.5) for day in range(12)]
    (row,) = proposals([*early, *late])
    assert row["proposed_sensitivity"] == 0.9
    assert row["verdict"] == "keep"
    assert row["confirmed_dropped"] > 0


@pytest.mark.parametrize("n", [1, LEAST_TRAIN, LEAST_TRAIN + LEAST_HOLDOUT - 1])
def test_few_verdicts_decide_nothing(n: int):
    (row,) = proposals(noisy(n))
    assert (row["verdict"], row["proposed_sensitivity"], row["precision_current"]) == ("not_enough_data", 1.0, None)
    assert str(n) in row["reason"]


def test_alarms_judged_in_one_sitting_afterwards_choose_nothing():
    judged = [(day, evidence, confirmed, 59 - day) for day, evidence, confirmed, _ in noisy(40)]
    (row,) = proposals(judged)
    assert row["verdict"] == "not_enough_data"


def test_a_rejection_given_after_the_cut_does_not_inform_the_choice():
    prompt = [(day, 3.0, True, 0.1) for day in range(30)]
    belated = [(day + 0.5, 1.1, False, 59 - day - 0.5) for day in range(30)]
    (row,) = proposals([*prompt, *belated])
    assert (row["verdict"], row["proposed_sensitivity"]) == ("keep", 1.0)
    assert row["n_train"] < 30


def test_a_shadow_that_held_for_two_weeks_may_go_live():
    shadow = tuned("shadow", 0.8, subject="api", since=START + 20 * DAY)
    row = next(row for row in proposals(noisy(40), LIVE, shadow) if row["proposed_sensitivity"] == 0.8)
    assert (row["verdict"], row["holdout_from"], row["n_holdout"], row["confirmed_dropped"]) == ("promote", shadow.since, 20, 0)
    assert shadow.version in row["reason"]


def test_a_young_shadow_stays_in_shadow():
    shadow = tuned("shadow", 0.8, subject="api", since=AS_OF - 13 * DAY)
    row = next(row for row in proposals(noisy(58), LIVE, shadow) if row["proposed_sensitivity"] == 0.8)
    assert row["verdict"] == "run_in_shadow"
    assert "13 of 14 days" in row["reason"]


def test_a_shadow_that_loses_true_alarms_is_not_promoted():
    shadow = tuned("shadow", 0.3, subject="api", since=START + 20 * DAY)
    row = next(row for row in proposals(noisy(40), LIVE, shadow) if row["proposed_sensitivity"] == 0.3)
    assert (row["verdict"], row["confirmed_dropped"]) == ("keep", 10)


def test_a_shadow_better_by_one_alarm_may_be_luck():
    judged = [(day, 3.0, True, 0.5) for day in range(40)] + [(30.5, 1.1, False, 0.5)]
    shadow = tuned("shadow", 0.8, subject="api", since=START + 20 * DAY)
    row = next(row for row in proposals(judged, LIVE, shadow) if row["proposed_sensitivity"] == 0.8)
    assert row["verdict"] == "run_in_shadow"
    assert "chance of 0.5" in row["reason"]


def test_more_sensitivity_needs_judged_alarms_of_a_version_that_has_it():
    missed = [(day, 0.9, True, 0.5) for day in range(40)]
    assert all(row["proposed_sensitivity"] <= 1.0 for row in proposals([(day, 2.0, True, 0.5) for day in range(40)]))
    bold = tuned("shadow", 1.25, subject="api", since=START)
    anomalies, verdicts = frames(missed, version=bold.version)
    found = propose(anomalies, verdicts, (LIVE, bold), AS_OF).filter(pl.col("subject") == "api").to_dicts()
    assert [(row["verdict"], row["proposed_sensitivity"], row["confirmed_dropped"]) for row in found if row["verdict"] == "promote"] == [
        ("promote", 1.25, -40)
    ]


def test_a_subject_tuned_by_itself_is_left_out_of_the_proposal_for_all():
    live = tuned("live", 0.7, subject="api")
    found = propose(*frames(noisy(30), version=live.version), (live,), AS_OF)
    assert found.filter(pl.col("subject") == "").is_empty()
    assert found.filter(pl.col("subject") == "api")["current_sensitivity"].to_list() == [0.7]


def test_without_verdicts_nothing_is_proposed():
    found = propose(*frames([]), (LIVE,), AS_OF)
    assert found.is_empty()
    assert found.schema == pl.Schema(DERIVED["tuning_proposals"])


def test_an_episode_that_does_not_hurt_is_no_alarm():
    anomalies, verdicts = frames(noisy(30))
    assert propose(anomalies.with_columns(hurts=pl.lit(False)), verdicts, (LIVE,), AS_OF).is_empty()


@given(judgements, st.randoms())
@settings(max_examples=40, deadline=None)
def test_proposals_do_not_depend_on_the_order_of_rows(judged: list[Judged], chance: random.Random):
    anomalies, verdicts = frames(judged)
    shuffled = [frame[chance.sample(range(frame.height), frame.height)] for frame in (anomalies, verdicts)]
    shadow = tuned("shadow", 0.8, subject="api", since=START + 20 * DAY)
    assert propose(anomalies, verdicts, (LIVE, shadow), AS_OF).equals(propose(*shuffled, (shadow, LIVE), AS_OF))


@given(judgements)
@settings(max_examples=60, deadline=None)
def test_verdicts_given_after_the_cut_never_inform_the_choice(judged: list[Judged]):
    anomalies, verdicts = frames(judged)
    before = propose(anomalies, verdicts, (LIVE,), AS_OF)
    for row in before.filter(pl.col("holdout_from").is_not_null()).to_dicts():
        late = verdicts["decided_at"] >= row["holdout_from"]
        turned = pl.when(late).then(pl.col("verdict").replace({"confirm": "reject", "reject": "confirm"})).otherwise("verdict")
        again = propose(anomalies, verdicts.with_columns(verdict=turned), (LIVE,), AS_OF).filter(pl.col("subject") == row["subject"])
        assert (again["holdout_from"].item(), again["n_train"].item()) == (row["holdout_from"], row["n_train"])
        assert again["proposed_sensitivity"].item() == row["proposed_sensitivity"]


@given(alarms)
def test_the_cut_parts_what_was_known_from_what_rang_later(given_alarms: list[Alarm]):
    cut = cut_of(given_alarms)
    if cut is not None:
        assert any(max(alarm.rang_at, alarm.decided_at) < cut for alarm in given_alarms)
        assert any(alarm.rang_at >= cut for alarm in given_alarms)


@given(alarms, st.floats(0.3, 2.0))
def test_a_context_of_true_alarms_only_is_left_alone(given_alarms: list[Alarm], current: float):
    confirmed = [Alarm(a.version, a.subject, a.rang_at, a.evidence / current, True, a.decided_at) for a in given_alarms]
    assert choose(confirmed, current, current) == current


@given(alarms)
def test_the_chosen_sensitivity_is_worth_at_least_the_current_one_and_loses_few_true_alarms(given_alarms: list[Alarm]):
    now, then = kept(given_alarms, 1.0), kept(given_alarms, choose(given_alarms, 1.0, 1.0))
    assert then.worth >= now.worth
    assert now.confirmed - then.confirmed <= 0.05 * now.confirmed


@given(st.integers(0, 60), st.integers(0, 60))
def test_precision_lies_in_its_interval(confirmed: int, rejected: int):
    share, low, high = Kept(confirmed, rejected).precision()
    if share is None or low is None or high is None:
        assert confirmed + rejected == 0
    else:
        assert 0.0 <= low <= share
        assert share <= high <= 1.0


def test_a_subjects_own_tuning_replaces_the_one_for_all():
    signal = SignalRow(name="errors", fact="metric", value="errors", by=("service",), sensitivity=2.0)
    rows = [{"signal": "errors", "sensitivity": 0.5}, {"signal": "errors", "subject": "api", "sensitivity": 0.8}]
    detector = DetectorRow.model_validate({"version": "one", "state": "live", "tuning": rows})
    assert (sensitivity_of(detector, signal, "api"), sensitivity_of(detector, signal, "web"), sensitivity_of(LIVE, signal, "api")) == (
        1.6,
        1.0,
        2.0,
    )


def test_the_row_to_paste_is_a_shadow_that_loads_and_carries_the_live_tuning():
    live = tuned("live", 0.7, subject="web")
    judged = frames(noisy(30), version=live.version)
    text = version_to_paste(propose(*judged, (live,), AS_OF), (live,), AS_OF)
    row = yaml.safe_load("detectors:\n" + text)["detectors"]
    shadow = DetectorsFile.model_validate({"detectors": [live.model_dump(), *row]}).detectors[1]
    assert (shadow.state, shadow.since) == ("shadow", AS_OF)
    assert {(one.subject, one.sensitivity) for one in shadow.tuning} == {("web", 0.7), ("api", 0.9), ("", 0.9)}
    assert version_to_paste(propose(*judged, (live, shadow), AS_OF), (live, shadow), AS_OF) == ""
