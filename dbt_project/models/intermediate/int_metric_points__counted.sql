{{ config(days_of='metric_points', source_column='bucket_at', day_column='day_at') }}
-- One row per series, kind, UTC day and number of points in a bucket: the buckets of the day that hold so many.
-- What asks about the whole history (what is usual of a series, which series there are) reads these few rows and not the points.
-- Kept day by day (`by_day`, in dbt_project.yml): nothing here may look at two days.
select
    series_key,
    service,
    environment,
    region,
    metric,
    kind,
    {{ bucket('bucket_at', 1440) }} as day_at,
    n_samples,
    count(*) as n_buckets
from {{ ref('int_metric_points__bucketed') }}
where {{ of_days('bucket_at') }}
group by series_key, service, environment, region, metric, kind, day_at, n_samples
order by series_key, day_at, n_samples
