-- One row per environment, service, region, metric, attributes and five-minute bucket.
-- A bucket is expected to hold what buckets of its series usually hold (the median); a missing bucket has no row and is not zero.
with points as (
    select *
    from {{ ref('int_metric_points__bucketed') }}
),

series as (
    select
        service,
        environment,
        region,
        metric,
        attributes,
        {{ surrogate_key(['service', 'environment', 'region', 'metric', 'attributes']) }} as series_key,
        cast({{ quantile_among('n_samples', 0.5) }} as bigint) as expected_samples
    from points
    group by service, environment, region, metric, attributes
)

select
    series.series_key,
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
from points
inner join series
    on
        points.service = series.service
        and points.environment = series.environment
        and points.region = series.region
        and points.metric = series.metric
        and points.attributes = series.attributes
order by series.series_key, points.bucket_at
