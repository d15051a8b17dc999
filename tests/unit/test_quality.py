"""The gates: suites that judge something, see bad tables fail, and say what to do."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from aftercast import quality
from aftercast.entities import ENTITIES
from aftercast.errors import ConfigError, QualityError
from aftercast.settings import Settings

T = datetime(2026, 9, 1, 10, tzinfo=UTC)
MARTS = {"mart_incidents", "mart_incident_candidates", "mart_incident_impact", "mart_source_coverage", "mart_run", "mart_fix_impact"}


def rows(entity: str, n: int = 200, **values: object) -> pl.DataFrame:
    """Rows of an entity, plain where nothing is given; a list is a column, anything else a constant."""
    shape = ENTITIES[entity]
    plain: dict[object, object] = {pl.String: "x", pl.Int64: 1, pl.Float64: 0.5, pl.Boolean: True}
    columns = {}
    for name, kind in shape.schema.items():
        given = values.get(name, T if isinstance(kind, pl.Datetime) else ["x"] if isinstance(kind, pl.List) else plain[kind])
        given = None if name in ("actor_token", "author_token") and name not in values else given
        columns[name] = pl.Series(given if isinstance(given, list) and len(given) == n and name in values else [given] * n, dtype=kind)
    return pl.DataFrame(columns)


GOOD = {
    "mart_incidents": {
        "incident_id": "i1",
        "impact_status": "quantified",
        "lost_revenue": 10.0,
        "lost_revenue_low": 5.0,
        "lost_revenue_high": 20.0,
        "currency": "GBP",
        "top_candidate_id": "c1",
        "top_candidate_probability": 0.6,
        "p_none": 0.1,
    },
    "mart_incident_impact": {
        "incident_id": "i1",
        "expected_attempts": 10.0,
        "lost_revenue": 10.0,
        "lost_revenue_low": 5.0,
        "lost_revenue_high": 20.0,
        "status": "quantified",
    },
    "mart_source_coverage": {"source": "s", "received": 10, "landed": 7, "rejected": 2, "duplicate": 1, "late": 0},
    "mart_run": {"window_start": T, "as_of": T + timedelta(days=1), "code_version": "1"},
    "mart_fix_impact": {
        "verdict": "effective",
        "n_before": 5,
        "exposure_before": 90.0,
        "n_after": 0,
        "exposure_after": 90.0,
        "estimate": 0.1,
        "ci_low": 0.0,
        "ci_high": 0.8,
    },
    "mart_fix_portfolio": {
        **{"cut": "type", "intervention_type": "prevent", "subject": "", "status": "ranked", "currency": "EUR"},
        **{"n_shipped": 5, "n_judged": 3, "n_effective": 2, "n_not_effective": 1, "n_too_early": 2, "revenue_avoided": 10.0},
        **{
            "reduction": 0.6,
            "reduction_low": 0.3,
            "reduction_high": 0.8,
            "rank": 1,
            "rank_low": 1,
            "rank_high": 2,
            "probability_best": 0.7,
        },
    },
    "mart_detector_scorecard": {
        **{"series_n": 4, "series_scored_n": 3, "episodes_n": 9, "hurting_n": 8, "matched_n": 5},
        **{"incidents_n": 7, "incidents_in_scope_n": 6, "incidents_unjudged_n": 1, "incidents_matched_n": 5, "incidents_caught_n": 4},
        **{"recall": 0.67, "recall_low": 0.3, "recall_high": 0.9, "verdicts_n": 4, "confirmed_n": 3, "rejected_n": 1},
        **{"precision": 0.75, "precision_low": 0.3, "precision_high": 0.95},
        **{"lead_known_n": 4, "lead_minutes_median": 5.0, "lead_minutes_low": 1.0, "lead_minutes_high": 9.0},
    },
    "mart_detector_health": {
        **{"series_n": 9, "series_scored_n": 7, "series_learning_n": 1, "series_unscored_n": 1, "hurting_n": 3, "unmatched_n": 2},
        **{"points_scored_n": 2000, "points_outside_n": 90, "coverage": 0.955, "coverage_low": 0.94, "coverage_high": 0.97},
        **{"is_drifting": False, "reason": "", "mode": "live", "is_complete_week": True},
    },
    "mart_incident_proposals": {
        **{"proposal_id": "p1", "n_members": 3, "n_alerts": 2, "n_anomalies": 1, "n_kpi_drops": 0, "severity": 0.5, "status": "closed"},
        **{"narrative": "It began.", "opened_because": "one severe alert", "closed_because": "nothing related for half an hour"},
        **{"incident_id": "i1", "match_reason": "it names api", "match_likeness": 0.9, "top_candidate_probability": 0.6},
        **{"started_at": T, "first_signal_at": T, "alarmed_at": T + timedelta(minutes=5), "ended_at": T + timedelta(hours=1)},
    },
    "mart_noise_reduction": {
        **{"signals_n": 20, "proposed_n": 9, "proposals_n": 3, "proposals_matched_n": 2, "incidents_n": 2, "incidents_proposed_n": 2},
        **{"declared_known_n": 2, "proposed_first_n": 1, "event_reduction": 0.4, "signal_reduction": 0.85},
        **{"proposals_matched_share": 0.67, "proposals_matched_share_low": 0.2, "proposals_matched_share_high": 0.9},
        **{"incidents_proposed_share": 1.0, "incidents_proposed_share_low": 0.3, "incidents_proposed_share_high": 1.0},
    },
    "mart_ranker_scorecard": {
        **{"mode": "live", "verdicts_n": 9, "incidents_judged_n": 8, "cause_known_n": 6, "only_rejected_n": 1, "left_out_n": 1},
        **{"top1_n": 5, "top1": 0.83, "top1_low": 0.4, "top1_high": 0.97, "top3_n": 6, "top3": 1.0, "top3_low": 0.6, "top3_high": 1.0},
        **{"none_n": 1, "none_right_n": 1, "none_accuracy": 1.0, "none_accuracy_low": 0.2, "none_accuracy_high": 1.0},
        **{"brier": 0.1, "log_loss": 0.2, "calibration_error": 0.1, "brier_difference": None},
    },
    "mart_leading_indicators": {
        **{"status": "trusted", "mined_at": T, "episodes_n": 9, "preceding_n": 7, "judged_n": 6, "judged_true_n": 5, "q_value": 0.01},
        **{"lift": 9.0, "incidents_preceded_n": 7, "family_incidents_n": 6, "incidents_due_n": 8, "incidents_warned_n": 5},
        **{"precision": 0.78, "precision_low": 0.45, "precision_high": 0.94, "recall": 0.62, "recall_low": 0.3, "recall_high": 0.86},
        **{"judged_precision": 0.83, "judged_precision_low": 0.36, "judged_precision_high": 0.99},
        **{"came_true_n": 5, "false_n": 0, "prevented_n": 1},
    },
    "mart_leading_matches": {
        **{"outcome": "came_true", "incident_id": "i1", "lead_minutes": 90.0, "matched_at": T, "horizon_end_at": T + timedelta(hours=8)},
        **{"decided_at": T + timedelta(hours=1), "prevented_by": None, "past_n": 4, "past_true_n": 3},
        **{"past_precision": 0.75, "past_precision_low": 0.2, "past_precision_high": 0.99},
    },
    "mart_incident_patterns": {
        **{"status": "above_expected", "q_value": 0.01, "p_value": 0.001, "expected": 2.0, "basis": "uniform", "n_incidents": 9},
        **{"n_known": 20, "n_period": 20, "n_quantified": 3, "rate_ratio": 4.0, "ratio_low": 2.0, "ratio_high": 8.0},
    },
    "mart_kpi_correlations": {
        **{"status": "significant", "p_value": 0.0001, "q_value": 0.01, "correlation": -0.2, "ci_low": -0.3, "ci_high": -0.1},
        **{"n": 16000, "n_effective": 900.0},
    },
    "mart_service_graph": {
        **{"provenance": "inferred", "caller": "web", "callee": "db", "calls": None, "lag_minutes": 5, "correlation": 0.2},
        **{"first_seen": T, "last_seen": T + timedelta(days=9), "valid_from": T, "valid_to": None},
    },
    "mart_blast_radius": {
        **{"service": "db", "dependents": ["web"], "dependencies": [], "n_dependents": 1, "n_dependencies": 0, "n_journeys": 1},
        **{"n_attempts": 50, "n_attempts_all": 80, "traffic_share": 0.625, "revenue_share": 0.5, "basis": "calls"},
    },
    "mart_tuning_proposals": {
        **{"verdict": "promote", "n_holdout": 9, "current_sensitivity": 1.0, "proposed_sensitivity": 0.8, "confirmed_dropped": 0},
        **{"rejected_dropped": 5, "precision_current": 0.4, "precision_current_low": 0.2, "precision_current_high": 0.7},
        **{"precision_proposed": 0.9, "precision_proposed_low": 0.6, "precision_proposed_high": 1.0},
    },
}


def candidates(*probabilities: float, kinds: tuple[str, ...] = ("change", "service", "none"), incident: str = "i1") -> pl.DataFrame:
    n = len(probabilities)
    return pl.DataFrame(
        {
            "incident_id": [incident] * n,
            "rank": range(1, n + 1),
            "kind": list(kinds[:n]),
            "probability": list(probabilities),
            "rationale": ["because"] * n,
        },
        schema_overrides={"rank": pl.Int64},
    )


def test_every_entity_and_every_promised_mart_has_a_suite_and_no_suite_is_orphaned():
    names = {path.stem for path in quality.EXPECTATIONS.glob("*.json")}
    assert names == {f"landed__{name}" for name in ENTITIES} | {f"published__{name}" for name in quality.published_marts()}
    assert set(quality.published_marts()) >= MARTS


@pytest.mark.parametrize("path", sorted(quality.EXPECTATIONS.glob("*.json")), ids=lambda path: path.stem)
def test_every_suite_expects_something_critical_and_says_what_to_do(path):
    suite = quality.load_suite(path.stem)
    assert any(expectation.severity == "critical" for expectation in suite.expectations)
    assert all(len(expectation.then.split()) >= 4 for expectation in suite.expectations)
    judged = {str(expectation.kwargs.get("column", "")) for expectation in suite.expectations}
    computed = {"row_count", *suite.measures, *suite.violations, *(f"{name}_share" for name in suite.violations)} | {""}
    assert judged <= computed
    assert {name for name in suite.violations if not judged & {name, f"{name}_share"}} == set(), "a violation nobody judges"


@pytest.mark.parametrize("entity", sorted(ENTITIES))
def test_good_rows_of_every_entity_pass(entity):
    more = {"kind": "gauge"} if entity == "metric_points" else {"caller": "a", "callee": "b"} if entity == "service_edges" else {}
    more |= {"text": "x" * 50} if entity in ("postmortems", "insights") else {}
    assert quality.check_landed(entity, rows(entity, **more)) == []
    assert quality.check_landed(entity, rows(entity, 1, **more).lazy()) == []


@pytest.mark.parametrize(
    ("entity", "values", "named"),
    [
        ("metric_points", {"kind": "counter", "value": -1.0}, "negative_counters_share"),
        ("metric_points", {"ts": datetime(1970, 1, 2, tzinfo=UTC)}, "first_year"),
        ("log_patterns", {"sample": "sent to ann@shop.example"}, "rows_with_an_address"),
        ("spans_red", {"errors": 9, "count": 3}, "errors_above_requests_share"),
        ("spans_red", {"p50_ms": 9.0, "p95_ms": 3.0}, "percentiles_out_of_order_share"),
        ("spans_red", {"p50_ms": -1.0}, "negative_durations_share"),
        ("service_edges", {"caller": "a", "callee": "a"}, "self_calls_share"),
        ("changes", {"actor_token": "Ann"}, "persons_without_token"),
        ("changes", {"finished_at": T - timedelta(hours=1)}, "ended_before_start_share"),
        ("alerts", {"ended_at": T - timedelta(hours=1)}, "ended_before_start_share"),
        ("incidents", {"resolved_at": T - timedelta(hours=1)}, "resolved_before_start_share"),
        ("incident_events", {"recorded_at": T - timedelta(hours=1)}, "recorded_before_it_occurred_share"),
        ("journey_kpis", {"attempts": 1, "successes": 2}, "successes_above_attempts_share"),
        ("action_items", {"confidence": 80.0}, "confidence_outside_0_1_share"),
        ("postmortems", {"author_token": "Ann"}, "persons_without_token"),
        ("insights", {"text": "write to ann@shop.example"}, "rows_with_an_address"),
        ("verdicts", {"confidence": -1.0}, "confidence_outside_0_1_share"),
    ],
)
def test_a_bad_table_is_held_back_with_suite_rule_sample_and_advice(entity, values, named):
    with pytest.raises(QualityError) as caught:
        quality.check_landed(entity, rows(entity, **values))
    message = str(caught.value)
    assert f"suite landed__{entity}" in message
    assert named in message
    assert "critical" in message
    if named != "first_year":
        assert "e.g. {" in message
    if named in quality.PERSONAL:
        assert "ann" not in message.lower(), "the log would hold what landing may not"
        assert '"source_id": ' in message


def test_a_few_odd_rows_are_a_finding_and_land():
    values = {"resolved_at": [T - timedelta(hours=1), *[T] * 19], "mitigated_at": [None] * 20}
    (finding,) = quality.check_landed("incidents", rows("incidents", 20, **values))
    assert (finding.severity, finding.suite) == ("warning", "landed__incidents")
    assert "edited by hand" in finding.then
    assert len(finding.sample) == 1


@pytest.mark.parametrize(
    ("entity", "values", "named"),
    [
        ("metric_points", {"unit": "%", "value": 148.0}, "shares_above_the_whole"),
        ("metric_points", {"unit": "ratio", "value": -0.1}, "shares_above_the_whole"),
        ("journey_kpis", {"revenue_minor": -1}, "revenue_below_zero"),
        ("incidents", {"started_at": T - timedelta(hours=8, minutes=2), "detected_at": T}, "detected_whole_hours_late"),
    ],
)
def test_what_is_likely_wrong_lands_and_is_found(entity, values, named):
    findings = quality.check_landed(entity, rows(entity, 20, **values))
    assert [one.severity for one in findings if named in one.expectation] == ["warning"]


@pytest.mark.parametrize("minutes", [0, 3, 24, 90, 500])
def test_incidents_noticed_at_any_other_time_are_not_blamed_on_a_zone(minutes):
    later = rows("incidents", 20, started_at=T - timedelta(minutes=minutes), detected_at=T)
    assert not [one for one in quality.check_landed("incidents", later) if "whole_hours" in one.expectation]


def test_too_few_rows_are_not_judged_by_share():
    findings = quality.check_landed("incidents", rows("incidents", 2, resolved_at=T - timedelta(hours=1)))
    assert {finding.severity for finding in findings} == {"warning"}


@pytest.mark.parametrize("mart", sorted(GOOD))
def test_a_good_mart_passes_and_so_does_an_empty_one(mart):
    frame = pl.DataFrame([GOOD[mart]])
    assert quality.check_published(mart, frame) == []
    if mart != "mart_run":
        assert quality.check_published(mart, frame.clear()) == []


@pytest.mark.parametrize(
    ("mart", "change", "named"),
    [
        ("mart_incidents", {"lost_revenue_low": 11.0}, "loss_outside_its_interval"),
        ("mart_incidents", {"lost_revenue_high": None}, "loss_without_interval"),
        ("mart_incidents", {"currency": None}, "loss_without_currency"),
        ("mart_incidents", {"impact_status": "unknown"}, "loss_though_unknown"),
        ("mart_incidents", {"lost_revenue": None}, "quantified_without_loss"),
        ("mart_incidents", {"p_none": 1.1}, "probability_outside_0_1"),
        ("mart_incidents", {"top_candidate_probability": None}, "suspect_without_probability"),
        ("mart_incident_impact", {"lost_revenue_high": 9.0}, "loss_outside_its_interval"),
        ("mart_incident_impact", {"expected_attempts": -1.0}, "negative_expectation"),
        ("mart_source_coverage", {"landed": 6}, "rows_unaccounted_for"),
        ("mart_source_coverage", {"rejected": -2, "landed": 11}, "negative_counts"),
        ("mart_run", {"as_of": T}, "ends_before_it_starts"),
        ("mart_run", {"code_version": ""}, "without_version"),
        ("mart_fix_impact", {"estimate": 0.9}, "estimate_outside_its_interval"),
        ("mart_fix_impact", {"ci_high": 1.2}, "effective_though_it_may_not_be"),
        ("mart_fix_impact", {"exposure_after": 0.0}, "verdict_without_exposure"),
        ("mart_fix_portfolio", {"n_judged": 4}, "judged_do_not_add_up"),
        ("mart_fix_portfolio", {"reduction": 0.9}, "estimate_outside_its_interval"),
        ("mart_fix_portfolio", {"probability_best": None}, "rank_without_doubt"),
        ("mart_fix_portfolio", {"currency": None}, "money_without_currency"),
        ("mart_detector_scorecard", {"incidents_caught_n": 6}, "parts_above_the_whole"),
        ("mart_detector_scorecard", {"matched_n": 9}, "parts_above_the_whole"),
        ("mart_detector_scorecard", {"confirmed_n": 9, "verdicts_n": 10}, "verdicts_above_alarms"),
        ("mart_detector_scorecard", {"recall_high": 0.5}, "share_outside_its_interval"),
        ("mart_detector_scorecard", {"verdicts_n": 0, "confirmed_n": 0, "rejected_n": 0}, "precision_without_verdicts"),
        ("mart_detector_health", {"series_unscored_n": 2}, "series_unaccounted_for"),
        ("mart_detector_health", {"unmatched_n": 4}, "parts_above_the_whole"),
        ("mart_detector_health", {"coverage": 0.99}, "coverage_outside_its_interval"),
        ("mart_detector_health", {"is_drifting": True, "reason": None}, "drift_without_reason"),
        ("mart_incident_proposals", {"n_members": 4}, "without_members"),
        ("mart_incident_proposals", {"narrative": ""}, "without_narrative"),
        ("mart_incident_proposals", {"severity": 1.2}, "severity_outside_0_1"),
        ("mart_incident_proposals", {"top_candidate_probability": 1.2}, "probability_outside_0_1"),
        ("mart_incident_proposals", {"match_reason": None}, "matched_without_reason"),
        ("mart_incident_proposals", {"alarmed_at": T - timedelta(minutes=1)}, "ends_before_it_starts"),
        ("mart_incident_proposals", {"closed_because": None}, "closed_without_reason"),
        ("mart_noise_reduction", {"proposed_n": 21}, "parts_above_the_whole"),
        ("mart_noise_reduction", {"incidents_proposed_share": 0.2}, "share_outside_its_interval"),
        ("mart_noise_reduction", {"signal_reduction": 1.1}, "reduction_above_1"),
        ("mart_ranker_scorecard", {"left_out_n": 0}, "parts_above_the_whole"),
        ("mart_ranker_scorecard", {"top1": 0.3}, "share_outside_its_interval"),
        ("mart_ranker_scorecard", {"cause_known_n": 0, "top1_n": 0, "top3_n": 0, "none_n": 0}, "scored_without_verdicts"),
        ("mart_ranker_scorecard", {"brier": 2.1}, "score_outside_its_range"),
        ("mart_ranker_scorecard", {"brier_difference": 0.0}, "live_compared_with_itself"),
        ("mart_leading_indicators", {"judged_true_n": 2, "came_true_n": 2, "false_n": 3}, "trusted_on_too_little"),
        ("mart_leading_indicators", {"q_value": None}, "trusted_on_too_little"),
        ("mart_leading_indicators", {"mined_at": None}, "decided_though_not_mined"),
        ("mart_leading_indicators", {"preceding_n": 10}, "parts_above_the_whole"),
        ("mart_leading_indicators", {"judged_precision": 0.3}, "precision_outside_its_interval"),
        ("mart_leading_indicators", {"false_n": 1}, "outcomes_do_not_add_up"),
        ("mart_leading_matches", {"outcome": "pending"}, "known_before_its_time"),
        ("mart_leading_matches", {"incident_id": None}, "true_without_incident"),
        ("mart_leading_matches", {"decided_at": T + timedelta(hours=9)}, "incident_outside_the_horizon"),
        ("mart_leading_matches", {"outcome": "prevented", "incident_id": None}, "prevented_by_nothing"),
        ("mart_leading_matches", {"past_true_n": 5}, "precision_outside_its_interval"),
        ("mart_incident_patterns", {"q_value": 0.2}, "claimed_without_comparison"),
        ("mart_incident_patterns", {"basis": None}, "compared_without_expectation"),
        ("mart_incident_patterns", {"n_known": 8}, "parts_above_the_whole"),
        ("mart_incident_patterns", {"ratio_high": 3.0}, "ratio_outside_its_interval"),
        ("mart_kpi_correlations", {"q_value": 0.06}, "called_without_q"),
        ("mart_kpi_correlations", {"p_value": 0.02}, "q_below_p"),
        ("mart_kpi_correlations", {"correlation": 0.0}, "correlation_outside_its_interval"),
        ("mart_kpi_correlations", {"n_effective": 20.0}, "judged_on_too_little"),
        ("mart_kpi_correlations", {"status": "not_enough_data"}, "silent_though_known"),
        ("mart_service_graph", {"calls": 5}, "inferred_as_call"),
        ("mart_service_graph", {"lag_minutes": 0}, "inferred_as_call"),
        ("mart_service_graph", {"provenance": "spans", "calls": 5}, "call_as_inferred"),
        ("mart_service_graph", {"callee": "web"}, "inferred_self_edge"),
        ("mart_service_graph", {"valid_to": T - timedelta(days=1)}, "seen_backwards"),
        ("mart_blast_radius", {"dependents": ["db"]}, "reaches_itself"),
        ("mart_blast_radius", {"n_attempts": 90}, "more_than_everything"),
        ("mart_blast_radius", {"n_journeys": 0}, "traffic_without_journey"),
        ("mart_blast_radius", {"basis": "none"}, "reach_without_basis"),
        ("mart_tuning_proposals", {"n_holdout": 4}, "verdict_without_comparison"),
        ("mart_tuning_proposals", {"verdict": "not_enough_data"}, "proposed_on_too_little"),
        ("mart_tuning_proposals", {"proposed_sensitivity": 0.0}, "sensitivity_not_positive"),
        ("mart_tuning_proposals", {"precision_proposed": 0.5}, "precision_outside_its_interval"),
        ("mart_tuning_proposals", {"confirmed_dropped": 5}, "ready_though_it_loses_alarms"),
    ],
)
def test_a_bad_mart_is_held_back(mart, change, named):
    change = {**change, "window_start": T} if "as_of" in change else change
    with pytest.raises(QualityError, match=f"published__{mart}.*{named}"):
        quality.check_published(mart, pl.DataFrame([{**GOOD[mart], **change}]))


@pytest.mark.parametrize(
    ("frame", "named"),
    [
        (candidates(0.5, 0.3, 0.1), "probability_sum"),
        (candidates(0.5, 0.3, 0.2, kinds=("change", "service", "provider")), "nones"),
        (candidates(0.2, 0.3, 0.5), "lead"),
        (candidates(1.2, -0.1, -0.1), "probability_outside_0_1"),
        (candidates(0.5, 0.3, 0.2).with_columns(rank=pl.col("rank") * 2), "best_rank"),
        (candidates(0.5, 0.3, 0.2).with_columns(rank=pl.Series([1, 2, 2])), "rank_ties"),
        (candidates(0.5, 0.3, 0.2).with_columns(rank=pl.Series([1, 2, 4])), "rank_gap"),
        (candidates(0.5, 0.3, 0.2).with_columns(rationale=pl.lit("")), "without_rationale"),
    ],
)
def test_candidates_must_be_a_ranked_distribution_per_incident(frame, named):
    good = candidates(0.5, 0.3, 0.2, incident="i0")
    assert quality.check_published("mart_incident_candidates", good) == []
    with pytest.raises(QualityError, match=named) as caught:
        quality.check_published("mart_incident_candidates", pl.concat([good, frame.select(good.columns)]))
    assert "i1" in str(caught.value)


def test_money_published_as_decimal_is_judged_as_well():
    frame = pl.DataFrame([GOOD["mart_incidents"]]).with_columns(pl.col("^lost_.*$").cast(pl.Decimal(18, 2)))
    assert quality.check_published("mart_incidents", frame) == []


def test_a_mart_without_a_column_its_suite_needs_is_refused():
    with pytest.raises(QualityError, match=r"suite published__mart_run: cannot be computed: .*as_of"):
        quality.check_published("mart_run", pl.DataFrame({"window_start": [T]}))


def test_a_missing_or_empty_suite_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"landed__alerts\.json is missing"):
        quality.check_landed("alerts", rows("alerts"), tmp_path)
    shutil.copytree(quality.EXPECTATIONS, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "landed__alerts.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "expectations": []}))
    with pytest.raises(ConfigError, match="expectations"):
        quality.check_landed("alerts", rows("alerts"), tmp_path)


def test_an_expectation_that_cannot_be_evaluated_fails_the_gate(tmp_path):
    suite = json.loads((quality.EXPECTATIONS / "landed__alerts.json").read_text())
    suite["expectations"][1]["kwargs"]["column"] = "no_such_column"
    (tmp_path / "landed__alerts.json").write_text(json.dumps(suite))
    with pytest.raises(QualityError, match="cannot be evaluated"):
        quality.check_landed("alerts", rows("alerts"), tmp_path)


def test_the_gate_keeps_its_judgement_and_all_marts_are_judged_before_it_fails(tmp_path, monkeypatch):
    place = Settings(home=tmp_path, config=tmp_path)
    quality.landing_gate(place)("alerts", rows("alerts").lazy())
    kept = json.loads((tmp_path / "quality" / "landed__alerts.json").read_text())
    assert kept["failed"] == []
    assert kept["summary"][0]["row_count"] == 200
    frames = {mart: pl.DataFrame([row]) for mart, row in GOOD.items()} | {"mart_incident_candidates": candidates(0.5, 0.3, 0.2)}
    monkeypatch.setattr(quality, "published_marts", lambda: sorted(frames))
    assert quality.check_marts(place, frames.__getitem__) == []
    bad = {**frames, "mart_run": frames["mart_run"].clear(), "mart_source_coverage": frames["mart_source_coverage"].with_columns(landed=0)}
    with pytest.raises(QualityError) as caught:
        quality.check_marts(place, bad.__getitem__)
    assert "published__mart_run" in str(caught.value)
    assert "published__mart_source_coverage" in str(caught.value)


def test_a_detector_that_drifts_is_a_finding_and_no_stop():
    weeks = pl.DataFrame([{**GOOD["mart_detector_health"], "is_drifting": week < 2, "reason": "coverage 71 %"} for week in range(6)])
    (finding,) = quality.check_published("mart_detector_health", weeks)
    assert finding.severity == "warning"
    assert "read `reason`" in finding.then
