-- One row per incident that had begun.
select
    incidents.incident_id,
    incidents.title,
    incidents.summary,
    incidents.url,
    incidents.severity,
    incidents.severity_rank,
    impact.severity_by_impact,
    incidents.status,
    incidents.mode,
    incidents.environment,
    incidents.region,
    incidents.service_origin,
    scope.services_impacted,
    services.team as team_owner,
    loss.journeys,
    loss.segments,
    reach.journeys as journeys_reached,
    incidents.detection_method,
    coalesce(learning.postmortem_trigger, incidents.trigger) as trigger,
    learning.contributing_factors,
    recurrence.family_id,
    families.family_title,
    suspects.top_candidate_kind,
    suspects.top_candidate_id,
    suspects.top_candidate_service,
    suspects.confirmed_candidate_id,
    coalesce(loss.status, 'unknown') as impact_status,
    coalesce(loss.reason, case when loss.incident_id is null then 'no impact was computed for this incident' end) as impact_reason,
    case when loss.status <> 'unknown' then loss.currency end as currency,
    impact.slo_most_eaten,
    response.currency as response_currency,
    learning.postmortem_status,
    learning.postmortem_url,
    proposed.proposal_id,
    incidents.dq_flags,
    suspects.model_version,
    incidents.t_detect_minutes,
    incidents.t_acknowledge_minutes,
    incidents.t_mitigate_minutes,
    incidents.t_resolve_minutes,
    incidents.impact_minutes,
    incidents.age_minutes,
    {{ minutes_between('signals.first_anomaly_at', 'incidents.detected_at') }} as anomaly_to_detected_minutes,
    {{ minutes_between('suspects.top_change_started_at', 'incidents.started_at') }} as minutes_change_to_impact,
    {{ length_of('reach.dependents') }} + {{ length_of('reach.dependencies') }} as blast_radius_services_n,
    coalesce(signals.alerts_n, 0) as alerts_n,
    coalesce(signals.anomalies_n, 0) as anomalies_n,
    coalesce(proposed.proposal_alerts_n, 0) as proposal_alerts_n,
    proposed.proposal_to_declared_minutes,
    suspects.top_candidate_probability,
    suspects.top_candidate_lift,
    suspects.second_probability,
    suspects.p_none,
    coalesce(suspects.candidates_n, 0) as candidates_n,
    case when loss.status <> 'unknown' then loss.lost_successes end as lost_successes,
    case when loss.status <> 'unknown' then loss.lost_revenue end as lost_revenue,
    case when loss.status <> 'unknown' then loss.lost_revenue_low end as lost_revenue_low,
    case when loss.status <> 'unknown' then loss.lost_revenue_high end as lost_revenue_high,
    impact.days_of_revenue_lost,
    impact.slo_budget_share,
    response.responders_n,
    response.response_hours,
    {{ money(
        '(response.response_hours + case when learning.postmortem_status is not null then response.review_hours else 0 end)'
        ~ ' * response.hourly_rate'
    ) }} as response_cost,
    recurrence.family_size,
    recurrence.recurrence_n,
    recurrence.days_since_prev_in_family,
    coalesce(learning.actions_open, 0) as actions_open,
    coalesce(learning.actions_overdue, 0) as actions_overdue,
    coalesce(learning.actions_done, 0) as actions_done,
    coalesce(learning.actions_verified, 0) as actions_verified,
    coverage.data_coverage_pct,
    incidents.is_major,
    incidents.is_open,
    incidents.is_censored,
    incidents.exclude_from_metrics,
    incidents.is_found_by_us,
    case when incidents.detected_at is not null then coalesce(signals.first_anomaly_at <= incidents.detected_at, false) end
        as detected_by_detector,
    suspects.top_candidate_confirmed,
    recurrence.recurred_after_fix,
    incidents.started_at,
    incidents.detected_at,
    incidents.declared_at,
    incidents.acknowledged_at,
    incidents.mitigated_at,
    incidents.resolved_at,
    incidents.impact_end_at,
    signals.first_signal_at,
    proposed.proposed_at,
    incidents.updated_at,
    incidents.as_of
from {{ ref('int_incidents__timed') }} as incidents
left join {{ ref('int_incidents__scope') }} as scope
    on incidents.incident_id = scope.incident_id
left join {{ ref('dim_service') }} as services
    on incidents.service_origin = services.service
left join {{ ref('fct_blast_radius') }} as reach
    on incidents.service_origin = reach.service and incidents.environment = reach.environment
left join {{ ref('fct_incident_loss') }} as loss
    on incidents.incident_id = loss.incident_id
left join {{ ref('int_incidents__suspects') }} as suspects
    on incidents.incident_id = suspects.incident_id
left join {{ ref('int_incidents__signals') }} as signals
    on incidents.incident_id = signals.incident_id
left join {{ ref('int_incidents__recurrence') }} as recurrence
    on incidents.incident_id = recurrence.incident_id
left join {{ ref('dim_family') }} as families
    on recurrence.family_id = families.family_id
left join {{ ref('int_incidents__learning') }} as learning
    on incidents.incident_id = learning.incident_id
left join {{ ref('int_incidents__telemetry_coverage') }} as coverage
    on incidents.incident_id = coverage.incident_id
left join {{ ref('int_incidents__proposed') }} as proposed
    on incidents.incident_id = proposed.incident_id
left join {{ ref('int_incidents__severity') }} as impact
    on incidents.incident_id = impact.incident_id
left join {{ ref('int_incidents__response') }} as response
    on incidents.incident_id = response.incident_id
