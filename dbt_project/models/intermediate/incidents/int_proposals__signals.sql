-- One row per alert and live episode that hurts: what it is, and the proposal it belongs to, if any.
with signals as (
    select
        'alert' as member_kind,
        alert_id as member_id,
        name as signal,
        'service' as subject_kind,
        service as subject,
        environment,
        region,
        severity as stated_severity,
        events_n,
        cast(null as double) as score,
        started_at,
        started_at as known_at,
        ended_at
    from {{ ref('fct_alert') }}
    union all
    select
        case subject_kind when 'journey' then 'kpi_drop' else 'anomaly' end as member_kind,
        anomaly_id as member_id,
        signal,
        subject_kind,
        subject,
        environment,
        region,
        cast(null as string) as stated_severity,
        cast(null as bigint) as events_n,
        score,
        started_at,
        alarmed_at as known_at,
        ended_at
    from {{ ref('fct_anomaly') }}
    where mode = 'live' and hurts
)

select
    signals.member_kind,
    signals.member_id,
    members.proposal_id,
    proposals.incident_id,
    members.role,
    members.reason,
    signals.signal,
    signals.subject_kind,
    signals.subject,
    signals.environment,
    signals.region,
    signals.stated_severity,
    signals.events_n,
    signals.score,
    signals.started_at,
    signals.known_at,
    signals.ended_at
from signals
left join {{ ref('bridge_proposal_member') }} as members
    on signals.member_kind = members.member_kind and signals.member_id = members.member_id
left join {{ ref('fct_incident_proposal') }} as proposals
    on members.proposal_id = proposals.proposal_id
