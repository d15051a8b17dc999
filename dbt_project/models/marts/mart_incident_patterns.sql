-- One row per dimension, value and calendar period: incidents and their loss beside what was expected.
with losses as (
    select
        members.dimension,
        members.value,
        members.period,
        members.period_start_at,
        count(*) as n_quantified,
        count(distinct loss.currency) as currencies_n,
        min(loss.currency) as currency,
        sum(loss.lost_revenue) as lost_revenue
    from (
        select
            dimension,
            value,
            period,
            period_start_at,
            {{ each_of('incidents') }} as incident_id
        from {{ ref('fct_incident_pattern') }}
    ) as members
    inner join {{ ref('fct_incident_loss') }} as loss
        on members.incident_id = loss.incident_id
    where loss.status = 'quantified'
    group by members.dimension, members.value, members.period, members.period_start_at
)

select
    {{ surrogate_key(
        ['patterns.dimension', 'patterns.value', 'patterns.period', text_of_moment('patterns.period_start_at')]
    ) }} as pattern_id,
    patterns.dimension,
    patterns.value,
    coalesce(families.family_title, patterns.value) as title,
    patterns.period,
    patterns.status,
    patterns.reason,
    patterns.basis,
    case when losses.currencies_n = 1 then losses.currency end as currency,
    patterns.incidents,
    patterns.n_incidents,
    patterns.n_known,
    patterns.n_period,
    patterns.share,
    patterns.expected,
    patterns.rate_ratio,
    patterns.ratio_low,
    patterns.ratio_high,
    patterns.p_value,
    patterns.q_value,
    coalesce(losses.n_quantified, 0) as n_quantified,
    case when losses.currencies_n = 1 then {{ money('losses.lost_revenue') }} end as lost_revenue,
    patterns.period_start_at,
    patterns.observed_from,
    patterns.observed_until,
    run.as_of
from {{ ref('fct_incident_pattern') }} as patterns
cross join {{ ref('dim_run') }} as run
left join losses
    on
        patterns.dimension = losses.dimension
        and patterns.value = losses.value
        and patterns.period = losses.period
        and patterns.period_start_at = losses.period_start_at
left join {{ ref('dim_family') }} as families
    on patterns.dimension = 'family' and patterns.value = families.family_id
