-- One row per version of an action item.
select
    items.action_item_id,
    items.version,
    items.incident_id,
    items.title,
    items.type,
    {{ declared_name('items', 'service') }} as service,
    items.owner_team,
    items.status,
    items.success_criterion,
    items.criterion_outcome,
    items.criterion_change,
    items.shipped_change_id,
    items.url,
    items.origin,
    items.confidence,
    items.criterion_set_at,
    items.created_at,
    items.due_at,
    items.done_at,
    items.updated_at
from {{ source('landing', 'action_items') }} as items
{{ declared_name_joins('items', ['service']) }}
{{ latest_version(['items.action_item_id', 'items.version'], ['items.updated_at', 'items.ingested_at']) }}
