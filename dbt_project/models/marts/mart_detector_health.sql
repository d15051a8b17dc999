-- One row per detector version, signal and ISO week: is it still judging what it should, as well and as often as before?
with measured as (
    select
        alarms.detector_version,
        alarms.mode,
        alarms.signal,
        alarms.week_at,
        weeks.series_n,
        weeks.series_scored_n,
        weeks.series_learning_n,
        weeks.series_n - weeks.series_scored_n - weeks.series_learning_n as series_unscored_n,
        {{ ratio('weeks.series_n - weeks.series_scored_n - weeks.series_learning_n', 'weeks.series_n - weeks.series_learning_n') }}
            as unscored_share,
        weeks.points_scored_n,
        weeks.points_outside_n,
        weeks.outside_share,
        weeks.points_effective_n,
        1 - weeks.outside_share as coverage,
        1 - {{ wilson('weeks.outside_share * weeks.points_effective_n', 'weeks.points_effective_n', 'high') }} as coverage_low,
        1 - {{ wilson('weeks.outside_share * weeks.points_effective_n', 'weeks.points_effective_n', 'low') }} as coverage_high,
        alarms.hurting_n,
        alarms.unmatched_n,
        alarms.unmatched_hours_n,
        alarms.unmatched_before_n,
        alarms.series_weeks,
        alarms.volume_p,
        {{ ratio('alarms.hurting_n', 'alarms.series_weeks') }} as hurting_per_series_week,
        {{ ratio('alarms.unmatched_n', 'alarms.series_weeks') }} as unmatched_per_series_week,
        {{ ratio('alarms.unmatched_before_n', 'alarms.series_weeks_before') }} as unmatched_per_series_week_before
    from {{ ref('int_detectors__weekly_alarms') }} as alarms
    inner join {{ ref('int_detectors__weekly_series') }} as weeks
        on alarms.signal = weeks.signal and alarms.week_at = weeks.week_at
),

-- Thresholds are about what a human would act on, not about what can be told apart: thousands of points tell 94 % from 95 %.
judged as (
    select
        *,
        points_scored_n < {{ var('least_points_a_week') }} as is_thin,
        nullif(concat_ws(
            '; ',
            case
                when unscored_share >= 0.2 and series_n - series_learning_n >= 5
                    then {{ percent('unscored_share') }} || ' of ' || (series_n - series_learning_n) || ' series unscored'
            end,
            case
                when points_scored_n >= {{ var('least_points_a_week') }} and (coverage_high < 0.9 or coverage_low > 0.995)
                    then
                        'coverage ' || {{ percent('coverage') }} || ' of ' || {{ grouped_digits('points_scored_n') }}
                        || ' points, expected 95 %'
            end,
            case
                when
                    points_scored_n >= {{ var('least_points_a_week') }}
                    and volume_p < 0.001
                    and unmatched_hours_n >= 5
                    and unmatched_per_series_week >= 2 * unmatched_per_series_week_before
                    then
                        'alarms outside incidents ' || printf('%.1f', unmatched_per_series_week) || ' per series-week, '
                        || printf('%.1f', unmatched_per_series_week_before) || ' in the four weeks before'
            end
        ), '') as drift
    from measured
)

select
    judged.detector_version,
    judged.mode,
    judged.signal,
    cast(judged.week_at as date) as week_start,
    case when judged.drift is not null then 'drift' when judged.is_thin then 'not_enough_data' else 'steady' end as status,
    coalesce(
        judged.drift,
        case
            when judged.is_thin
                then
                    {{ grouped_digits('judged.points_scored_n') }} || ' points scored, '
                    || '{{ var("least_points_a_week") }} needed to tell'
        end
    ) as reason,
    judged.series_n,
    judged.series_scored_n,
    judged.series_learning_n,
    judged.series_unscored_n,
    judged.unscored_share,
    judged.points_scored_n,
    judged.points_outside_n,
    judged.outside_share,
    judged.coverage,
    judged.coverage_low,
    judged.coverage_high,
    judged.hurting_n,
    judged.series_weeks,
    judged.hurting_per_series_week,
    judged.unmatched_n,
    judged.unmatched_hours_n,
    judged.unmatched_per_series_week,
    judged.unmatched_per_series_week_before,
    judged.volume_p,
    judged.drift is not null as is_drifting,
    judged.week_at + interval '7 days' <= run.as_of as is_complete_week,
    run.as_of
from judged
cross join {{ ref('dim_run') }} as run
