-- One row per environment, service, region, metric, attributes and five-minute bucket.
-- A bucket is expected to hold what buckets of its series usually hold (the median); a missing bucket has no row and is not zero.
-- A view: the rows are kept day by day below it, what is usual is the history's.
select
    points.series_key,
    points.environment,
    points.service,
    points.region,
    points.metric,
    points.attributes,
    points.kind,
    points.unit,
    points.bucket_at,
    points.value,
    points.n_samples,
    series.expected_samples
from {{ ref('int_metric_points__bucketed') }} as points
inner join {{ ref('int_metric_points__series') }} as series
    on points.series_key = series.series_key
