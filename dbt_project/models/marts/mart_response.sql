-- One row per ISO week in which incidents began and severity, and one per week for all severities together (`all`).
-- An incident that is not over counts as longer than any that is: it moves the median up instead of vanishing.
with incidents as (
    select
        cast(date_trunc('week', {{ bucket('started_at', 1440) }}) as date) as week_start,
        {{ each_of(list_of(['severity', "'all'"])) }} as severity,
        t_detect_minutes,
        t_acknowledge_minutes,
        t_mitigate_minutes,
        t_resolve_minutes,
        case
            when top_candidate_kind = 'change' and coalesce(top_candidate_confirmed, top_candidate_probability > 0.5)
                then nullif(greatest(minutes_change_to_impact + t_detect_minutes, -1), -1)
        end as change_to_detect,
        is_open,
        is_censored,
        is_found_by_us,
        alerts_n,
        impact_status,
        coalesce(t_mitigate_minutes, case when is_censored then 1e15 end) as ordered_mitigate,
        coalesce(t_resolve_minutes, case when resolved_at is null then 1e15 end) as ordered_resolve,
        case
            when coalesce(mitigated_at, resolved_at) >= acknowledged_at
                then {{ minutes_between('acknowledged_at', 'coalesce(mitigated_at, resolved_at)') }}
            when acknowledged_at is not null and is_censored then 1e15
        end as ordered_fix,
        case
            when t_mitigate_minutes is not null then t_mitigate_minutes < 30
            when is_censored and impact_minutes >= 30 then false
        end as is_under_30
    from {{ ref('mart_incidents') }}
    where not exclude_from_metrics
),

weeks as (
    select
        week_start,
        severity,
        count(*) as n_incidents,
        count(*) filter (where is_open) as n_open,
        count(*) filter (where is_censored) as n_censored,
        count(t_detect_minutes) as detect_n,
        median(t_detect_minutes) as detect_minutes_median,
        {{ quantile_among('t_detect_minutes', 0.9) }} as detect_minutes_p90,
        count(t_acknowledge_minutes) as acknowledge_n,
        median(t_acknowledge_minutes) as acknowledge_minutes_median,
        {{ quantile_among('t_acknowledge_minutes', 0.9) }} as acknowledge_minutes_p90,
        count(change_to_detect) as change_to_detect_n,
        median(change_to_detect) as change_to_detect_minutes_median,
        {{ quantile_among('change_to_detect', 0.9) }} as change_to_detect_minutes_p90,
        count(ordered_fix) as fix_n,
        median(ordered_fix) as fix_median,
        {{ quantile_among('ordered_fix', 0.9) }} as fix_p90,
        count(ordered_mitigate) as mitigate_n,
        median(ordered_mitigate) as mitigate_median,
        {{ quantile_among('ordered_mitigate', 0.9) }} as mitigate_p90,
        count(ordered_resolve) as resolve_n,
        median(ordered_resolve) as resolve_median,
        {{ quantile_among('ordered_resolve', 0.9) }} as resolve_p90,
        count(is_under_30) as under_30_known_n,
        count(*) filter (where is_under_30) as under_30_n,
        count(is_found_by_us) as found_by_us_known_n,
        count(*) filter (where is_found_by_us) as found_by_us_n,
        count(*) filter (where impact_status <> 'unknown') as impact_known_n,
        count(*) filter (where impact_status = 'quantified') as quantified_n,
        median(alerts_n) as alerts_per_incident_median
    from incidents
    group by week_start, severity
)

select
    weeks.week_start,
    weeks.severity,
    weeks.n_incidents,
    weeks.n_open,
    weeks.n_censored,
    weeks.detect_n,
    weeks.detect_minutes_median,
    weeks.detect_minutes_p90,
    weeks.acknowledge_n,
    weeks.acknowledge_minutes_median,
    weeks.acknowledge_minutes_p90,
    weeks.change_to_detect_n,
    weeks.change_to_detect_minutes_median,
    weeks.change_to_detect_minutes_p90,
    weeks.fix_n,
    case when weeks.fix_median < 1e14 then weeks.fix_median end as fix_minutes_median,
    case when weeks.fix_p90 < 1e14 then weeks.fix_p90 end as fix_minutes_p90,
    weeks.mitigate_n,
    case when weeks.mitigate_median < 1e14 then weeks.mitigate_median end as mitigate_minutes_median,
    case when weeks.mitigate_p90 < 1e14 then weeks.mitigate_p90 end as mitigate_minutes_p90,
    weeks.resolve_n,
    case when weeks.resolve_median < 1e14 then weeks.resolve_median end as resolve_minutes_median,
    case when weeks.resolve_p90 < 1e14 then weeks.resolve_p90 end as resolve_minutes_p90,
    weeks.under_30_known_n,
    weeks.under_30_n,
    {{ ratio('weeks.under_30_n', 'weeks.under_30_known_n') }} as under_30_share,
    {{ wilson('weeks.under_30_n', 'weeks.under_30_known_n', 'low') }} as under_30_share_low,
    {{ wilson('weeks.under_30_n', 'weeks.under_30_known_n', 'high') }} as under_30_share_high,
    weeks.found_by_us_known_n,
    weeks.found_by_us_n,
    {{ ratio('weeks.found_by_us_n', 'weeks.found_by_us_known_n') }} as found_by_us_share,
    {{ wilson('weeks.found_by_us_n', 'weeks.found_by_us_known_n', 'low') }} as found_by_us_share_low,
    {{ wilson('weeks.found_by_us_n', 'weeks.found_by_us_known_n', 'high') }} as found_by_us_share_high,
    weeks.impact_known_n,
    weeks.quantified_n,
    weeks.alerts_per_incident_median,
    cast(weeks.week_start + 7 as {{ moment_type() }}) <= run.as_of as is_complete_week,
    run.as_of
from weeks
cross join {{ ref('dim_run') }} as run
