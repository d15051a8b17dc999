-- One row per action item, as its newest version says.
select
    items.action_item_id,
    items.incident_id,
    membership.family_id,
    items.title,
    items.type,
    items.service,
    coalesce(items.owner_team, services.team, 'unowned') as owner_team,
    items.status,
    items.success_criterion,
    items.criterion_outcome,
    items.shipped_change_id,
    effects.verdict,
    items.url,
    items.criterion_change,
    items.age_days,
    items.days_to_done,
    case when items.is_overdue then items.days_past_due end as days_overdue,
    items.is_open,
    items.is_overdue,
    items.status = 'verified' as is_verified,
    items.shipped_at,
    items.created_at,
    items.due_at,
    items.done_at,
    items.updated_at,
    items.as_of
from {{ ref('int_action_items__aged') }} as items
left join {{ ref('dim_service') }} as services
    on items.service = services.service
left join {{ ref('fct_family_membership') }} as membership
    on items.incident_id = membership.incident_id
left join {{ ref('fct_intervention_effect') }} as effects
    on items.action_item_id = effects.action_item_id and effects.is_promised
