-- One row per detector version, signal and ISO week: alarms per judged series-week, and how surprising so many outside incidents are.
-- Alarms of one signal in one hour are one event that many series felt, so hours with an alarm are counted: given this week's and the four
-- weeks' before, the count of this week is binomial if the rate per series-week has not changed (Poisson).
with alarms as (
    select
        anomalies.detector_version,
        anomalies.signal,
        cast(date_trunc('week', anomalies.alarmed_at) as {{ moment_type() }}) as week_at,
        count(*) as hurting_n,
        count(*) filter (where not alarms.is_matched) as unmatched_n,
        count(distinct {{ bucket('anomalies.alarmed_at', 60) }}) filter (where not alarms.is_matched) as unmatched_hours_n
    from {{ ref('fct_anomaly') }} as anomalies
    inner join {{ ref('int_detectors__alarms') }} as alarms
        on anomalies.anomaly_id = alarms.anomaly_id and alarms.signal = ''
    where anomalies.hurts
    group by anomalies.detector_version, anomalies.signal, week_at
),

counted as (
    select
        versions.detector_version,
        versions.mode,
        weeks.signal,
        weeks.week_at,
        weeks.days_scored_n,
        coalesce(alarms.hurting_n, 0) as hurting_n,
        coalesce(alarms.unmatched_n, 0) as unmatched_n,
        coalesce(alarms.unmatched_hours_n, 0) as unmatched_hours_n,
        coalesce(cast(sum(alarms.unmatched_n) over before as bigint), 0) as unmatched_before_n,
        coalesce(cast(sum(alarms.unmatched_hours_n) over before as bigint), 0) as unmatched_hours_before_n,
        coalesce(cast(sum(weeks.days_scored_n) over before as bigint), 0) as days_before_n
    from {{ ref('int_detectors__weekly_series') }} as weeks
    cross join {{ ref('int_detectors__versions') }} as versions
    left join alarms
        on
            versions.detector_version = alarms.detector_version
            and weeks.signal = alarms.signal
            and weeks.week_at = alarms.week_at
    window before as (
        partition by versions.detector_version, weeks.signal
        order by weeks.week_at
        range between interval '28 days' preceding and interval '7 days' preceding
    )
),

ways as (
    select
        detector_version,
        signal,
        week_at,
        unmatched_hours_n + unmatched_hours_before_n as n,
        days_scored_n / (days_scored_n + days_before_n) as share,
        {{ each_number('unmatched_hours_n', 'unmatched_hours_n + unmatched_hours_before_n + 1') }} as k
    from counted
    where days_scored_n > 0 and days_before_n > 0
),

chances as (
    select
        detector_version,
        signal,
        week_at,
        round(least(sum(exp({{ log_binomial('n', 'k', 'share') }})), 1), 9) as volume_p
    from ways
    group by detector_version, signal, week_at
)

select
    counted.detector_version,
    counted.mode,
    counted.signal,
    counted.week_at,
    counted.hurting_n,
    counted.unmatched_n,
    counted.unmatched_hours_n,
    counted.unmatched_before_n,
    counted.days_scored_n / 7e0 as series_weeks,
    counted.days_before_n / 7e0 as series_weeks_before,
    chances.volume_p
from counted
left join chances
    on
        counted.detector_version = chances.detector_version
        and counted.signal = chances.signal
        and counted.week_at = chances.week_at
