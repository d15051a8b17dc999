"""The tables analyses write under `derived/` and the configuration compiles to under `declared/`: names, columns, types.

dbt reads both as sources. Every derived row carries `model_version`; rows are replaced whole by each refresh.
"""

from __future__ import annotations

from aftercast.entities import COUNT, FLAG, NUMBER, TEXT, TEXTS, TIME, ColumnType

Schema = dict[str, ColumnType]

DERIVED: dict[str, Schema] = {
    # One row per judgement of the last check: an expectation of a suite, or the arrivals of a source's entity.
    "gate_results": {
        "border": TEXT,  # published | volume | freshness
        "table_name": TEXT,  # mart or landing entity
        "source": TEXT,  # '' at the published border
        "position": COUNT,  # of the expectation in its suite
        "expectation": TEXT,
        "severity": TEXT,  # critical | warning | info
        "status": TEXT,  # passed | failed | not_judged
        "observed": TEXT,
        "reason": TEXT,  # why it matters, and what to do when it fails
        "value": NUMBER,
        "low": NUMBER,
        "high": NUMBER,
        "n": COUNT,  # history that low and high rest on; null where no history is asked
    },
    # One row per episode of one series judged by one detector version.
    "anomalies": {
        "anomaly_id": TEXT,
        "series_id": TEXT,
        "signal": TEXT,
        "subject_kind": TEXT,  # service | journey
        "subject": TEXT,
        "environment": TEXT,
        "region": TEXT,
        "segment": TEXT,
        "started_at": TIME,
        "ended_at": TIME,
        "peak_at": TIME,
        "alarmed_at": TIME,  # end of the bucket whose evidence sufficed; started_at is found looking back from there
        "direction": TEXT,  # up | down
        "hurts": FLAG,
        "expected": NUMBER,
        "actual": NUMBER,
        "low": NUMBER,
        "high": NUMBER,
        "score": NUMBER,  # severity in [0, 1]
        "evidence": NUMBER,  # strongest evidence in units of the signal's own threshold; survives a tuning of m if evidence * m >= 1
        "n_points": COUNT,
        "explained_by": TEXT,  # name of the calendar row that expected it, null when none did
        "mode": TEXT,  # live | shadow | retired
        "detector_version": TEXT,
        "feature_version": TEXT,  # of its signal: what its series are made of
        "trained_from": TIME,
        "trained_until": TIME,
        "masked_windows": COUNT,
        "model_version": TEXT,
    },
    # One row per watched series: scored, or why not.
    "series_health": {
        "series_id": TEXT,
        "signal": TEXT,
        "subject_kind": TEXT,
        "subject": TEXT,
        "environment": TEXT,
        "region": TEXT,
        "segment": TEXT,
        "status": TEXT,  # scored | learning | stopped | not_enough_data | flat
        "reason": TEXT,
        "n_points": COUNT,
        "expected_points": COUNT,
        "n_scored": COUNT,
        "n_outside_interval": COUNT,
        "first_seen_at": TIME,
        "last_seen_at": TIME,
        "trained_until": TIME,
        "detector_version": TEXT,
        "model_version": TEXT,
    },
    # One row per watched series and day it was judged: what was seen, scored, and outside the 95 % interval.
    "series_days": {
        "series_id": TEXT,
        "signal": TEXT,
        "day_at": TIME,  # midnight, UTC
        "n_points": COUNT,
        "expected_points": COUNT,
        "n_scored": COUNT,
        "n_outside_interval": COUNT,
        "detector_version": TEXT,
        "model_version": TEXT,
    },
    # One row per live episode that hurts and bucket around it: what a picture of the episode needs.
    "anomaly_points": {
        "anomaly_id": TEXT,
        "series_id": TEXT,
        "bucket_at": TIME,
        "actual": NUMBER,
        "expected": NUMBER,
        "low": NUMBER,
        "high": NUMBER,
        "is_masked": FLAG,  # nothing was learned from this bucket
        "model_version": TEXT,
    },
    # One row per detector version, context and proposed change of its sensitivity.
    "tuning_proposals": {
        "proposal_id": TEXT,
        "detector_version": TEXT,
        "signal": TEXT,
        "subject": TEXT,  # '' = every subject of the signal
        "current_sensitivity": NUMBER,
        "proposed_sensitivity": NUMBER,
        "n_train": COUNT,  # judged episodes the proposal was chosen on, all before holdout_from
        "holdout_from": TIME,
        "n_holdout": COUNT,  # judged episodes it was compared on
        "rejected_dropped": COUNT,  # of the holdout: false alarms the proposal would not have raised
        "confirmed_dropped": COUNT,  # of the holdout: true alarms it would have lost
        "precision_current": NUMBER,
        "precision_current_low": NUMBER,
        "precision_current_high": NUMBER,
        "precision_proposed": NUMBER,
        "precision_proposed_low": NUMBER,
        "precision_proposed_high": NUMBER,
        "verdict": TEXT,  # run_in_shadow | promote | keep | not_enough_data
        "reason": TEXT,
        "model_version": TEXT,
    },
    # One row per insight that prescribes something: what it would change of what happened since.
    "insight_effects": {
        "insight_id": TEXT,
        "kind": TEXT,  # threshold | mask | rule; '' when it cannot be used
        "prescription": TEXT,  # JSON
        "prescribes": TEXT,  # a sentence
        "feature_version": TEXT,
        "state": TEXT,  # proposed | shadow | live
        "model_kind": TEXT,  # detector | ranker
        "live_version": TEXT,
        "shadow_version": TEXT,
        "compared_from": TIME,  # when it was recorded, or declared in shadow
        "alarms_before": COUNT,  # of its signals and subjects, before it was recorded; null for rules, as the next 22
        "alarms_now": COUNT,  # without it, from compared_from on
        "alarms_then": COUNT,  # with it
        "confirmed_now": COUNT,
        "confirmed_then": COUNT,
        "rejected_now": COUNT,
        "rejected_then": COUNT,
        "precision_now": NUMBER,
        "precision_now_low": NUMBER,
        "precision_now_high": NUMBER,
        "precision_then": NUMBER,
        "precision_then_low": NUMBER,
        "precision_then_high": NUMBER,
        "incidents_n": COUNT,  # that concern its subjects
        "incidents_caught_now": COUNT,
        "incidents_caught_then": COUNT,
        "incidents_lost": COUNT,  # noticed by some alarm without it, by none of any signal with it
        "recall_now": NUMBER,
        "recall_now_low": NUMBER,
        "recall_now_high": NUMBER,
        "recall_then": NUMBER,
        "recall_then_low": NUMBER,
        "recall_then_high": NUMBER,
        "rankings_n": COUNT,  # of incidents from compared_from on; null for thresholds and masks, as the rest
        "rankings_touched_n": COUNT,
        "causes_known_n": COUNT,
        "top1_now": COUNT,
        "top1_then": COUNT,
        "brier_now": NUMBER,
        "brier_then": NUMBER,
        "brier_difference": NUMBER,  # then - now
        "brier_difference_low": NUMBER,
        "brier_difference_high": NUMBER,
        "verdict": TEXT,  # run_in_shadow | promote | keep | not_enough_data | adopted | unusable
        "reason": TEXT,
        "model_version": TEXT,
    },
    # One row per series and training cut: the fitted parameters.
    "models": {
        "series_id": TEXT,
        "trained_from": TIME,
        "trained_until": TIME,
        "n_points": COUNT,
        "masked_windows": COUNT,
        "parameters": TEXT,  # JSON
        "data_fingerprint": TEXT,
        "model_version": TEXT,
    },
    # One row per incident, candidate and check.
    "evidence": {
        "evidence_id": TEXT,
        "incident_id": TEXT,
        "kind": TEXT,  # change | service | provider | none
        "candidate_id": TEXT,
        "check_name": TEXT,
        "is_interesting": FLAG,
        "strength": NUMBER,  # log-odds contribution
        "why": TEXT,
        "pointer": TEXT,  # JSON: table, keys, span
        "feature_version": TEXT,  # of the check, or of the rules it follows
        "model_version": TEXT,
    },
    # One row per incident and candidate; probabilities of an incident sum to one.
    "candidates": {
        "incident_id": TEXT,
        "rank": COUNT,
        "kind": TEXT,
        "candidate_id": TEXT,
        "service": TEXT,
        "probability": NUMBER,
        "score": NUMBER,
        "lift": NUMBER,
        "base_rate_per_hour": NUMBER,
        "gap_minutes": NUMBER,
        "hops": COUNT,
        "rationale": TEXT,
        "evidence": TEXTS,  # evidence_id
        "weights_version": TEXT,  # prior, or the version of the weights learned for this incident
        "learned_from_n": COUNT,  # incidents people judged that the weights are learned from; 0 = the prior
        "model_version": TEXT,
    },
    # One row per declared version of the ranker that is not live, incident and candidate.
    "ranked_in_shadow": {
        "ranker_version": TEXT,
        "incident_id": TEXT,
        "rank": COUNT,
        "kind": TEXT,
        "candidate_id": TEXT,
        "probability": NUMBER,
        "score": NUMBER,
        "weights_version": TEXT,
        "learned_from_n": COUNT,
        "model_version": TEXT,
    },
    # One row per declared version of the ranker and incident whose cause people judged: how its ranking did, or why that cannot be told.
    "judged_rankings": {
        "ranker_version": TEXT,
        "incident_id": TEXT,
        "status": TEXT,  # judged | only_rejected | contradictory | no_such_candidate | no_such_incident | before_the_incident
        "reason": TEXT,
        "n_verdicts": COUNT,
        "true_kind": TEXT,  # of the cause people confirmed; null unless judged
        "true_candidate_id": TEXT,
        "true_rank": COUNT,  # null when it is not listed
        "true_probability": NUMBER,
        "top_kind": TEXT,
        "top_candidate_id": TEXT,
        "top_probability": NUMBER,
        "brier": NUMBER,  # squared error summed over the candidates, 0 to 2
        "decided_at": TIME,
        "weights_version": TEXT,
        "learned_from_n": COUNT,
        "model_version": TEXT,
    },
    # One row per set of learned weights and number in it.
    "ranker_weights": {
        "ranker_version": TEXT,
        "weights_version": TEXT,
        "used_from": TIME,  # first Monday whose incidents it ranks; it knows verdicts given before that
        "part": TEXT,  # kind | check
        "name": TEXT,  # of the kind or the check; '' = every check not named
        "value": NUMBER,  # kind: added to its log prior; check: what its strength is multiplied by
        "prior_value": NUMBER,
        "learned_from_n": COUNT,
        "model_version": TEXT,
    },
    # One row per incident and earlier incident that resembles it.
    "similar_incidents": {
        "incident_id": TEXT,
        "similar_incident_id": TEXT,
        "rank": COUNT,
        "similarity": NUMBER,
        "reasons": TEXTS,
        "fixed_by": TEXT,
        "fix": TEXT,  # the remedy that ended it: kind on service
        "fix_worked_n": COUNT,  # earlier incidents, of fix_tried_n, in which that remedy worked
        "fix_tried_n": COUNT,
        "model_version": TEXT,
    },
    # One row per incident: the family it belongs to.
    "families": {
        "incident_id": TEXT,
        "family_id": TEXT,
        "family_title": TEXT,
        "distance": NUMBER,
        "reasons": TEXTS,
        "clustering_version": TEXT,
        "model_version": TEXT,
    },
    # One row per incident and time it was put into a family; the row without valid_until is where it is now.
    "family_memberships": {
        "incident_id": TEXT,
        "family_id": TEXT,
        "how": TEXT,  # founded | joined | moved
        "distance": NUMBER,
        "reasons": TEXTS,
        "valid_from": TIME,
        "valid_until": TIME,
        "clustering_version": TEXT,
        "model_version": TEXT,
    },
    # One row per family that merged into another or was split from one when families were grouped afresh.
    "family_changes": {
        "family_id": TEXT,
        "change": TEXT,  # merged_into | split_from
        "other_family_id": TEXT,
        "n_incidents": COUNT,
        "family_title": TEXT,
        "changed_at": TIME,
        "clustering_version": TEXT,
        "model_version": TEXT,
    },
    # One row per family, kind of remedy and service it was applied to during incidents of the family.
    "family_fixes": {
        "family_id": TEXT,
        "fix_kind": TEXT,
        "service": TEXT,
        "tried_n": COUNT,
        "worked_n": COUNT,
        "minutes_to_end_median": NUMBER,  # of those that worked
        "last_tried_at": TIME,
        "incidents": TEXTS,
        "model_version": TEXT,
    },
    # One row per dimension, value and calendar period: incidents beside their expectation.
    "incident_patterns": {
        "dimension": TEXT,  # service | hour | weekday | change_type | cause_kind | trigger | family | region
        "value": TEXT,
        "period": TEXT,  # month | quarter | year
        "period_start_at": TIME,
        "observed_from": TIME,
        "observed_until": TIME,
        "n_incidents": COUNT,
        "n_known": COUNT,  # incidents of the period of which the dimension is known
        "n_period": COUNT,
        "share": NUMBER,
        "expected": NUMBER,
        "basis": TEXT,  # uniform | exposure | own_past
        "rate_ratio": NUMBER,
        "ratio_low": NUMBER,
        "ratio_high": NUMBER,
        "p_value": NUMBER,
        "q_value": NUMBER,
        "status": TEXT,  # above_expected | below_expected | as_expected | not_enough_data
        "reason": TEXT,
        "incidents": TEXTS,
        "model_version": TEXT,
    },
    # One row per kind of occurrence that preceded at least one incident of its subject; subject '' = of any subject.
    "leading_indicators": {
        "kind": TEXT,  # episode | alert | change | log_pattern | filling
        "signal": TEXT,
        "subject_kind": TEXT,
        "subject": TEXT,
        "environment": TEXT,
        "direction": TEXT,
        "status": TEXT,  # trusted | on_trial | rejected | not_enough_data
        "reason": TEXT,
        "horizon_minutes": COUNT,
        "episodes_n": COUNT,  # warnings whose outcome is known
        "preceding_n": COUNT,
        "incidents_preceded_n": COUNT,
        "lead_minutes_median": NUMBER,
        "last_episode_at": TIME,
        "is_matching_now": FLAG,
        "mined_at": TIME,  # judged_* count later warnings only
        "judged_n": COUNT,
        "judged_true_n": COUNT,
        "judged_precision": NUMBER,
        "judged_precision_low": NUMBER,
        "judged_precision_high": NUMBER,
        "judged_lead_minutes_median": NUMBER,
        "incidents_due_n": COUNT,
        "incidents_warned_n": COUNT,
        "base_rate": NUMBER,
        "lift": NUMBER,
        "lift_low": NUMBER,
        "lift_high": NUMBER,
        "p_value": NUMBER,
        "q_value": NUMBER,
        "came_true_n": COUNT,
        "false_n": COUNT,
        "prevented_n": COUNT,
        "pending_n": COUNT,
        "family_id": TEXT,
        "family_incidents_n": COUNT,
        "incidents": TEXTS,
        "model_version": TEXT,
    },
    # One row per warning of a leading indicator after it was mined.
    "leading_matches": {
        "match_id": TEXT,
        "kind": TEXT,
        "signal": TEXT,
        "subject_kind": TEXT,
        "subject": TEXT,
        "environment": TEXT,
        "direction": TEXT,
        "matched_subject": TEXT,
        "source_id": TEXT,
        "status": TEXT,
        "matched_at": TIME,
        "horizon_end_at": TIME,
        "past_n": COUNT,  # judged warnings whose horizon was over when it was raised
        "past_true_n": COUNT,
        "past_precision": NUMBER,
        "past_precision_low": NUMBER,
        "past_precision_high": NUMBER,
        "base_rate": NUMBER,
        "family_id": TEXT,
        "similar_incidents": TEXTS,
        "look": TEXT,
        "outcome": TEXT,  # pending | came_true | false | prevented
        "incident_id": TEXT,
        "lead_minutes": NUMBER,
        "decided_at": TIME,
        "prevented_by": TEXT,
        "model_version": TEXT,
    },
    # One row per incident candidate: alerts, anomalies and KPI drops that belong together.
    "proposals": {
        "proposal_id": TEXT,  # named after its founding member
        "environment": TEXT,  # '' when only journeys are in it
        "regions": TEXTS,
        "services": TEXTS,  # in the order in which it began there
        "journeys": TEXTS,
        "status": TEXT,  # open | reopened | closed
        "opened_because": TEXT,
        "closed_because": TEXT,
        "follows_proposal_id": TEXT,
        "incident_id": TEXT,  # the declared incident it is about, null when nobody declared one
        "match_likeness": NUMBER,
        "match_gap_minutes": NUMBER,  # start of the incident minus start of the proposal
        "match_reason": TEXT,
        "n_incidents": COUNT,
        "n_alerts": COUNT,
        "n_anomalies": COUNT,
        "n_kpi_drops": COUNT,
        "n_subjects": COUNT,
        "n_reopened": COUNT,
        "severity": NUMBER,  # in [0, 1]
        "narrative": TEXT,
        "top_candidate_kind": TEXT,
        "top_candidate_id": TEXT,
        "top_candidate_service": TEXT,
        "top_candidate_probability": NUMBER,
        "top_candidate_rationale": TEXT,
        "started_at": TIME,  # earliest start of what made it open; it never moves
        "first_signal_at": TIME,  # when its founding member became known
        "alarmed_at": TIME,  # when its evidence sufficed
        "ended_at": TIME,  # when it was last heard; null while it is open
        "model_version": TEXT,
    },
    # One row per alert and live episode: the proposal it belongs to, or why to none.
    "proposal_members": {
        "member_kind": TEXT,  # alert | anomaly | kpi_drop
        "member_id": TEXT,  # alert_id or anomaly_id
        "proposal_id": TEXT,
        "role": TEXT,  # founder | witness | joined | apart
        "reason": TEXT,
        "model_version": TEXT,
    },
    # One row per proposal and declared incident it is about.
    "proposal_incidents": {
        "proposal_id": TEXT,
        "incident_id": TEXT,
        "rank": COUNT,
        "likeness": NUMBER,
        "gap_minutes": NUMBER,
        "reason": TEXT,
        "model_version": TEXT,
    },
    # One row per service metric and customer figure that were compared, at the lag where they are furthest from unrelated.
    "kpi_correlations": {
        "pair_id": TEXT,
        "environment": TEXT,
        "journey": TEXT,
        "step": TEXT,  # '' = the whole journey
        "region": TEXT,
        "kpi": TEXT,  # conversion | attempts | revenue
        "service": TEXT,
        "service_region": TEXT,
        "metric": TEXT,
        "attributes": TEXT,
        "hops": COUNT,  # calls from the nearest service of the journey; null when none is known
        "lag_minutes": COUNT,  # above zero: the service metric comes first
        "n": COUNT,
        "n_effective": NUMBER,
        "correlation": NUMBER,
        "ci_low": NUMBER,  # holds for every lag tried at once
        "ci_high": NUMBER,
        "p_value": NUMBER,  # counts every lag tried
        "q_value": NUMBER,  # Benjamini-Hochberg within the family
        "status": TEXT,  # significant | not_significant | not_enough_data
        "meaning": TEXT,
        "quiet_correlation": NUMBER,
        "n_quiet": COUNT,
        "family": TEXT,
        "n_pairs": COUNT,  # tested in the family
        "n_pairs_left_out": COUNT,  # of the family, beyond the most that are compared
        "n_services_left_out": COUNT,  # measured services neither reached by the journey nor among the others chosen
        "grain_minutes": COUNT,
        "window_start": TIME,
        "window_end": TIME,
        "model_version": TEXT,
    },
    # One row per environment, caller and callee whose trouble follows each other in time: a hint, not a call.
    "inferred_edges": {
        "environment": TEXT,
        "caller": TEXT,  # moves second
        "callee": TEXT,  # moves first
        "region": TEXT,
        "caller_metric": TEXT,
        "callee_metric": TEXT,
        "lag_minutes": COUNT,
        "n": COUNT,
        "n_effective": NUMBER,
        "correlation": NUMBER,
        "ci_low": NUMBER,
        "ci_high": NUMBER,
        "p_value": NUMBER,
        "q_value": NUMBER,
        "n_pairs": COUNT,  # of series tested together
        "window_start": TIME,
        "window_end": TIME,
        "model_version": TEXT,
    },
    # One row per environment and service.
    "blast_radius": {
        "environment": TEXT,
        "service": TEXT,
        "dependents": TEXTS,
        "dependencies": TEXTS,
        "journeys": TEXTS,
        "journeys_carried": TEXTS,  # of those: it carries a step itself
        "n_direct_dependents": COUNT,
        "within_hops": COUNT,
        "in_cycle": FLAG,
        "basis": TEXT,  # calls | inferred | none
        "model_version": TEXT,
    },
    # One row per incident, journey and segment.
    "impact": {
        "incident_id": TEXT,
        "journey": TEXT,
        "segment": TEXT,
        "region": TEXT,
        "tier": TEXT,
        "plan": TEXT,
        "country": TEXT,
        "window_start": TIME,
        "window_end": TIME,
        "expected_attempts": NUMBER,
        "expected_attempts_low": NUMBER,
        "expected_attempts_high": NUMBER,
        "actual_attempts": NUMBER,
        "expected_successes": NUMBER,
        "actual_successes": NUMBER,
        "lost_successes": NUMBER,
        "expected_revenue": NUMBER,
        "actual_revenue": NUMBER,
        "lost_revenue": NUMBER,  # major units
        "lost_revenue_low": NUMBER,
        "lost_revenue_high": NUMBER,
        "recovered_later": NUMBER,
        "refunds": NUMBER,  # paid back in the window, not part of the loss
        "currency": TEXT,
        "report_currency": TEXT,  # null without a rate; the same of the five below
        "reported_loss": NUMBER,
        "reported_loss_low": NUMBER,
        "reported_loss_high": NUMBER,
        "exchange_rate": NUMBER,
        "rate_since": TIME,  # null in the reporting currency itself
        "status": TEXT,  # quantified | below_noise | unknown
        "reason": TEXT,
        "n_buckets": COUNT,
        "shared_minutes": NUMBER,
        "trained_until": TIME,
        "model_version": TEXT,
    },
    # One row per incident: the sum of its impact rows with a joint interval.
    "incident_loss": {
        "incident_id": TEXT,
        "lost_successes": NUMBER,
        "lost_revenue": NUMBER,
        "lost_revenue_low": NUMBER,
        "lost_revenue_high": NUMBER,
        "currency": TEXT,
        "report_currency": TEXT,
        "reported_loss": NUMBER,
        "reported_loss_low": NUMBER,
        "reported_loss_high": NUMBER,
        "exchange_rate": NUMBER,
        "rate_since": TIME,
        "status": TEXT,
        "reason": TEXT,
        "journeys": TEXTS,
        "segments": TEXTS,
        "model_version": TEXT,
    },
    # One row per action item and outcome.
    "fix_impact": {
        "action_item_id": TEXT,
        "outcome": TEXT,  # one of measurement.criteria.OUTCOMES
        "is_promised": FLAG,  # whether this is the outcome its type or its criterion promises to better
        "family_id": TEXT,
        "shipped_at": TIME,
        "status": TEXT,  # judged | not_enough_data | unknown
        "unit": TEXT,
        "n_before": COUNT,  # incidents, without those that led to the fix; weeks or deployments for outcomes of these
        "exposure_before": NUMBER,  # days
        "n_after": COUNT,
        "exposure_after": NUMBER,
        "n_censored": COUNT,  # of both: still open, known to last at least so long
        "value_before": NUMBER,
        "value_after": NUMBER,
        "estimate": NUMBER,  # after / before
        "ci_low": NUMBER,  # repeated interval: bears weekly looks
        "ci_high": NUMBER,
        "difference": NUMBER,  # after - before, in units; recurrence has none
        "difference_low": NUMBER,
        "difference_high": NUMBER,
        "p_value": NUMBER,  # exact, one-sided, of this look alone
        "p_value_sequential": NUMBER,  # stands any number of weekly looks, and shrinkage and controls where they apply
        "q_value": NUMBER,  # Benjamini-Hochberg over all judged fixes
        "shrunk_estimate": NUMBER,  # recurrence: against the family's rate shrunk to that of all families, at the controls' speed
        "shrunk_low": NUMBER,
        "shrunk_high": NUMBER,
        "n_controls": COUNT,  # matched unfixed families
        "control_ratio": NUMBER,  # their incidents after over those their time before made likely
        "control_low": NUMBER,
        "control_high": NUMBER,
        "expected_after": NUMBER,  # recurrence: incidents after if nothing had changed
        "avoided": NUMBER,
        "avoided_low": NUMBER,
        "avoided_high": NUMBER,
        "criterion_status": TEXT,  # before_shipping | after_shipping | none
        "promised_ratio": NUMBER,
        "window_days": NUMBER,
        "verdict": TEXT,  # effective | not_effective | too_early
        "weeks_needed": NUMBER,
        "regression_to_mean": FLAG,
        "is_shared": FLAG,
        "shared_with": TEXTS,  # action_item_id
        "reason": TEXT,
        "model_version": TEXT,
    },
    # One row per cut, type of intervention and subject.
    "fix_portfolio": {
        "portfolio_id": TEXT,
        "cut": TEXT,  # type | team | service | family
        "intervention_type": TEXT,
        "subject": TEXT,  # team, service or family; '' where the cut is by type alone
        "outcome": TEXT,  # what the type promises to better; none for investigating
        "n_planned": COUNT,
        "n_shipped": COUNT,
        "n_cancelled": COUNT,
        "n_measured": COUNT,  # comparisons of the promised outcome; fixes judged as one count once
        "n_judged": COUNT,  # effective or not
        "n_effective": COUNT,
        "n_not_effective": COUNT,
        "n_too_early": COUNT,  # shipped, not judged
        "effective_share": NUMBER,
        "effective_share_low": NUMBER,
        "effective_share_high": NUMBER,
        "promised_reduction": NUMBER,
        "observed_reduction": NUMBER,
        "reduction": NUMBER,  # shrunk towards what recommendations assume
        "reduction_low": NUMBER,
        "reduction_high": NUMBER,
        "incidents_expected": NUMBER,
        "incidents_observed": COUNT,
        "incidents_promised": NUMBER,
        "incidents_avoided": NUMBER,
        "incidents_avoided_low": NUMBER,
        "incidents_avoided_high": NUMBER,
        "revenue_promised": NUMBER,  # major units
        "revenue_avoided": NUMBER,
        "revenue_avoided_low": NUMBER,
        "revenue_avoided_high": NUMBER,
        "currency": TEXT,
        "rank": COUNT,  # within the cut and outcome
        "rank_low": COUNT,
        "rank_high": COUNT,
        "probability_best": NUMBER,
        "status": TEXT,  # ranked | not_enough_data
        "reason": TEXT,
        "model_version": TEXT,
    },
    # One row per recommended systemic fix.
    "recommendations": {
        "recommendation_id": TEXT,
        "rank": COUNT,
        "family_id": TEXT,
        "service": TEXT,
        "action": TEXT,
        "rationale": TEXT,
        "expected_risk_reduction": NUMBER,  # major units per 90 days
        "risk_reduction_low": NUMBER,
        "risk_reduction_high": NUMBER,
        "currency": TEXT,
        "confidence": TEXT,  # low | medium | high
        "owner_team": TEXT,
        "approvals": TEXTS,
        "trade_offs": TEXT,
        "expected_days": NUMBER,
        "n_incidents": COUNT,
        "evidence": TEXTS,  # incident_id
        "model_version": TEXT,
    },
}

# What a version of a model uses, beside the live one (ablation.py).
LEARNT: Schema = {
    "learning_signals": TEXT,  # beyond the checks and watched signals that every version has
    "differs_by": TEXT,  # +signal: the live version does not use it; -signal: only the live one does
    "isolates": TEXT,  # the one signal it differs by; '' when there is none or more than one
    "features_version": TEXT,
}

DECLARED: dict[str, Schema] = {
    "services": {"service": TEXT, "kind": TEXT, "title": TEXT, "team": TEXT, "criticality": TEXT, "runbook": TEXT},
    "dependencies": {"caller": TEXT, "callee": TEXT},
    "teams": {"team": TEXT, "title": TEXT, "channel": TEXT},
    "aliases": {"kind": TEXT, "alias": TEXT, "name": TEXT},
    "journeys": {
        "journey": TEXT,
        "title": TEXT,
        "owner_team": TEXT,
        "currency": TEXT,
        "grain_minutes": COUNT,
        "slo_target": NUMBER,
        "slo_window_days": COUNT,
    },
    "slos": {
        "slo": TEXT,
        "title": TEXT,
        "target": NUMBER,
        "window": TEXT,  # rolling | week | month | quarter
        "window_days": COUNT,
        "method": TEXT,  # occurrences | timeslices | ratio_timeslices
        "slice_minutes": COUNT,
        "slice_target": NUMBER,
        "is_composite": FLAG,
    },
    "slo_parts": {
        "slo": TEXT,
        "part": COUNT,  # from 1
        "journey": TEXT,
        "step": TEXT,  # '' = every step
        "region": TEXT,  # '' = every region; the same of tier, plan and country
        "tier": TEXT,
        "plan": TEXT,
        "country": TEXT,
        "weight": NUMBER,
    },
    # One row: what responding costs; null when nothing is declared.
    "costs": {"hourly_rate": NUMBER, "currency": TEXT, "least_minutes": NUMBER, "review_hours": NUMBER},
    "journey_steps": {"journey": TEXT, "step": TEXT, "position": COUNT, "weight": NUMBER, "earns": FLAG},
    "journey_services": {"journey": TEXT, "step": TEXT, "service": TEXT, "weight": NUMBER},
    "signals": {
        "signal": TEXT,
        "fact": TEXT,
        "hurts": TEXT,
        "grain_minutes": COUNT,
        "sensitivity": NUMBER,
        "minimum_effect": NUMBER,
        "formula": TEXT,
    },
    "detectors": {
        "version": TEXT,
        "state": TEXT,  # live | shadow | retired
        "since": TIME,
        "note": TEXT,
        "tuning": TEXT,  # JSON: [{signal, subject, sensitivity, insight}]
        "masks": TEXT,  # JSON: what it expects
        **LEARNT,
    },
    "rankers": {
        "version": TEXT,
        "state": TEXT,  # live | shadow | retired
        "since": TIME,
        "note": TEXT,
        "weights": TEXT,  # prior | learned
        "rules": TEXT,  # JSON: what people know of changes
        **LEARNT,
    },
    "runbooks": {
        "runbook": TEXT,
        "title": TEXT,
        "version": COUNT,
        "owner_team": TEXT,
        "services": TEXTS,
        "families": TEXTS,
        "causes": TEXTS,
        "text": TEXT,  # the words of its steps
    },
    "sources": {"source": TEXT, "kind": TEXT, "owner": TEXT, "schedule": TEXT, "entities": TEXTS},
    # One row: what this refresh is a function of.
    "run": {
        "company": TEXT,
        "window_start": TIME,
        "as_of": TIME,
        "code_version": TEXT,
        "configuration_fingerprint": TEXT,
        "landing_fingerprint": TEXT,
    },
    # One row per entity that is kept day by day, and day: what its rows in the warehouse are a function of.
    "landed_days": {"entity": TEXT, "day": TEXT, "n_rows": COUNT, "fingerprint": TEXT},
}
