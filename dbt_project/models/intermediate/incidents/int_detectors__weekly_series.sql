-- One row per signal and ISO week in which a series of it was watched: series and points judged. The same for every detector version.
-- A series is watched from its first point to its last; in its first two weeks it may still be learning.
with weeks as (
    select distinct cast(date_trunc('week', day_at) as {{ moment_type() }}) as week_at
    from {{ ref('int_detectors__days') }}
),

series_weeks as (
    select
        series_id,
        cast(date_trunc('week', day_at) as {{ moment_type() }}) as week_at,
        count(*) filter (where n_scored > 0) as days_scored_n
    from {{ ref('int_detectors__days') }}
    group by series_id, week_at
),

series as (
    select
        watched.signal,
        weeks.week_at,
        count(*) as series_n,
        count(*) filter (where series_weeks.days_scored_n > 0) as series_scored_n,
        count(*) filter (
            where coalesce(series_weeks.days_scored_n, 0) = 0 and watched.first_seen_at >= weeks.week_at - interval '7 days'
        ) as series_learning_n
    from {{ ref('int_detectors__watched') }} as watched
    inner join weeks
        on watched.first_seen_at < weeks.week_at + interval '7 days' and watched.last_seen_at >= weeks.week_at
    left join series_weeks
        on watched.series_id = series_weeks.series_id and weeks.week_at = series_weeks.week_at
    group by watched.signal, weeks.week_at
),

points as (
    select
        signal,
        cast(date_trunc('week', day_at) as {{ moment_type() }}) as week_at,
        count(*) filter (where n_scored > 0) as days_scored_n,
        cast(sum(n_scored) as bigint) as points_scored_n,
        cast(sum(n_outside_interval) as bigint) as points_outside_n,
        cast(sum(n_outside_interval * n_outside_interval) as double) as outside_squared,
        cast(sum(n_outside_interval * n_scored) as double) as outside_by_scored,
        cast(sum(n_scored * n_scored) as double) as scored_squared
    from {{ ref('int_detectors__days') }}
    group by signal, week_at
),

shares as (
    select
        *,
        {{ ratio('points_outside_n', 'points_scored_n') }} as outside_share
    from points
)

select
    series.signal,
    series.week_at,
    series.series_n,
    series.series_scored_n,
    series.series_learning_n,
    coalesce(shares.days_scored_n, 0) as days_scored_n,
    coalesce(shares.points_scored_n, 0) as points_scored_n,
    coalesce(shares.points_outside_n, 0) as points_outside_n,
    shares.outside_share,
    -- Points of one series and day agree with each other: as many independent points as the spread between series and days speaks for.
    least(shares.points_scored_n, greatest(1.0, coalesce(
        shares.outside_share * (1 - shares.outside_share) * shares.points_scored_n * shares.points_scored_n
        / nullif(
            shares.outside_squared - 2 * shares.outside_share * shares.outside_by_scored
            + shares.outside_share * shares.outside_share * shares.scored_squared,
            0
        ),
        shares.points_scored_n
    ))) as points_effective_n
from series
left join shares
    on series.signal = shares.signal and series.week_at = shares.week_at
