-- One row per service level objective and burn rule: how fast the budget goes now, over a long and a short span ending with the last slice.
-- A rule fires when both spans burn faster than its threshold: the share of the budget it grants, rescaled from the span to the window.
with ends as (
    select
        slices.slo,
        max(slices.slice_end_at) as measured_until,
        max(slices.slice_minutes) as slice_minutes
    from {{ ref('int_slos__slices') }} as slices
    cross join {{ ref('dim_run') }} as run
    where slices.slice_end_at <= run.as_of
    group by slices.slo
),

rules as (
    select
        ends.slo,
        ends.measured_until,
        rules.rule,
        rules.severity,
        rules.budget_share,
        rules.long_minutes,
        greatest(rules.short_minutes, ends.slice_minutes) as short_minutes,
        slos.title,
        slos.target,
        slos.window_days,
        rules.budget_share * slos.window_days * 1440 / rules.long_minutes as threshold
    from ends
    cross join {{ ref('burn_rules') }} as rules
    inner join {{ ref('dim_slo') }} as slos
        on ends.slo = slos.slo
),

parts as (
    select
        rules.slo,
        rules.rule,
        slices.part,
        any_value(slices.weight) as weight,
        any_value(rules.threshold) as threshold,
        any_value(rules.target) as target,
        sum(slices.good_units) as good_long,
        sum(slices.total_units) as total_long,
        sum(slices.good_units) filter (
            where slices.slice_at >= rules.measured_until - {{ minutes('cast(rules.short_minutes as integer)') }}
        ) as good_short,
        sum(slices.total_units) filter (
            where slices.slice_at >= rules.measured_until - {{ minutes('cast(rules.short_minutes as integer)') }}
        ) as total_short
    from rules
    inner join {{ ref('int_slos__slices') }} as slices
        on
            rules.slo = slices.slo
            and rules.measured_until >= slices.slice_end_at
            and slices.slice_at >= rules.measured_until - {{ minutes('cast(rules.long_minutes as integer)') }}
    group by rules.slo, rules.rule, slices.part
),

burns as (
    select
        slo,
        rule,
        sum(total_long) as units_long,
        sum(total_short) as units_short,
        (1 - sum(weight * {{ ratio('good_long', 'total_long') }}) / sum(weight)) / (1 - any_value(target)) as burn_long,
        (
            1 - sum(weight * {{ ratio('good_short', 'total_short') }}) / nullif(sum(weight) filter (where total_short > 0), 0)
        ) / (1 - any_value(target)) as burn_short,
        min(total_long * (1 - target) * threshold) >= 10 as enough_traffic
    from parts
    group by slo, rule
)

select
    rules.slo,
    rules.rule,
    rules.title,
    rules.severity,
    rules.budget_share,
    rules.long_minutes,
    rules.short_minutes,
    rules.threshold,
    burns.burn_long,
    burns.burn_short,
    burns.units_long,
    burns.units_short,
    burns.enough_traffic,
    case
        when rules.threshold * (1 - rules.target) > 1 then 'unreachable'
        when {{ minutes_between('rules.measured_until', 'run.as_of') }} > rules.short_minutes + 60 then 'late_data'
        when not burns.enough_traffic then 'not_enough_traffic'
        when burns.burn_long >= rules.threshold and coalesce(burns.burn_short >= rules.threshold, false) then 'firing'
        else 'quiet'
    end as status,
    case when burns.burn_long > 0 then rules.window_days / burns.burn_long end as days_to_empty,
    rules.measured_until,
    run.as_of
from rules
cross join {{ ref('dim_run') }} as run
inner join burns
    on rules.slo = burns.slo and rules.rule = burns.rule
