-- One row per watched series and detector version: scored, or why not.
select
    series_id,
    signal,
    subject_kind,
    subject,
    coalesce(environment, '') as environment,
    coalesce(region, '') as region,
    coalesce(segment, '') as segment,
    status,
    nullif(reason, '') as reason,
    detector_version,
    model_version,
    n_points,
    expected_points,
    n_scored,
    n_outside_interval,
    first_seen_at,
    last_seen_at,
    trained_until
from {{ source('derived', 'series_health') }}
