-- One row per change that had begun.
select
    changes.change_id,
    changes.kind,
    changes.service,
    changes.environment,
    changes.region,
    changes.title,
    changes.started_at,
    changes.finished_at,
    coalesce(changes.result, 'unknown') as result,
    changes.version,
    coalesce(changes.previous_version, changes.replaced_version) as previous_version,
    changes.committed_at,
    changes.planned,
    changes.is_rollback,
    rolled_back.rolls_back_change_id,
    changes.url,
    changes.attributes
from {{ ref('int_changes__in_sequence') }} as changes
left join {{ ref('int_changes__rolled_back') }} as rolled_back
    on changes.change_id = rolled_back.change_id
