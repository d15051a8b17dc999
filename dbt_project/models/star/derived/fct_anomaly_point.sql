-- One row per live episode that hurts and bucket around it.
select
    anomaly_id,
    series_id,
    model_version,
    actual,
    expected,
    low,
    high,
    coalesce(is_masked, false) as is_masked,
    bucket_at
from {{ source('derived', 'anomaly_points') }}
