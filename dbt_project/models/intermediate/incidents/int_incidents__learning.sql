-- One row per incident somebody wrote about or drew actions from.
with postmortems as (
    select
        incident_id,
        status,
        url,
        trigger,
        contributing_factors
    from {{ ref('fct_postmortem') }}
    qualify row_number() over (partition by incident_id order by updated_at desc, postmortem_id asc) = 1
),

actions as (
    select
        incident_id,
        count(*) filter (where is_open) as actions_open,
        count(*) filter (where is_overdue) as actions_overdue,
        count(*) filter (where status = 'done') as actions_done,
        count(*) filter (where status = 'verified') as actions_verified
    from {{ ref('int_action_items__aged') }}
    where incident_id is not null
    group by incident_id
)

select
    coalesce(postmortems.incident_id, actions.incident_id) as incident_id,
    postmortems.status as postmortem_status,
    postmortems.url as postmortem_url,
    postmortems.trigger as postmortem_trigger,
    postmortems.contributing_factors,
    coalesce(actions.actions_open, 0) as actions_open,
    coalesce(actions.actions_overdue, 0) as actions_overdue,
    coalesce(actions.actions_done, 0) as actions_done,
    coalesce(actions.actions_verified, 0) as actions_verified
from postmortems
full join actions
    on postmortems.incident_id = actions.incident_id
