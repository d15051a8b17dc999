-- One row per family of incidents that counts at least one.
with members as (
    select
        recurrence.family_id,
        incidents.incident_id,
        incidents.severity_rank,
        incidents.service_origin,
        incidents.started_at,
        incidents.is_open,
        loss.status,
        loss.currency,
        loss.lost_revenue
    from {{ ref('int_incidents__recurrence') }} as recurrence
    inner join {{ ref('int_incidents__timed') }} as incidents
        on recurrence.incident_id = incidents.incident_id
    left join {{ ref('fct_incident_loss') }} as loss
        on recurrence.incident_id = loss.incident_id
),

families as (
    select
        family_id,
        count(*) as n_incidents,
        count(*) filter (where status = 'quantified') as n_quantified,
        count(*) filter (where is_open) as n_open,
        count(distinct {{ bucket('started_at', 10080) }}) as weeks_n,
        min(severity_rank) as worst_severity_rank,
        {{ listed_once('service_origin', 'service_origin is not null') }} as services,
        count(distinct currency) filter (where status = 'quantified') as currencies_n,
        min(currency) filter (where status = 'quantified') as currency,
        sum(lost_revenue) filter (where status = 'quantified') as lost_revenue,
        median(lost_revenue) filter (where status = 'quantified') as usual_loss,
        min(started_at) as first_incident_at,
        max(started_at) as last_incident_at
    from members
    group by family_id
),

fixes as (
    select
        members.family_id,
        items.action_item_id,
        items.title,
        items.shipped_at,
        effects.verdict
    from members
    inner join {{ ref('fct_action_item') }} as items
        on members.incident_id = items.incident_id
    left join {{ ref('fct_intervention_effect') }} as effects
        on items.action_item_id = effects.action_item_id and effects.outcome = 'recurrence'
    -- Only repairs and preventions promise fewer recurrences; an item without a type is taken for one.
    where
        items.shipped_at is not null
        and items.status <> 'cancelled'
        and coalesce(items.type, 'repair') in ('repair', 'prevent')
    qualify row_number() over (partition by members.family_id order by items.shipped_at desc, items.action_item_id asc) = 1
),

remedies as (
    select
        family_id,
        fix_kind || ' on ' || service as usual_fix,
        worked_n,
        tried_n
    from {{ ref('fct_family_fix') }}
    where worked_n > 0
    qualify row_number() over (partition by family_id order by worked_n desc, tried_n asc, fix_kind asc, service asc) = 1
)

select
    families.family_id,
    dim_family.family_title,
    families.services,
    severities.severity as worst_severity,
    case
        when families.n_open > 0 then 'open'
        when fixes.shipped_at > families.last_incident_at then 'watched'
        when fixes.shipped_at is not null then 'recurred_after_fix'
        else 'no_fix'
    end as status,
    fixes.title as last_fix,
    fixes.action_item_id as last_fix_action_item_id,
    fixes.verdict as last_fix_verdict,
    dim_family.clustering_version,
    remedies.usual_fix,
    remedies.worked_n as usual_fix_worked_n,
    remedies.tried_n as usual_fix_tried_n,
    {{ wilson('remedies.worked_n', 'remedies.tried_n', 'low') }} as usual_fix_low,
    {{ wilson('remedies.worked_n', 'remedies.tried_n', 'high') }} as usual_fix_high,
    case when families.currencies_n = 1 then families.currency end as currency,
    families.n_incidents,
    families.n_quantified,
    families.n_open,
    families.weeks_n,
    case when families.currencies_n = 1 then {{ money('families.lost_revenue') }} end as lost_revenue,
    case when families.currencies_n = 1 then {{ money('families.usual_loss') }} end as usual_loss,
    {{ minutes_between('families.last_incident_at', 'run.as_of') }} / 1440 as days_since_last,
    families.first_incident_at,
    families.last_incident_at,
    fixes.shipped_at as last_fix_at,
    run.as_of
from families
cross join {{ ref('dim_run') }} as run
inner join {{ ref('dim_family') }} as dim_family
    on families.family_id = dim_family.family_id
left join {{ ref('severities') }} as severities
    on families.worst_severity_rank = severities.severity_rank
left join fixes
    on families.family_id = fixes.family_id
left join remedies
    on families.family_id = remedies.family_id
