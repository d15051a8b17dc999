-- One row per action item, as its newest version says.
with newest as (
    select *
    from {{ ref('stg_action_items') }}
    where updated_at < (select max(run.as_of) from {{ ref('stg_run') }} as run)
    qualify row_number() over (partition by action_item_id order by version desc) = 1
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
    newest.shipped_change_id,
    coalesce(changes.finished_at, newest.done_at) as shipped_at,
    newest.created_at,
    newest.due_at,
    newest.done_at,
    newest.updated_at,
    newest.url
from newest
left join {{ ref('fct_change') }} as changes
    on newest.shipped_change_id = changes.change_id
