-- One row per live episode that hurts and bucket around it: what a picture of the episode needs.
select
    points.anomaly_id,
    points.series_id,
    points.actual,
    points.expected,
    points.low,
    points.high,
    points.bucket_at >= anomalies.started_at and points.bucket_at < coalesce(anomalies.ended_at, run.as_of) as is_in_episode,
    points.is_masked,
    points.bucket_at,
    run.as_of
from {{ ref('fct_anomaly_point') }} as points
inner join {{ ref('fct_anomaly') }} as anomalies
    on points.anomaly_id = anomalies.anomaly_id
cross join {{ ref('dim_run') }} as run
where anomalies.mode = 'live'
