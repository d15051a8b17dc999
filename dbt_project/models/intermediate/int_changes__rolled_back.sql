-- One row per rollback whose target is known: the newest change before it, in the same place, that shipped the version it replaced;
-- without versions, the newest change of that service that was itself no rollback.
with rollbacks as (
    select *
    from {{ ref('int_changes__in_sequence') }}
    where is_rollback
),

candidates as (
    select
        rollbacks.change_id,
        changes.change_id as rolls_back_change_id,
        changes.started_at,
        coalesce(changes.version = coalesce(rollbacks.previous_version, rollbacks.replaced_version), false) as is_replaced_version,
        coalesce(rollbacks.previous_version, rollbacks.replaced_version) is null as is_unversioned
    from rollbacks
    inner join {{ ref('int_changes__in_sequence') }} as changes
        on
            rollbacks.service = changes.service
            and rollbacks.environment = changes.environment
            and rollbacks.started_at > changes.started_at
    where
        changes.kind in ('deploy', 'config', 'flag')
        and (rollbacks.region = changes.region or rollbacks.region = '' or changes.region = '')
        and not (changes.is_rollback and changes.version is null)
)

select
    change_id,
    {{ value_at_max('rolls_back_change_id', ['started_at', 'rolls_back_change_id']) }} as rolls_back_change_id
from candidates
where is_replaced_version or is_unversioned
group by change_id
