-- One row per alert and live episode that hurts: the proposal and through it the incident it belongs to, or why it belongs to none.
select
    signals.member_kind,
    signals.member_id,
    signals.proposal_id,
    signals.incident_id,
    coalesce(signals.role, 'apart') as role,
    coalesce(signals.reason, 'not looked at') as reason,
    signals.signal,
    signals.subject_kind,
    signals.subject,
    signals.environment,
    signals.region,
    signals.stated_severity,
    signals.score,
    signals.started_at,
    signals.known_at,
    signals.ended_at,
    run.as_of
from {{ ref('int_proposals__signals') }} as signals
cross join {{ ref('dim_run') }} as run
