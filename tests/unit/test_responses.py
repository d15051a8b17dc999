"""Advice names a likely owner and runbooks with an honest record; automation goes as far as every guardrail lets it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from aftercast.declarations import IncidentClassRow, LimitsRow
from aftercast.learning import guardrails, responses
from aftercast.learning.endings import Record, endings
from aftercast.learning.guardrails import Act, Plan
from aftercast.runbooks import Check
from tests.unit.responses_fixture import AS_OF, NOW, RUNBOOK, SERVICES, TEAMS, automation, runbook, world


def advice(frames: dict[str, Any], incident: str = "INC-9", *books: Any) -> responses.Advice:
    return responses.advise(incident, responses.Past.of(frames), books or (runbook(),), SERVICES, TEAMS)


def planned(frames: dict[str, Any], level: int = 2, acts: tuple[Act, ...] = (), criticality: str | None = "low", **more: Any) -> Plan:
    return guardrails.plan(
        advice(frames), automation(level, **more), frames, acts, criticality=criticality, as_of=AS_OF, now=more.pop("now", NOW)
    )


def failing(plan: Plan) -> set[str]:
    return {one.name for one in plan.held_by}


def test_what_ended_an_incident_is_the_last_remedy_before_its_end():
    found = endings(world())
    assert {name: one.change_id for name, one in found.items() if one} == {f"INC-{n}": f"back-INC-{n}" for n in (1, 2, 3, 4)}
    assert "INC-9" not in found  # it goes on


def test_a_remedy_long_before_the_end_ended_nothing():
    frames = world()
    early = pl.when(pl.col("is_rollback")).then(pl.col("started_at") - timedelta(hours=2)).otherwise(pl.col("started_at"))
    frames["mart_incidents"] = frames["mart_incidents"].with_columns(pl.col("started_at") - timedelta(hours=5))
    found = endings(frames | {"mart_changes": frames["mart_changes"].with_columns(early.alias("started_at"))})
    assert set(found.values()) == {None}


def test_a_change_under_suspicion_is_not_what_ended_its_own_incident():
    frames = world(cause="flag")
    late = pl.when(pl.col("kind") == "flag").then(pl.col("started_at") + timedelta(minutes=50)).otherwise(pl.col("started_at"))
    changes = frames["mart_changes"].with_columns(late.alias("started_at"))
    found = endings(frames | {"mart_changes": changes})
    assert {one.kind for one in found.values() if one} == {"rollback"}
    alone = changes.filter(pl.col("kind") == "flag")
    assert set(endings(frames | {"mart_changes": alone}).values()) == {None}


def test_a_runbook_says_how_often_its_action_ended_earlier_incidents():
    record = advice(world()).matches[0].record
    assert (record.hits, record.n) == (4, 4)
    assert record.interval == pytest.approx((0.51, 1.0), abs=0.01)  # Wilson
    assert str(record) == "4 of 4 (51% to 100%)"


def test_records_count_only_what_was_over_before():
    assert advice(world(), "INC-3").matches[0].record == Record(2, 2)
    assert str(advice(world(), "INC-3").matches[0].record) == "not enough data (2 of 2)"
    assert str(advice(world(), "INC-1").matches[0].record) == "not enough data (none seen)"


def test_an_ending_nobody_recorded_is_no_failure_of_the_runbook():
    frames = world()
    frames["mart_changes"] = frames["mart_changes"].filter(pl.col("change_id") != "back-INC-2")
    assert advice(frames).matches[0].record == Record(3, 3, unseen=1)


def test_a_runbook_fits_by_its_cause_family_and_service():
    frames = world()
    facts = responses.Past.of(frames).facts["INC-9"]
    assert responses.reasons(runbook(), facts) == ("it is for the cause deploy (95% likely)",)
    other = RUNBOOK.replace("causes: [deploy]", "causes: [flag]")
    assert responses.reasons(runbook(other), facts) == ()
    family = other.replace("causes: [flag]", "causes: [flag]\nfamilies: [failures after a deploy]")
    assert responses.reasons(runbook(family), facts) == ("it is for the family tool: failures after a deploy",)
    assert responses.reasons(runbook(RUNBOOK.replace("causes:", "services: [shop]\ncauses:")), facts) == ()


def test_the_likely_owner_owns_the_likeliest_candidate_and_is_a_team():
    owner = advice(world()).owner
    assert (owner.team, owner.channel, owner.on_call) == ("platform", "#platform", "https://rota.example/platform")
    assert "95%" in owner.reasons[0]
    assert "4 of 4 earlier incidents" in owner.reasons[1]


def test_an_unlikely_candidate_does_not_make_an_owner_and_unknown_services_have_none():
    frames = world(probability=0.3)
    frames["mart_incidents"] = frames["mart_incidents"].with_columns(service_origin=pl.lit("shop"), team_owner=pl.lit("orders"))
    assert advice(frames | {"mart_incidents": frames["mart_incidents"].filter(pl.col("incident_id") == "INC-9")}).owner.team == "orders"
    lost = world(service="elsewhere")
    assert advice(lost).owner.team is None
    assert "nobody is named as owner of elsewhere" in advice(lost).owner.reasons[0]


def test_the_recommendation_names_the_action_its_record_and_what_ended_similar_incidents():
    found = advice(world())
    assert found.recommended == "rollback on tool: step 2 of roll-back"
    assert "usual fix of its family (tool: failures after a deploy): rollback on tool, worked 4 of 4 (51% to 100%)" in found.why
    assert "similar INC-1 (0.80): rollback on tool" in found.why
    assert found.evidence == ("INC-9", "chg-INC-9", "ev-INC-9-1", "ev-INC-9-2")


def test_without_a_fitting_runbook_the_usual_fix_is_told():
    found = advice(world(), "INC-9", runbook(RUNBOOK.replace("[deploy]", "[flag]")))
    assert found.step is None
    assert "no runbook fits; what usually ended this family: rollback on tool" in found.recommended


def test_a_family_no_runbook_fits_and_an_action_that_keeps_failing_are_named():
    frames = world(past=6)
    past = responses.Past.of(frames)
    missing = responses.suggestions(past, ())
    assert [one.subject for one in missing] == ["family-tool"]
    assert "6 ended after rollback: write one" in missing[0].text
    assert responses.suggestions(past, (runbook(),)) == ()
    wrong = runbook(RUNBOOK.replace("action: rollback", "action: scale"))
    (told,) = responses.suggestions(past, (wrong,))
    assert told.runbook_id == "roll-back"
    assert "scale ended 0 of 6" in told.text
    assert "rollback (6 of 6)" in told.text


@pytest.mark.parametrize(("level", "outcome"), [(0, "observe"), (1, "recommend"), (2, "ask"), (3, "act")])
def test_the_level_of_the_class_decides_where_every_guardrail_holds(level: int, outcome: str):
    found = planned(world(), level)
    assert found.outcome == outcome
    assert failing(found) == (set() if level >= 2 else {"level", "action_named"})
    assert found.key == "act:INC-9:roll-back:2:chg-INC-9"
    assert found.arguments == {"service": "tool", "change": "chg-INC-9"}


def at(minutes: float, *, service: str = "tool", action: str = "rollback", is_over: bool = True) -> Act:
    return Act(NOW - timedelta(minutes=minutes), f"act:{minutes}", "INC-1", service, action, is_over)


@pytest.mark.parametrize(
    ("name", "frames", "more"),
    [
        ("precondition", world(is_open=True, probability=0.55), {"limits": LimitsRow(least_probability=0.1)}),
        ("incident_open", world(is_open=False), {}),
        ("probability", world(probability=0.7), {}),
        ("blast_radius", world() | {"mart_blast_radius": world()["mart_blast_radius"].with_columns(traffic_share=pl.lit(0.6))}, {}),
        ("blast_radius", world() | {"mart_blast_radius": world()["mart_blast_radius"].head(0)}, {}),
        ("evidence", world() | {"mart_incident_evidence": world()["mart_incident_evidence"].head(0)}, {}),
        ("data_fresh", world(), {"now": AS_OF + timedelta(minutes=31)}),
        ("cool_down", world(), {"acts": (at(60),)}),
        ("most_per_day", world(), {"acts": (at(200), at(300, service="b"), at(400, service="c"))}),
        ("one_at_a_time", world(), {"acts": (at(500, action="scale", is_over=False),)}),
    ],
)
def test_a_guardrail_that_does_not_hold_stops_the_act_and_leaves_the_recommendation(name: str, frames: Any, more: dict[str, Any]):
    now, acts = more.pop("now", NOW), more.pop("acts", ())
    found = guardrails.plan(advice(frames), automation(3, **more), frames, acts, criticality="low", as_of=AS_OF, now=now)
    assert found.outcome == "recommend"
    assert name in failing(found)
    assert all(one.why for one in found.guardrails)


@pytest.mark.parametrize(
    ("criticality", "past", "name"), [("critical", 4, "no_critical_service"), (None, 4, "no_critical_service"), ("low", 1, "record")]
)
def test_critical_services_and_unproven_actions_are_acted_on_after_approval_only(criticality: str | None, past: int, name: str):
    found = planned(world(past=past), 3, criticality=criticality)
    assert failing(found) == {name}
    assert found.outcome == "ask"


def test_an_action_that_its_class_does_not_name_is_only_recommended():
    rows = (IncidentClassRow(name="all", level=2, actions=("scale",)),)
    assert failing(planned(world(), classes=rows)) == {"action_named"}


def test_the_first_class_that_fits_counts_and_what_is_unknown_fits_only_all():
    rows = (
        IncidentClassRow(name="severe", level=0, severity=("SEV1",)),
        IncidentClassRow(name="sure", level=1, least_probability=0.99),
        IncidentClassRow(name="low_deploys", level=1, criticality=("low",), causes=("deploy",), families=("deploy",)),
        IncidentClassRow(name="rest", level=0),
    )
    facts = responses.Past.of(world()).facts["INC-9"]
    assert guardrails.class_of(facts, "low", rows).name == "low_deploys"  # type: ignore[union-attr]
    assert guardrails.class_of(facts, None, rows).name == "rest"  # type: ignore[union-attr]
    assert guardrails.class_of(facts, "low", ()) is None


@pytest.mark.parametrize(
    ("check", "passed", "why"),
    [
        ({"mart": "mart_incidents", "column": "severity", "one_of": ["sev3", "sev4"]}, True, "it is sev3"),
        ({"mart": "mart_incidents", "column": "mitigated_at", "equals": 1}, False, "mart_incidents.mitigated_at is empty"),
        ({"mart": "mart_incidents", "column": "nothing", "equals": 1}, False, "has no column 'nothing'"),
        ({"mart": "mart_incidents", "column": "severity", "at_least": 1}, False, "'sev3' is no number"),
        ({"mart": "mart_changes", "column": "kind", "equals": "deploy"}, True, "it is deploy"),
        ({"mart": "mart_blast_radius", "column": "traffic_share", "at_most": 0.05}, False, "it is 0.1"),
    ],
)
def test_a_check_holds_only_where_the_answer_is_known(check: dict[str, Any], passed: bool, why: str):
    found = guardrails.answer(Check.model_validate(check), world(), responses.Past.of(world()).facts["INC-9"])
    assert found.passed is passed
    assert why in found.why


def test_an_incident_without_candidates_or_a_runbook_gets_advice_and_no_act():
    frames = world()
    frames["mart_incident_candidates"] = frames["mart_incident_candidates"].filter(pl.col("incident_id") != "INC-9")
    found = planned(frames, 3)
    assert found.outcome == "observe"  # the class asks for a cause, and none is known
    assert found.advice.why[0] == "no candidate was computed"
    assert found.key == ""
