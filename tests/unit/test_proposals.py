"""The rules of proposals: what opens one, what joins, when it is over, and what later data can never change."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftercast.correlation import Inputs, correlate
from aftercast.correlation.rankers import Rankings
from aftercast.correlation.weights import PRIOR
from tests.unit import correlate_fixture
from tests.unit.proposals_fixture import DAY, Row, alert, at, build, drop, episode, incident, pairs, proposed

CRITICAL = {"severity": "critical"}


# --- what opens one ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "signals",
    [
        [alert("api", **CRITICAL)],
        [drop("shop")],
        [episode("api", score=0.9)],
        [alert("api"), episode("store", score=0.6)],
        [alert("api"), episode("api", score=0.6)],
        [alert("web"), alert("api", 5), alert("store", 10)],
    ],
    ids=["one severe alert", "a journey", "a severe episode that lasts", "an alert and an episode nearby", "both agree", "three subjects"],
)
def test_evidence_that_suffices_opens_one_proposal(signals: list[Row]) -> None:
    rows, members = proposed(*signals)
    assert len(rows) == 1
    assert {member["proposal_id"] for member in members.values()} == {rows[0]["proposal_id"]}


@pytest.mark.parametrize(
    "signals",
    [
        [alert("api")],
        [alert("api", severity="info"), alert("web", severity="info"), alert("store", severity="info")],
        [alert("api"), alert("web")],
        [alert("api", rule="One"), alert("api", rule="Two"), alert("api", rule="Three")],
        [episode("api", score=0.95, lasts=20)],
        [alert("web"), alert("api", 25), alert("store", 95)],
        [alert("web"), alert("far"), alert("mail", 10)],
    ],
    ids=["one warning", "whispers", "two warnings", "one subject thrice", "a brief episode", "too far apart in time", "unrelated"],
)
def test_evidence_that_does_not_suffice_opens_none_and_says_so(signals: list[Row]) -> None:
    rows, members = proposed(*signals)
    assert rows == []
    assert len(members) == len(signals)
    assert all(member["role"] == "apart" and "needed" in str(member["reason"]) for member in members.values())


def test_a_severe_episode_opens_when_it_has_lasted_half_an_hour_not_before() -> None:
    lasting = episode("api", score=0.9, late=10)
    assert proposed(lasting, as_of=at(29))[0] == []
    rows, _ = proposed(lasting, as_of=at(31))
    assert rows[0]["alarmed_at"] == at(30)
    assert rows[0]["started_at"] == at(0)


def test_a_silenced_alert_opens_none_but_may_join() -> None:
    silenced = alert("api", 5, rule="Quiet", is_suppressed=True, **CRITICAL)
    rows, members = proposed(silenced)
    assert rows == []
    assert members[silenced["alert_id"]]["reason"] == "silenced"
    rows, members = proposed(silenced, alert("web", **CRITICAL))
    assert members[silenced["alert_id"]]["proposal_id"] == rows[0]["proposal_id"]
    assert rows[0]["n_alerts"] == 2
    assert rows[0]["services"] == ["web"]


def test_an_alert_during_maintenance_of_its_service_opens_none() -> None:
    work = {"change_id": "m1", "kind": "maintenance", "service": "api", "environment": "production", "started_at": at(-10)}
    loud = alert("api", **CRITICAL)
    assert proposed(loud, changes=[{**work, "finished_at": at(30)}])[0] == []
    assert "m1" in proposed(loud, changes=[{**work, "finished_at": at(30)}])[1][loud["alert_id"]]["reason"]
    assert len(proposed(loud, changes=[{**work, "finished_at": at(-5)}])[0]) == 1
    assert len(proposed(loud, changes=[{**work, "service": "web", "finished_at": at(30)}])[0]) == 1


def test_what_the_calendar_expected_or_does_not_hurt_is_no_member() -> None:
    holiday = episode("api", score=0.99, explained_by="christmas")
    better = episode("web", score=0.99, hurts=False)
    rows, members = proposed(holiday, better)
    assert rows == []
    assert members[holiday["anomaly_id"]]["reason"] == "expected: christmas"
    assert members[better["anomaly_id"]]["reason"] == "moved in a direction that does not hurt"


# --- what joins --------------------------------------------------------------------------------------------------------------------------


def test_two_hundred_alerts_are_one_narrative() -> None:
    storm = [alert(("store", "api", "web")[n % 3], n / 10, rule=f"Rule{n}", lasts=60, **CRITICAL) for n in range(200)]
    rows, _ = proposed(*storm, drop("shop", 3))
    assert len(rows) == 1
    assert rows[0]["n_alerts"] == 200
    assert rows[0]["services"] == ["store", "api", "web"]
    assert rows[0]["narrative"] == (
        "It began with the alert Rule0 on store at 12:00 on 23 September; then reached api (at once) and web (at once); journey shop hurt; "
        "200 alerts and 1 KPI drop; last heard at 13:19"
    )


def test_one_alert_far_away_in_the_graph_stays_out() -> None:
    rows, members = proposed(alert("web", **CRITICAL), alert("api", 2), alert("deeper", 3))
    assert len(rows) == 1
    assert members["Errors|deeper|production||3"]["proposal_id"] is None
    assert rows[0]["n_alerts"] == 2


def test_calls_are_followed_for_two_steps_only() -> None:
    opened = alert("far", **CRITICAL)
    assert proposed(opened, alert("deep", 1))[0][0]["n_alerts"] == 2
    assert proposed(opened, alert("deeper", 1))[0][0]["n_alerts"] == 2
    assert "which calls" in proposed(opened, alert("deeper", 1))[1]["Errors|deeper|production||1"]["reason"]
    assert proposed(alert("web", **CRITICAL), alert("card", 1))[0][0]["n_alerts"] == 2


def test_callers_of_the_same_provider_belong_together() -> None:
    rows, members = proposed(alert("api", **CRITICAL), alert("mail", 3))
    assert rows[0]["services"] == ["api", "mail"]
    assert members["Errors|mail|production||3"]["reason"] == "mail and api both call card"


def test_nothing_of_another_environment_joins() -> None:
    rows, _ = proposed(alert("api", **CRITICAL), alert("api", 1, environment="staging", **CRITICAL))
    assert [row["environment"] for row in rows] == ["production", "staging"]


def test_a_drop_of_a_journey_is_not_told_with_an_environment_without_customers() -> None:
    rows, _ = proposed(alert("web", environment="staging", lasts=90, **CRITICAL), drop("shop"))
    assert [(row["environment"], row["journeys"]) for row in rows] == [("staging", []), ("", ["shop"])]


def test_another_region_joins_only_when_the_same_subject_begins_at_the_same_time() -> None:
    begun = alert("api", region="eu", lasts=90, **CRITICAL)
    assert len(proposed(begun, alert("api", 6, region="us", **CRITICAL))[0]) == 1
    assert len(proposed(begun, alert("api", 40, region="us", **CRITICAL))[0]) == 2
    assert len(proposed(begun, alert("web", 6, region="us", **CRITICAL))[0]) == 2


def test_where_no_calls_are_known_time_and_region_decide() -> None:
    begun = alert("stranger", region="eu", **CRITICAL)
    assert proposed(begun, alert("other", 8, region="eu"))[0][0]["n_alerts"] == 2
    assert proposed(begun, alert("other", 15, region="eu"))[0][0]["n_alerts"] == 1
    assert proposed(begun, alert("other", 8, region="us"))[0][0]["n_alerts"] == 1


def test_an_alert_that_names_no_service_is_placed_by_time() -> None:
    rows, _ = proposed(alert(None, **CRITICAL), alert("api", 5))
    assert rows[0]["n_alerts"] == 2
    assert rows[0]["services"] == ["api"]


def test_what_waits_joins_when_something_connects_it() -> None:
    rows, members = proposed(alert("store", 0), alert("web", 1, severity="info"), alert("api", 5, **CRITICAL))
    assert len(rows) == 1
    assert rows[0]["n_alerts"] == 3
    assert members["Errors|store|production||0"]["role"] == "founder"


def test_a_shared_neighbour_joins_the_nearer_of_two_proposals_and_merges_nothing() -> None:
    rows, members = proposed(
        alert("far", **CRITICAL),
        alert("store", 1, **CRITICAL),
        alert("api", 3),
        incidents=[incident("I-1", ["far"]), incident("I-2", ["api"])],
    )
    assert [row["services"] for row in rows] == [["far"], ["store", "api"]]
    assert [row["incident_id"] for row in rows] == ["I-1", "I-2"]


# --- when it is over ---------------------------------------------------------------------------------------------------------------------


def test_it_stops_absorbing_after_half_an_hour_of_silence() -> None:
    begun = alert("api", lasts=20, **CRITICAL)
    assert len(proposed(begun, alert("web", 49, **CRITICAL))[0]) == 1
    rows, _ = proposed(begun, alert("web", 51, **CRITICAL))
    assert len(rows) == 2
    assert rows[0]["ended_at"] == at(20)
    assert rows[0]["closed_because"] == "nothing related for half an hour"


def test_it_opens_again_for_the_same_series_within_two_hours() -> None:
    begun = alert("api", lasts=20, **CRITICAL)
    rows, _ = proposed(begun, alert("api", 100, **CRITICAL))
    assert len(rows) == 1
    assert rows[0]["n_reopened"] == 1
    assert rows[0]["started_at"] == at(0)
    assert len(proposed(begun, alert("api", 141, **CRITICAL))[0]) == 2
    assert proposed(begun, alert("api", 100, **CRITICAL), as_of=at(105))[0][0]["status"] == "reopened"


def test_status_is_open_while_it_is_heard() -> None:
    rows, _ = proposed(alert("api", lasts=None, **CRITICAL), as_of=at(300))
    assert (rows[0]["status"], rows[0]["ended_at"], rows[0]["closed_because"]) == ("open", None, None)
    assert "still going on" in str(rows[0]["narrative"])


def test_it_absorbs_for_a_day_at_most_and_what_comes_then_says_what_it_follows() -> None:
    lasting = [alert("api", hour * 60, rule=f"Rule{hour}", lasts=70, **CRITICAL) for hour in range(27)]
    rows, _ = proposed(*lasting, as_of=at(3000))
    assert [row["n_alerts"] for row in rows] == [25, 2]
    assert rows[1]["follows_proposal_id"] == rows[0]["proposal_id"]
    assert rows[0]["follows_proposal_id"] is None


def test_a_resolved_incident_never_absorbs_later_alerts() -> None:
    begun, later = alert("api", lasts=100, **CRITICAL), alert("api", 90, rule="Again", lasts=30, **CRITICAL)
    assert len(proposed(begun, later, incidents=[incident("I-1", ["api"], lasts=200)])[0]) == 1
    rows, _ = proposed(begun, later, incidents=[incident("I-1", ["api"], lasts=60)])
    assert [row["incident_id"] for row in rows] == ["I-1", None]
    assert rows[1]["follows_proposal_id"] == rows[0]["proposal_id"]
    assert rows[0]["closed_because"] == "incident I-1 was resolved"


def test_one_of_two_overlapping_incidents_resolved_does_not_close_it() -> None:
    signals = (alert("api", lasts=100, **CRITICAL), alert("api", 90, rule="Again", lasts=30, **CRITICAL))
    both = [incident("I-1", ["api"], lasts=60), incident("I-2", ["web"], 10, lasts=200)]
    rows, _ = proposed(*signals, incidents=both)
    assert len(rows) == 1
    assert [pair["incident_id"] for pair in pairs(*signals, incidents=both)] == ["I-1", "I-2"]


def test_an_episode_known_late_belongs_to_the_time_in_which_it_began() -> None:
    rows, _ = proposed(
        alert("api", lasts=50, **CRITICAL), drop("shop", 10, lasts=60, late=70), incidents=[incident("I-1", ["api"], lasts=50)]
    )
    assert len(rows) == 1
    assert rows[0]["n_kpi_drops"] == 1


def test_flapping_is_one_proposal_and_does_not_keep_it_alive() -> None:
    flaps = [alert("api", 15 * turn, lasts=5, **CRITICAL) for turn in range(40)]
    rows, members = proposed(*flaps)
    assert len(rows) == 1
    assert rows[0]["ended_at"] == at(65)
    assert rows[0]["n_reopened"] == 0
    assert sum(member["proposal_id"] is None for member in members.values()) > 0
    assert "flapping" in str(members[flaps[-1]["alert_id"]]["reason"])


# --- declared incidents ------------------------------------------------------------------------------------------------------------------


def test_an_alert_on_a_callee_belongs_to_the_incident_of_its_caller() -> None:
    rows, _ = proposed(alert("store", **CRITICAL), incidents=[incident("I-1", ["web"], 12)])
    assert rows[0]["incident_id"] == "I-1"
    assert rows[0]["match_gap_minutes"] == 12
    assert rows[0]["match_reason"] == (
        "the incident names web; hit: store (web calls api, which calls store); it began 12 min before the reported start"
    )


@pytest.mark.parametrize(
    "declared",
    [
        incident("I-1", ["far"]),
        incident("I-1", ["api"], environment="staging"),
        incident("I-1", ["api"], 200),
        incident("I-1", ["api"], -300),
        incident("I-1", [], 55),
    ],
    ids=["elsewhere", "another environment", "too late", "long over", "no service and not at once"],
)
def test_other_incidents_do_not_match(declared: Row) -> None:
    assert proposed(alert("api", **CRITICAL), incidents=[declared])[0][0]["incident_id"] is None


def test_an_incident_that_names_no_service_matches_by_time() -> None:
    rows, _ = proposed(alert("api", **CRITICAL), incidents=[incident("I-1", [], 10)])
    assert rows[0]["incident_id"] == "I-1"
    assert "names no service" in str(rows[0]["match_reason"])


def test_a_regional_incident_is_not_matched_by_another_region() -> None:
    assert proposed(alert("api", region="eu", **CRITICAL), incidents=[incident("I-1", ["api"], region="us")])[0][0]["incident_id"] is None


def test_of_overlapping_incidents_the_likeliest_is_named_and_all_are_kept() -> None:
    both = [incident("I-1", ["api"], 45), incident("I-2", ["api"], 5), incident("I-3", ["store"], 5)]
    found = pairs(alert("api", lasts=60, **CRITICAL), incidents=both)
    assert [pair["incident_id"] for pair in found] == ["I-2", "I-3", "I-1"]
    assert [pair["rank"] for pair in found] == [1, 2, 3]


def test_causes_are_ranked_for_a_proposal_that_nobody_declared() -> None:
    onset = correlate_fixture.ONSET
    loud = {**alert("web", rule="Down", **CRITICAL), "started_at": onset, "ended_at": onset + timedelta(minutes=50)}
    made = correlate_fixture.inputs(
        incidents=(),
        failing={"store": 0.5, "api": 0.5, "web": 0.4},
        changes=[correlate_fixture.change("bad", "store"), correlate_fixture.change("other", "mail")],
        alerts=pl.DataFrame([loud]),
    )
    empty = Inputs.of({**{name: getattr(made, name) for name in made.__slots__ if name != "incidents"}})
    row = correlate(empty, correlate_fixture.AS_OF).proposals.row(0, named=True)
    assert (row["top_candidate_kind"], row["top_candidate_id"], row["top_candidate_service"]) == ("change", "bad", "store")
    assert row["top_candidate_probability"] > 0.5
    assert "deploy" in row["top_candidate_rationale"]


def test_a_proposal_is_ranked_with_the_weights_of_its_week() -> None:
    known = Rankings(by_week={10: PRIOR, 20: replace(PRIOR, version="learned")})
    assert [known.weights_at(moment).version for moment in (5, 10, 19, 20, 99)] == ["prior", "prior", "prior", "learned", "learned"]


def test_a_proposal_about_an_incident_names_that_incidents_candidate() -> None:
    top: Row = {"kind": "change", "candidate_id": "c1", "service": "api", "probability": 0.8, "rationale": "Probably"}
    rows, _ = proposed(alert("api", **CRITICAL), incidents=[incident("I-1", ["api"])], candidates={"I-1": top})
    assert (rows[0]["top_candidate_id"], rows[0]["top_candidate_probability"]) == ("c1", 0.8)


# --- words and numbers -------------------------------------------------------------------------------------------------------------------


def test_severity_grows_with_breadth_and_most_with_journeys() -> None:
    one, two, hurt = (
        proposed(*signals)[0][0]["severity"]
        for signals in ([alert("api", **CRITICAL)], [alert("api", **CRITICAL), alert("web", **CRITICAL)], [drop("shop", score=0.9)])
    )
    assert (one, two, hurt) == (pytest.approx(0.45), pytest.approx(0.6975), pytest.approx(0.9))


def test_no_sentence_speaks_of_causes() -> None:
    rows, _ = proposed(episode("store", score=0.9), alert("api", 5, **CRITICAL), drop("shop", 5))
    assert "error_ratio on store at 0.2 where 0.01 was expected" in str(rows[0]["narrative"])
    assert "cause" not in str(rows[0]["narrative"])


def test_empty_inputs_and_odd_rows_are_tolerated() -> None:
    assert build(Inputs.of({}).conformed()).proposals == ()
    odd = [alert("api", lasts=-30, **CRITICAL), alert("web", severity=None), episode("api", 1, late=-5, score=None, lasts=-1)]
    rows, members = proposed(*odd, odd[0])
    assert len(rows) == 1
    assert len(members) == 3


# --- what never changes ------------------------------------------------------------------------------------------------------------------

SUBJECTS = st.sampled_from(["web", "api", "store", "mail", "far", "deep", "stranger"])
MINUTES = st.integers(0, 600)


@st.composite
def signals(draw: st.DrawFn) -> list[Row]:
    alerts = [
        alert(service, start, rule=rule, severity=severity, lasts=lasts, region=region, is_suppressed=silenced)
        for service, start, rule, severity, lasts, region, silenced in draw(
            st.lists(
                st.tuples(
                    SUBJECTS,
                    MINUTES,
                    st.sampled_from(["Errors", "Slow"]),
                    st.sampled_from(["critical", "warning", "info"]),
                    st.one_of(st.none(), st.integers(1, 90)),
                    st.sampled_from(["", "eu", "us"]),
                    st.booleans() if draw(st.booleans()) else st.just(False),
                ),
                max_size=25,
            )
        )
    ]
    episodes = [
        episode(service, start, lasts=lasts, late=min(late, lasts), score=score)
        for service, start, lasts, late, score in draw(
            st.lists(st.tuples(SUBJECTS, MINUTES, st.integers(5, 120), st.integers(0, 60), st.floats(0.5, 1.0)), max_size=10)
        )
    ]
    drops = [drop("shop", start, score=score) for start, score in draw(st.lists(st.tuples(MINUTES, st.floats(0.5, 1.0)), max_size=3))]
    return [*alerts, *episodes, *drops]


INCIDENTS = st.lists(st.tuples(SUBJECTS, MINUTES, st.one_of(st.none(), st.integers(10, 120))), max_size=3).map(
    lambda rows: [incident(f"I-{n}", [service], start, lasts=lasts) for n, (service, start, lasts) in enumerate(rows)]
)


@settings(max_examples=60, deadline=None)
@given(given=signals(), declared=INCIDENTS, seed=st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(given: list[Row], declared: list[Row], seed: Any) -> None:
    shuffled = [*given]
    seed.shuffle(shuffled)
    assert proposed(*given, incidents=declared) == proposed(*shuffled, incidents=declared[::-1])


def once(rows: list[Row]) -> list[Row]:
    """The star has one row per id."""
    return list({row.get("alert_id") or row.get("anomaly_id"): row for row in rows}.values())


@settings(max_examples=60, deadline=None)
@given(given=signals().map(once), declared=INCIDENTS)
def test_every_signal_is_in_exactly_one_proposal_or_in_none_with_a_reason(given: list[Row], declared: list[Row]) -> None:
    rows, members = proposed(*given, incidents=declared)
    ids = {str(row.get("alert_id") or row.get("anomaly_id")) for row in given}
    assert set(members) == ids
    assert all(member["reason"] for member in members.values())
    known = {row["proposal_id"] for row in rows}
    assert {member["proposal_id"] for member in members.values()} - {None} == known
    for row in rows:
        mine = [member for member in members.values() if member["proposal_id"] == row["proposal_id"]]
        assert len(mine) == row["n_alerts"] + row["n_anomalies"] + row["n_kpi_drops"]  # type: ignore[operator]
        assert sum(member["role"] == "founder" for member in mine) == 1
        assert row["started_at"] <= row["alarmed_at"]  # type: ignore[operator]
        assert 0 <= row["severity"] <= 1  # type: ignore[operator]


def as_known_at(rows: list[Row], moment: Any) -> list[Row]:
    """What a source would have told by then: nothing later, and no end that is still to come."""
    ends = ("ended_at", "resolved_at", "impact_end_at")
    seen = [row for row in rows if row.get("alarmed_at", row.get("declared_at", row["started_at"])) <= moment]
    return [{key: None if key in ends and value is not None and value > moment else value for key, value in row.items()} for row in seen]


@settings(max_examples=120, deadline=None)
@given(given=signals().map(once), declared=INCIDENTS, cut=st.integers(0, 700))
def test_later_data_moves_neither_start_nor_id_and_leaves_closed_proposals_alone(given: list[Row], declared: list[Row], cut: int) -> None:
    moment = at(cut)
    early, early_members = proposed(*as_known_at(given, moment), incidents=as_known_at(declared, moment), as_of=moment)
    late, late_members = proposed(*given, incidents=declared, as_of=DAY)
    by_id = {row["proposal_id"]: row for row in late}
    for row in early:
        same = by_id[row["proposal_id"]]
        fixed = ("started_at", "first_signal_at", "alarmed_at", "opened_because", "follows_proposal_id")
        assert {key: row[key] for key in fixed} == {key: same[key] for key in fixed}
        mine = {name for name, member in early_members.items() if member["proposal_id"] == row["proposal_id"]}
        assert mine <= {name for name, member in late_members.items() if member["proposal_id"] == row["proposal_id"]}
        if row["ended_at"] is not None and row["ended_at"] < moment - timedelta(hours=2):  # type: ignore[operator]
            about = ("incident_id", "match_likeness", "match_gap_minutes", "match_reason", "n_incidents", "closed_because")
            assert {key: row[key] for key in row if key not in about} == {key: same[key] for key in same if key not in about}
            assert mine == {name for name, member in late_members.items() if member["proposal_id"] == row["proposal_id"]}


def test_what_an_open_proposal_follows_is_settled_when_it_is_founded() -> None:
    signals = (
        alert("api", 38, lasts=None, region="us", **CRITICAL),
        alert("mail", 204, lasts=None, region="eu", **CRITICAL),
        drop("shop", 220, score=0.55),
        episode("api", 310, late=33, lasts=67, signal="latency"),
    )
    rows, members = proposed(*signals, incidents=[incident("I-1", ["api"], 19, lasts=34)])
    assert len(rows) == 2
    assert members["conversion|shop||220"]["proposal_id"] == members["latency|api||310"]["proposal_id"] == rows[1]["proposal_id"]
    assert rows[1]["follows_proposal_id"] is None


def test_the_start_is_that_of_what_made_it_open_even_when_earlier_trouble_becomes_known_later() -> None:
    opened, slow = alert("api", 60, lasts=90, **CRITICAL), episode("store", 0, lasts=140, late=100, score=0.9)
    before, after = proposed(opened)[0][0], proposed(opened, slow)[0][0]
    assert before["proposal_id"] == after["proposal_id"]
    assert before["started_at"] == after["started_at"] == at(60)
    assert "It began with error_ratio on store" in str(after["narrative"])
