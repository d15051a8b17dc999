-- One row per change that had begun, with what it replaced and whether that puts an earlier version back.
-- A rollback is a change of kind rollback, or a deploy whose version differs from the one it replaces and ran earlier in the same place.
with changes as (
    select *
    from {{ ref('stg_changes') }}
    where started_at < (select max(run.as_of) from {{ ref('stg_run') }} as run)
),

versioned as (
    select
        change_id,
        started_at,
        service,
        environment,
        region,
        version,
        coalesce(
            previous_version,
            lag(version) over (partition by service, environment, region order by started_at, change_id)
        ) as replaced_version
    from changes
    where kind in ('deploy', 'rollback') and version is not null and coalesce(result, 'unknown') not in ('failure', 'aborted')
),

put_back as (
    select distinct later.change_id
    from versioned as later
    inner join versioned as earlier
        on
            later.service = earlier.service
            and later.environment = earlier.environment
            and later.region = earlier.region
            and later.version = earlier.version
            and later.started_at > earlier.started_at
    where later.version <> later.replaced_version
)

select
    changes.*,
    versioned.replaced_version,
    changes.kind = 'rollback' or put_back.change_id is not null as is_rollback
from changes
left join versioned
    on changes.change_id = versioned.change_id
left join put_back
    on changes.change_id = put_back.change_id
