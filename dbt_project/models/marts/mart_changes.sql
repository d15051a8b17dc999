-- One row per change that had begun, with what became of it.
select
    changes.change_id,
    changes.kind,
    changes.service,
    services.team as team_owner,
    changes.environment,
    changes.region,
    changes.title,
    changes.url,
    changes.result,
    changes.version,
    changes.previous_version,
    changes.rolls_back_change_id,
    changes.rolled_back_by_change_id,
    changes.outcome,
    changes.likeliest_incident_id,
    changes.top_candidate_n,
    changes.confirmed_n,
    changes.highest_probability,
    {{ minutes_between('changes.started_at', 'changes.rolled_back_at') }} as minutes_to_rollback,
    case when changes.committed_at <= changes.finished_at then {{ minutes_between('changes.committed_at', 'changes.finished_at') }} end
        as lead_time_minutes,
    changes.planned as is_planned,
    changes.is_rollback,
    changes.is_counted_deployment,
    changes.is_failed,
    changes.started_at,
    changes.finished_at,
    run.as_of
from {{ ref('int_changes__with_outcome') }} as changes
cross join {{ ref('dim_run') }} as run
left join {{ ref('dim_service') }} as services
    on changes.service = services.service
