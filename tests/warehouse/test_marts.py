"""What the marts say about the small company, worked out by hand."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from aftercast.correlation import Inputs
from aftercast.correlation.judging import words
from aftercast.steps import refreshing
from tests.warehouse.conftest import Query
from tests.warehouse.world import DAY, MINUTE, ONSET, RUN


def test_an_incident_tells_its_times_loss_suspect_and_family(ask: Query):
    row = ask("select * from marts.mart_incidents where incident_id = 'INC-1'").row(0, named=True)
    expected = {
        "service_origin": "payments",
        "services_impacted": ["payments", "web"],
        "team_owner": "money",
        "t_detect_minutes": 10.0,
        "t_acknowledge_minutes": 5.0,
        "t_mitigate_minutes": 60.0,
        "t_resolve_minutes": 108.0,
        "is_censored": False,
        "is_major": True,
        "is_found_by_us": True,
        "alerts_n": 2,
        "anomalies_n": 1,
        "first_signal_at": ONSET - 5 * MINUTE,
        "anomaly_to_detected_minutes": 15.0,
        "detected_by_detector": True,
        "top_candidate_kind": "change",
        "top_candidate_id": "dep-2",
        "top_candidate_probability": 0.7,
        "second_probability": 0.2,
        "p_none": 0.2,
        "top_candidate_confirmed": True,
        "confirmed_candidate_id": "dep-2",
        "minutes_change_to_impact": 20.0,
        "impact_status": "quantified",
        "lost_revenue": Decimal("120.10"),
        "currency": "EUR",
        "family_id": "F-1",
        "family_size": 1,
        "recurrence_n": 1,
        "recurred_after_fix": False,
        "postmortem_status": "reviewed",
        "trigger": "binary_push",
        "actions_open": 1,
        "actions_overdue": 1,
        "actions_done": 1,
        "as_of": RUN["as_of"],
    }
    assert {name: row[name] for name in expected} == expected


def test_missing_telemetry_shows_as_coverage(ask: Query):
    # 60 points in its first hour, of a median of 45 (60 and 30); nothing in its second: (30 of 45) for the hour it lasted.
    covered = ask("select data_coverage_pct from marts.mart_incidents where incident_id = 'INC-1'")["data_coverage_pct"].item()
    assert covered == pytest.approx(100 * 30 / 45)


def test_an_open_incident_is_kept_and_its_impact_is_unknown_not_zero(ask: Query):
    row = ask("select * from marts.mart_incidents where incident_id = 'INC-2'").row(0, named=True)
    assert (row["is_open"], row["is_censored"], row["t_mitigate_minutes"], row["age_minutes"]) == (True, True, None, 50.0)
    assert (row["impact_status"], row["lost_revenue"], row["currency"], row["p_none"]) == ("unknown", None, None, None)
    assert row["impact_reason"]


def test_an_unknown_segment_has_no_loss(ask: Query):
    rows = ask("select segment, status, lost_revenue from marts.mart_incident_impact order by segment").rows()
    assert rows == [
        ("region=asia", "unknown", None),
        ("region=eu", "quantified", Decimal("100.10")),
        ("region=us", "below_noise", Decimal("20.00")),
    ]


def test_candidates_carry_the_human_verdict_and_the_strongest_reason_first(ask: Query):
    rows = ask("select candidate_id, human_verdict, evidence_why from marts.mart_incident_candidates order by rank").rows()
    assert rows[0] == ("dep-2", "confirm", ["Undoing it helped.", "It came just before."])
    assert [row[1] for row in rows[1:]] == [None, None]
    assert ask("select count(*) as n from marts.mart_incident_evidence")["n"].item() == 3


def test_an_episode_far_from_any_incident_belongs_to_none(ask: Query):
    rows = ask("select anomaly_id, incident_id, relative_change from marts.mart_anomalies order by 1").rows()
    assert rows == [("E-1", "INC-1", 0.5), ("E-2", None, 0.5)]


def test_the_timeline_tells_the_story_in_order(ask: Query):
    rows = ask("select kind, text from marts.mart_incident_timeline where incident_id = 'INC-1' order by position").rows()
    assert [kind for kind, _ in rows] == [
        "change", "change", "anomaly", "started", "alert", "detected", "declared", "acknowledged", "event", "mitigated", "resolved",
    ]  # fmt: skip
    texts = dict(rows)
    assert texts["alert"] == "2 alerts HighErrors on payments, the last at 10:25 UTC"
    assert texts["anomaly"] == "errors of payments went up"
    assert rows[0][1] == "pay-svc v2 (suspected, 70 %)"


def test_a_family_counts_incidents_not_drills(ask: Query):
    row = ask("select * from marts.mart_families").row(0, named=True)
    assert (row["n_incidents"], row["lost_revenue"], row["currency"], row["worst_severity"]) == (1, Decimal("120.10"), "EUR", "sev1")
    assert (row["status"], row["last_fix"], row["last_fix_verdict"]) == ("watched", "Check cards before shipping", "too_early")


def test_a_change_tells_what_became_of_it(ask: Query):
    rows = ask("select change_id, outcome, minutes_to_rollback from marts.mart_changes order by 1").rows()
    assert rows == [
        ("dep-1", "no_known_effect", None),
        ("dep-2", "confirmed_cause", 50.0),
        ("dep-3", "no_known_effect", None),
        ("dep-4", "no_known_effect", None),
        ("out-1", "no_known_effect", None),
    ]


def test_one_of_one_deployment_failed_and_its_rollback_is_rework(ask: Query):
    row = ask("select * from marts.mart_dora where service = 'payments' and week_start = '2026-09-14'").row(0, named=True)
    assert (row["deployments_n"], row["failed_deployments_n"], row["change_fail_rate"]) == (1, 1, 1.0)
    assert (row["rollbacks_n"], row["rework_rate"], row["recovery_minutes_median"]) == (1, 0.5, 60.0)
    assert row["change_fail_rate_low"] == pytest.approx(0.2065, abs=1e-4)  # Wilson 95 % for 1 of 1
    assert row["lead_time_minutes_median"] is None


def test_response_keeps_open_incidents_and_leaves_drills_out(ask: Query):
    # INC-1 took 60 minutes; INC-2 is still open after 50: of two, none was over within 30 minutes, and the median is not known.
    row = ask("select * from marts.mart_response where severity = 'all' and week_start = '2026-09-14'").row(0, named=True)
    assert (row["n_incidents"], row["n_open"], row["mitigate_n"]) == (2, 1, 2)
    assert row["mitigate_minutes_median"] is None
    assert (row["under_30_known_n"], row["under_30_n"], row["under_30_share"]) == (2, 0, 0.0)
    assert row["under_30_share_high"] == pytest.approx(0.6576, abs=1e-4)  # Wilson 95 % for 0 of 2
    assert (row["found_by_us_known_n"], row["found_by_us_share"]) == (1, 1.0)
    sev1 = ask("select * from marts.mart_response where severity = 'sev1'").row(0, named=True)
    assert (sev1["mitigate_minutes_median"], sev1["detect_minutes_median"], sev1["alerts_per_incident_median"]) == (60.0, 10.0, 2.0)


def test_journey_health_adds_up_over_its_windows(ask: Query):
    row = ask("select * from marts.mart_journey_health where is_latest").row(0, named=True)
    assert row["day"] == date(2026, 9, 16)
    assert (row["good"], row["total"], row["worst_step"], row["revenue"]) == (260, 300, "pay", Decimal("60.00"))
    assert (row["good_7d"], row["total_7d"]) == (260, 300)
    assert (row["slo_good"], row["slo_total"], row["slo_days_n"]) == (850, 900, 3)
    assert row["budget_total"] == pytest.approx(90)
    assert row["budget_left_ratio"] == pytest.approx(1 - 50 / 90)
    assert row["burn_rate"] == pytest.approx((40 / 300) / 0.1)
    assert (row["revenue_28d"], row["incidents_28d"], row["enough_traffic"]) == (Decimal("250.00"), 1, True)


def test_action_items_say_what_is_late_and_whose(ask: Query):
    rows = ask("select action_item_id, owner_team, is_overdue, days_overdue, verdict from marts.mart_action_items order by 1").rows()
    assert rows == [("A-1", "money", False, None, "too_early"), ("A-2", "money", True, 2.0, None)]


def scorecard(ask: Query, **context: str) -> dict[str, Any]:
    named = {"detector_version": "prophet-1", "signal": "", "subject": "", **context}
    where = " and ".join(f"{column} = '{value}'" for column, value in named.items())
    return ask(f"select * from marts.mart_detector_scorecard where {where}").row(0, named=True)


def test_the_scorecard_counts_a_version_in_every_context_once(ask: Query):
    contexts = ask("select signal, subject_kind, subject from marts.mart_detector_scorecard where mode = 'live' order by all").rows()
    assert contexts == [("", "", ""), ("errors", "", ""), ("errors", "service", "payments")]
    rows = [scorecard(ask), scorecard(ask, signal="errors"), scorecard(ask, signal="errors", subject="payments")]
    for row in rows:
        assert (row["series_n"], row["episodes_n"], row["hurting_n"], row["matched_n"], row["matched_share"]) == (1, 2, 2, 1, 0.5)
        assert (row["incidents_matched_n"], row["incidents_in_scope_n"], row["incidents_caught_n"], row["recall"]) == (1, 1, 1, 1.0)
        assert (row["lead_known_n"], row["lead_minutes_median"], row["lead_minutes_low"]) == (1, 15.0, None)
        assert (row["outside_share"], row["series_weeks"], row["hurting_per_series_week"]) == (0.1, 2 / 7, 7.0)


def test_a_verdict_about_a_moment_judges_every_version_that_alarmed_then(ask: Query):
    live, shadow = scorecard(ask), scorecard(ask, detector_version="prophet-2")
    assert (live["confirmed_n"], live["rejected_n"], live["precision"]) == (1, 1, 0.5)
    assert (shadow["confirmed_n"], shadow["rejected_n"], shadow["precision"], shadow["mode"]) == (1, 0, 1.0, "shadow")
    assert live["precision_low"] == pytest.approx(0.0945, abs=1e-4)
    assert live["not_enough_data"] == "2 of 10 verdicts, 1 of 5 incidents, 1 of 6 lead times"


def test_lead_time_runs_from_the_alarm_not_from_the_start_found_later(ask: Query):
    assert scorecard(ask, detector_version="prophet-2")["lead_minutes_median"] == -10.0


def test_only_the_scorecard_sees_a_shadow(ask: Query):
    assert ask("select anomaly_id, human_verdict from marts.mart_anomalies order by 1").rows() == [("E-1", "confirm"), ("E-2", "reject")]
    assert ask("select fired_n from marts.mart_signal_quality where source_kind = 'series'")["fired_n"].to_list() == [2]
    assert ask("select anomalies_n from marts.mart_incidents where incident_id = 'INC-1'")["anomalies_n"].item() == 1
    texts = ask("select subject_id from marts.mart_incident_timeline where kind = 'anomaly'")["subject_id"].to_list()
    assert texts == ["E-1"]


def test_a_picture_of_an_episode_says_what_is_in_it_and_what_is_masked(ask: Query):
    rows = ask("select is_in_episode, is_masked from marts.mart_anomaly_points order by bucket_at").rows()
    assert rows == [(False, False), (True, True), (True, True), (True, True), (False, True)]


def test_a_thin_week_of_a_detector_says_so(ask: Query):
    rows = ask("select * from marts.mart_detector_health order by detector_version").to_dicts()
    assert [(row["detector_version"], row["hurting_n"], row["unmatched_n"]) for row in rows] == [("prophet-1", 1, 0), ("prophet-2", 1, 0)]
    first = rows[0]
    assert (first["points_scored_n"], first["points_outside_n"], first["coverage"]) == (80, 8, 0.9)
    assert first["coverage_low"] < 0.9 < first["coverage_high"]
    assert (first["status"], first["is_drifting"]) == ("not_enough_data", False)
    assert first["reason"] == "80 points scored, 1000 needed to tell"


def test_signal_quality_tells_alerts_that_led_nowhere(ask: Query):
    rows = ask("select source_kind, signal, environment, fired_n, matched_n from marts.mart_signal_quality order by 1, 2, 3").rows()
    assert rows == [
        ("alert", "DiskFull", "production", 1, 0),
        ("alert", "HighErrors", "production", 2, 2),
        ("alert", "HighErrors", "staging", 1, 0),
        ("series", "errors", "production", 2, 1),
    ]


def test_a_leading_indicator_counts_what_preceded_and_keeps_its_later_record_apart(ask: Query):
    row = ask("select * from marts.mart_leading_indicators where kind = 'episode'").row(0, named=True)
    assert (row["signal"], row["episodes_n"], row["preceding_n"], row["precision"], row["lead_minutes_median"]) == (
        "errors",
        2,
        1,
        0.5,
        5.0,
    )
    assert (row["is_matching_now"], row["status"], row["judged_precision"], row["recall"]) == (False, "not_enough_data", None, None)
    mined = ask("select * from marts.mart_leading_indicators where kind = 'alert'").row(0, named=True)
    assert (mined["precision"], mined["judged_precision"], mined["recall"]) == (0.75, 0.5, 0.25)
    assert mined["recall_low"] < 0.25 < mined["recall_high"]


def test_an_episode_keeps_the_id_it_had_as_an_indicator(ask: Query):
    rows = ask(
        "select indicator_id, md5('errors' || '|' || 'service' || '|' || 'payments' || '|' || 'production' || '|' || 'up') as id "
        "from marts.mart_leading_indicators where kind = 'episode'"
    ).rows()
    assert rows[0][0] == rows[0][1]


def test_a_match_tells_the_usual_loss_of_the_family_it_announces(ask: Query):
    rows = ask("select match_id, outcome, family_title, currency, family_usual_loss from marts.mart_leading_matches order by 1").rows()
    assert rows == [
        ("M-1", "came_true", "Bad payment deploys", "EUR", Decimal("120.10")),
        ("M-2", "pending", None, None, None),
        ("M-3", "false", None, None, None),
    ]


def test_a_family_tells_what_ended_its_incidents_and_how_often(ask: Query):
    row = ask("select * from marts.mart_families").row(0, named=True)
    assert (row["usual_fix"], row["usual_fix_worked_n"], row["usual_fix_tried_n"]) == ("rollback on payments", 1, 2)
    assert row["usual_fix_low"] < 0.5 < row["usual_fix_high"]
    assert row["usual_loss"] == Decimal("120.10")
    similar = ask("select similar_title, similar_family_id, fix, fix_worked_n, fix_tried_n from marts.mart_similar_incidents").rows()
    assert [row[1:] for row in similar] == [("F-1", "rollback on payments", 2, 3)]


def test_the_history_of_a_family_is_kept(ask: Query):
    rows = ask("select family_id, how, is_current from marts.mart_family_memberships order by valid_from").rows()
    assert rows == [("F-0", "founded", False), ("F-1", "moved", True)]
    assert ask("select family_id, change, other_family_id from marts.mart_family_changes").rows() == [("F-0", "merged_into", "F-1")]


def test_a_pattern_sums_the_loss_of_its_incidents(ask: Query):
    row = ask("select * from marts.mart_incident_patterns").row(0, named=True)
    assert (row["title"], row["n_incidents"], row["n_quantified"], row["lost_revenue"], row["currency"]) == (
        "payments",
        2,
        1,
        Decimal("120.10"),
        "EUR",
    )
    assert (row["expected"], row["rate_ratio"], row["status"]) == (None, None, "not_enough_data")


def test_coverage_adds_windows_up_and_names_what_never_came(ask: Query):
    rows = ask(
        "select entity, status, received, landed, rejected, duplicate, reasons, windows_n from marts.mart_source_coverage order by 1"
    ).rows()
    assert rows == [
        ("alerts", "never_extracted", None, None, None, None, None, None),
        ("incidents", "rows_rejected", 9, 5, 3, 1, 'bad time (2); no "title" (1)', 2),
    ]


def test_the_learning_loop_counts_by_week(ask: Query):
    row = ask("select * from marts.mart_learning_loop where week_start = '2026-09-14'").row(0, named=True)
    assert (row["incidents_n"], row["incidents_with_postmortem_n"], row["incidents_reviewed_n"]) == (2, 1, 1)
    assert (row["actions_created_n"], row["actions_done_n"], row["actions_backlog_n"], row["days_to_done_median"]) == (2, 1, 1, 2.0)
    assert (row["actions_implemented_n"], row["implemented_share"], row["actions_verified_n"]) == (1, 0.5, 0)


def test_fixes_and_recommendations_pass_through_with_their_family(ask: Query):
    assert ask("select verdict, n_before, n_after, family_title from marts.mart_fix_impact").rows() == [
        ("too_early", 1, 0, "Bad payment deploys")
    ]
    assert ask("select expected_risk_reduction, owner_team from marts.mart_recommendations").rows() == [(Decimal("300.00"), "money")]
    decided = "select decision, decided_at, action_item_id, action_status, action_verdict from marts.mart_recommendations"
    assert ask(decided).rows() == [("accepted", ONSET + 3 * DAY, "A-1", "done", "too_early")]


def test_one_row_says_what_the_build_is(ask: Query):
    row = ask("select * from marts.mart_run").row(0, named=True)
    assert {name: row[name] for name in RUN} == RUN
    assert row["model_versions"].startswith("candidates v1, detection v1")
    assert row["incidents_n"] == 3


def test_names_that_landed_and_nobody_declared_are_listed(ask: Query):
    declared = {"payments", "web", "pay-svc", "checkout", "production"}
    rows = ask("select kind, name, seen_in, rows_n, first_seen_at <= last_seen_at as ordered from marts.mart_unmapped_names").rows()
    assert rows
    assert not declared & {name for _, name, *_ in rows}
    assert not [row for row in rows if row[0] == "region"], "no region is declared"
    assert all(rows_n > 0 and ordered for *_, rows_n, ordered in rows)
    undeclared = {name for (name,) in ask("select service from star.dim_service where not is_declared").rows()}
    assert {name for kind, name, *_ in rows if kind == "service"} == undeclared


def test_the_ranker_scorecard_compares_versions_on_the_same_judged_incidents(ask: Query):
    live, shadow = ask("select * from marts.mart_ranker_scorecard order by mode").to_dicts()
    assert (live["mode"], live["cause_known_n"], live["incidents_judged_n"], live["verdicts_n"]) == ("live", 2, 3, 4)
    assert (live["left_out_n"], live["left_out_why"], live["not_enough_data"]) == (1, "no_such_incident", "2 of 20 known causes")
    assert (live["top1"], shadow["top1"], shadow["top3"]) == (1.0, 0.5, 1.0)
    assert live["top1_low"] == pytest.approx(0.342, abs=0.001)
    assert (live["brier"], shadow["brier"]) == (pytest.approx(0.08), pytest.approx(0.64))
    assert live["brier_difference"] is None
    assert shadow["brier_difference"] == pytest.approx(((1.28 - 0.14) + (0.0 - 0.02)) / 2)
    assert live["calibration_error"] == pytest.approx((0.3 + 0.1) / 2)
    assert (shadow["none_n"], shadow["none_false_n"], shadow["none_accuracy"]) == (0, 1, None)


def test_learned_weights_are_published_beside_those_of_the_prior(ask: Query):
    rows = ask("select mode, part, name, value, prior_value from marts.mart_ranker_weights order by part").rows()
    assert rows == [("shadow", "check", "", 1.1, 1.0), ("shadow", "kind", "change", -0.2, 0.0)]


def test_a_candidate_says_by_which_weights_it_was_ranked(ask: Query):
    assert ask("select distinct weights_version, learned_from_n from marts.mart_incident_candidates").rows() == [("prior", 0)]


def test_ranking_reads_every_version_of_what_people_said(ask: Query):
    said = words(Inputs.of({"verdicts": ask(refreshing.EVERY_VERDICT)}).conformed().verdicts)
    assert [(word.incident_id, word.key, word.verdict) for word in said] == [("INC-1", ("change", "dep-2"), "confirm")]


def test_reach_stands_beside_the_incident_and_inferred_edges_beside_declared_ones(ask: Query):
    assert ask("select journeys_reached, blast_radius_services_n from marts.mart_incidents where incident_id = 'INC-1'").rows() == [
        (["checkout"], 1)
    ]
    shares = ask("select service, n_dependents, traffic_share, revenue_share from marts.mart_blast_radius order by service").rows()
    assert shares == [("payments", 1, 1.0, 1.0), ("web", 0, 1.0, 1.0)]
    edges = ask("select provenance, caller, callee, lag_minutes from marts.mart_service_graph order by provenance").rows()
    assert edges == [("declared", "web", "payments", None), ("inferred", "web", "payments", 5)]


def test_a_deploy_is_followed_to_its_alarm_and_its_fix(ask: Query):
    columns = "change_to_detect_n, change_to_detect_minutes_median, fix_n, fix_minutes_median, mitigate_minutes_median"
    assert ask(f"select {columns} from marts.mart_response where severity = 'sev1'").rows() == [(1, 30.0, 1, 45.0, 60.0)]


def test_the_rubric_judges_what_is_on_record(ask: Query):
    first, second = ask("select * from marts.mart_insights order by insight_id").to_dicts()
    days = 4 - 2 / 24  # resolved two hours after it began
    assert first["timeliness"] == pytest.approx(0.5 ** (days / 7))
    assert (first["relevance"], first["breadth"], first["actionability"]) == (0.5, pytest.approx(2 / 3), 0.75), (
        "a family of one incident that names two services"
    )
    assert first["quality"] == pytest.approx((0.5 + 2 / 3 + 0.75 + first["timeliness"]) / 4)
    assert (first["service"], first["owner_team"], first["quality_parts_n"]) == ("payments", "money", 4)
    assert (second["relevance"], second["timeliness"], second["quality"], second["quality_parts_n"]) == (None, None, 0.0, 1)


def test_gaps_say_what_is_missing_and_which_incidents_nothing_announced(ask: Query):
    gaps = ask("select * from marts.mart_instrumentation_gaps where service = 'payments'").to_dicts()
    assert {row["signal_kind"]: row["status"] for row in gaps} == {
        "alerts": "heard",
        "changes": "heard",
        "logs": "missing",
        "metrics": "silent",
        "traces": "missing",
    }, "metrics ended days before the as-of"
    assert {(row["incidents_n"], row["incidents_without_signal_n"], row["without_signal_share"]) for row in gaps} == {(1, 0, 0.0)}


def test_what_an_insight_prescribes_is_told_beside_its_words_and_what_cannot_be_used_says_why(ask: Query):
    first, second = ask("select * from marts.mart_insight_effects order by insight_id").to_dicts()
    assert (first["insight_id"], first["text"], first["state"], first["verdict"]) == (
        "IN-1",
        "Ship cards to one region first",
        "shadow",
        "run_in_shadow",
    )
    assert (first["alarms_now"], first["alarms_then"], first["incidents_lost"], first["brier_difference"]) == (4, 2, 0, None)
    assert (second["verdict"], second["reason"], second["kind"]) == ("unusable", "signal 'x' is not declared", "")


def test_scorecards_say_by_which_learning_signal_versions_differ(ask: Query):
    columns = "learning_signals, differs_by, isolates, features_version"
    everything = f"select mode, {columns} from marts.mart_detector_scorecard where signal = '' order by mode"
    assert ask(everything).rows() == [
        ("live", None, None, None, "f0"),
        ("shadow", "insight:IN-1@ab12", "+insight:IN-1@ab12", "insight:IN-1@ab12", "f1"),
    ]
    assert ask(f"select mode, {columns} from marts.mart_ranker_scorecard order by mode").rows() == [
        ("live", None, None, None, "f0"),
        ("shadow", "verdicts", "-check:saturation@1, +verdicts", None, "f2"),
    ]
