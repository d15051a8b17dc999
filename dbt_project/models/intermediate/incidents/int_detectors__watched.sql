-- One row per watched series. Versions judge the same scores, so what is known of a series holds for all of them.
with known as (
    select
        series_id, signal, subject_kind, subject, environment, region, status, n_scored, n_outside_interval, first_seen_at, last_seen_at,
        detector_version, 0 as preference
    from {{ ref('fct_series_health') }}
    union all
    select
        series_id, signal, subject_kind, subject, environment, region, null as status, null as n_scored, null as n_outside_interval,
        null as first_seen_at, null as last_seen_at, detector_version, 1 as preference
    from {{ ref('fct_anomaly') }}
)

select
    series_id,
    signal,
    subject_kind,
    subject,
    environment,
    region,
    status,
    n_scored,
    n_outside_interval,
    first_seen_at,
    last_seen_at
from known
qualify row_number() over (partition by series_id order by preference asc, detector_version asc) = 1
