-- One row per incident of a family: its place in the family and whether a fix had shipped before it. Drills and the like are left out.
with members as (
    select
        membership.incident_id,
        membership.family_id,
        incidents.started_at
    from {{ ref('fct_family_membership') }} as membership
    inner join {{ ref('fct_incident') }} as incidents
        on membership.incident_id = incidents.incident_id
    where not incidents.exclude_from_metrics
),

first_fixes as (
    select
        members.family_id,
        min(items.shipped_at) as first_shipped_at
    from members
    inner join {{ ref('fct_action_item') }} as items
        on members.incident_id = items.incident_id
    -- Only repairs and preventions promise fewer recurrences; an item without a type is taken for one.
    where
        items.shipped_at is not null
        and items.status <> 'cancelled'
        and coalesce(items.type, 'repair') in ('repair', 'prevent')
    group by members.family_id
)

select
    members.incident_id,
    members.family_id,
    count(*) over (partition by members.family_id) as family_size,
    row_number() over (partition by members.family_id order by members.started_at, members.incident_id) as recurrence_n,
    {{ minutes_between(
        'lag(members.started_at) over (partition by members.family_id order by members.started_at, members.incident_id)',
        'members.started_at'
    ) }} / 1440 as days_since_prev_in_family,
    coalesce(members.started_at > first_fixes.first_shipped_at, false) as recurred_after_fix
from members
left join first_fixes
    on members.family_id = first_fixes.family_id
