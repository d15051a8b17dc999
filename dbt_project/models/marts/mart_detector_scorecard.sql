-- One row per detector version and signal.
with episodes as (
    select
        detector_version,
        signal,
        count(*) as episodes_n,
        count(*) filter (where hurts) as hurting_n,
        count(*) filter (where hurts and incident_id is not null) as matched_n,
        count(*) filter (where human_verdict = 'confirm') as confirmed_n,
        count(*) filter (where human_verdict = 'reject') as rejected_n
    from {{ ref('mart_anomalies') }}
    group by detector_version, signal
),

first_per_incident as (
    select
        detector_version,
        signal,
        incident_id,
        max(minutes_before_detection) as lead_minutes
    from {{ ref('int_incidents__matched_anomalies') }}
    where hurts and is_signal and not exclude_from_metrics
    group by detector_version, signal, incident_id
),

incidents as (
    select
        detector_version,
        signal,
        count(*) as incidents_matched_n,
        count(lead_minutes) as lead_known_n,
        median(lead_minutes) as lead_minutes_median
    from first_per_incident
    group by detector_version, signal
),

series as (
    select
        detector_version,
        signal,
        count(*) as series_n,
        count(*) filter (where status = 'scored') as series_scored_n,
        cast(sum(n_scored) as bigint) as points_scored_n,
        cast(sum(n_outside_interval) as bigint) as points_outside_n
    from {{ ref('fct_series_health') }}
    group by detector_version, signal
),

totals as (
    select count(*) as incidents_n
    from {{ ref('fct_incident') }}
    where not exclude_from_metrics
)

select
    coalesce(series.detector_version, episodes.detector_version) as detector_version,
    coalesce(series.signal, episodes.signal) as signal,
    coalesce(series.series_n, 0) as series_n,
    coalesce(series.series_scored_n, 0) as series_scored_n,
    series.points_scored_n,
    series.points_outside_n,
    {{ ratio('series.points_outside_n', 'series.points_scored_n') }} as outside_share,
    coalesce(episodes.episodes_n, 0) as episodes_n,
    coalesce(episodes.hurting_n, 0) as hurting_n,
    coalesce(episodes.matched_n, 0) as matched_n,
    {{ ratio('episodes.matched_n', 'episodes.hurting_n') }} as matched_share,
    coalesce(incidents.incidents_matched_n, 0) as incidents_matched_n,
    totals.incidents_n,
    coalesce(incidents.lead_known_n, 0) as lead_known_n,
    incidents.lead_minutes_median,
    coalesce(episodes.confirmed_n, 0) as confirmed_n,
    coalesce(episodes.rejected_n, 0) as rejected_n,
    coalesce(episodes.confirmed_n + episodes.rejected_n, 0) as verdicts_n,
    {{ ratio('episodes.confirmed_n', '(episodes.confirmed_n + episodes.rejected_n)') }} as precision,
    {{ wilson('episodes.confirmed_n', '(episodes.confirmed_n + episodes.rejected_n)', 'low') }} as precision_low,
    {{ wilson('episodes.confirmed_n', '(episodes.confirmed_n + episodes.rejected_n)', 'high') }} as precision_high,
    run.as_of
from series
full join episodes
    on series.detector_version = episodes.detector_version and series.signal = episodes.signal
left join incidents
    on
        coalesce(series.detector_version, episodes.detector_version) = incidents.detector_version
        and coalesce(series.signal, episodes.signal) = incidents.signal
cross join totals
cross join {{ ref('dim_run') }} as run
