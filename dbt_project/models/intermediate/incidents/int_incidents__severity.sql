-- One row per incident whose impact on an error budget or on revenue is known: how severe that makes it, whatever people called it.
-- The most severe row of `impact_severities` that either figure reaches.
with budgets as (
    select
        incident_id,
        max(budget_share) as slo_budget_share,
        {{ value_at_max('slo', ['budget_share', 'slo']) }} as slo_most_eaten
    from {{ ref('int_incidents__slos') }}
    where enough_traffic
    group by incident_id
),

losses as (
    select
        incidents.incident_id,
        any_value(case when loss.status = 'quantified' then loss.lost_revenue else 0 end) as lost_revenue,
        sum({{ ratio('days.revenue_minor', 'days.days_n') }}) / 100 as daily_revenue
    from {{ ref('int_incidents__timed') }} as incidents
    inner join {{ ref('fct_incident_loss') }} as loss
        on incidents.incident_id = loss.incident_id and loss.status <> 'unknown'
    {{ cross_join_each('loss.journeys', 'hit', 'journey') }}
    inner join (
        select
            today.journey,
            today.day,
            sum(past.revenue_minor) as revenue_minor,
            count(*) as days_n
        from {{ ref('int_journeys__daily') }} as today
        inner join {{ ref('int_journeys__daily') }} as past
            on today.journey = past.journey and past.day between today.day - 28 and today.day - 1
        group by today.journey, today.day
    ) as days
        on hit.journey = days.journey and days.day = cast({{ bucket('incidents.started_at', 1440) }} as date)
    group by incidents.incident_id
),

figures as (
    select
        coalesce(budgets.incident_id, losses.incident_id) as incident_id,
        budgets.slo_budget_share,
        budgets.slo_most_eaten,
        {{ ratio('losses.lost_revenue', 'losses.daily_revenue') }} as days_of_revenue_lost
    from budgets
    full join losses
        on budgets.incident_id = losses.incident_id
)

select
    figures.incident_id,
    figures.slo_budget_share,
    figures.slo_most_eaten,
    figures.days_of_revenue_lost,
    min_by(rules.severity, severities.severity_rank) as severity_by_impact
from figures
left join {{ ref('impact_severities') }} as rules
    on figures.slo_budget_share >= rules.least_budget_share or figures.days_of_revenue_lost >= rules.least_days_of_revenue
left join {{ ref('severities') }} as severities
    on rules.severity = severities.severity
group by figures.incident_id, figures.slo_budget_share, figures.slo_most_eaten, figures.days_of_revenue_lost
