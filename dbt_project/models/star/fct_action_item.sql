-- One row per action item, as its newest version says.
with newest as (
    select *
    from {{ ref('stg_action_items') }}
    where updated_at < (select max(run.as_of) from {{ ref('stg_run') }} as run)
    qualify row_number() over (partition by action_item_id order by version desc) = 1
),

-- When the criterion is first known in its present wording: a version that said otherwise begins the search anew.
rewordings as (
    select
        newest.action_item_id,
        max(versions.version) as last_version_before
    from newest
    inner join {{ ref('stg_action_items') }} as versions
        on
            newest.action_item_id = versions.action_item_id
            and newest.version > versions.version
            and (
                newest.success_criterion is distinct from versions.success_criterion
                or newest.criterion_outcome is distinct from versions.criterion_outcome
                or newest.criterion_change is distinct from versions.criterion_change
            )
    group by newest.action_item_id
),

criteria as (
    select
        versions.action_item_id,
        min(versions.updated_at) as known_since
    from {{ ref('stg_action_items') }} as versions
    left join rewordings
        on versions.action_item_id = rewordings.action_item_id
    where versions.version > coalesce(rewordings.last_version_before, -1)
    group by versions.action_item_id
),

-- When a verified item became so: its first version since which none said otherwise.
verifications as (
    select
        action_item_id,
        min(updated_at) filter (where is_verified_since) as verified_at
    from (
        select
            versions.action_item_id,
            versions.updated_at,
            bool_and(versions.status = 'verified') over (
                partition by versions.action_item_id order by versions.version desc rows between unbounded preceding and current row
            ) as is_verified_since
        from {{ ref('stg_action_items') }} as versions
        where versions.updated_at < (select max(run.as_of) from {{ ref('stg_run') }} as run)
    )
    group by action_item_id
)

select
    newest.action_item_id,
    newest.version,
    newest.incident_id,
    newest.title,
    newest.type,
    newest.service,
    newest.owner_team,
    newest.status,
    newest.success_criterion,
    newest.criterion_outcome,
    newest.criterion_change,
    newest.shipped_change_id,
    coalesce(changes.finished_at, newest.done_at) as shipped_at,
    case
        when coalesce(newest.success_criterion, newest.criterion_outcome, cast(newest.criterion_change as string)) is not null
            then coalesce(newest.criterion_set_at, criteria.known_since)
    end as criterion_set_at,
    newest.created_at,
    newest.due_at,
    newest.done_at,
    verifications.verified_at,
    newest.updated_at,
    newest.url
from newest
left join {{ ref('fct_change') }} as changes
    on newest.shipped_change_id = changes.change_id
left join criteria
    on newest.action_item_id = criteria.action_item_id
left join verifications
    on newest.action_item_id = verifications.action_item_id
