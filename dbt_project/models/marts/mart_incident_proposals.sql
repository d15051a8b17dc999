-- One row per proposal: what we would have declared, what it is about, and what probably caused it.
with declared as (
    select
        proposal_id,
        {{ listed('incident_id', ['rank']) }} as incident_ids
    from {{ ref('bridge_incident_proposal') }}
    group by proposal_id
)

select
    proposals.proposal_id,
    proposals.environment,
    proposals.regions,
    proposals.services,
    proposals.journeys,
    proposals.status,
    proposals.opened_because,
    proposals.closed_because,
    proposals.follows_proposal_id,
    proposals.incident_id,
    proposals.match_reason,
    coalesce(declared.incident_ids, {{ list_of([]) }}) as incident_ids,
    proposals.narrative,
    proposals.top_candidate_kind,
    proposals.top_candidate_id,
    proposals.top_candidate_service,
    proposals.top_candidate_rationale,
    proposals.model_version,
    proposals.match_likeness,
    proposals.match_gap_minutes,
    proposals.n_alerts,
    proposals.n_anomalies,
    proposals.n_kpi_drops,
    proposals.n_alerts + proposals.n_anomalies + proposals.n_kpi_drops as n_members,
    proposals.n_subjects,
    proposals.n_reopened,
    proposals.severity,
    proposals.top_candidate_probability,
    {{ minutes_between('proposals.alarmed_at', 'coalesce(incidents.declared_at, incidents.detected_at)') }} as proposal_to_declared_minutes,
    {{ minutes_between('proposals.started_at', 'coalesce(proposals.ended_at, run.as_of)') }} as duration_minutes,
    proposals.incident_id is not null as is_declared,
    proposals.started_at,
    proposals.first_signal_at,
    proposals.alarmed_at,
    proposals.ended_at,
    run.as_of
from {{ ref('fct_incident_proposal') }} as proposals
cross join {{ ref('dim_run') }} as run
left join declared
    on proposals.proposal_id = declared.proposal_id
left join {{ ref('fct_incident') }} as incidents
    on proposals.incident_id = incidents.incident_id
