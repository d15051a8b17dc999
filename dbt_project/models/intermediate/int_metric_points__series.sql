{{ config(materialized='table') }}
-- One row per series: the points its buckets usually hold, the median (the lower of two).
with counted as (
    select
        series_key,
        n_samples,
        sum(n_buckets) as n_buckets
    from {{ ref('int_metric_points__counted') }}
    group by series_key, n_samples
),

running as (
    select
        series_key,
        n_samples,
        sum(n_buckets) over (partition by series_key order by n_samples) as up_to_here,
        sum(n_buckets) over (partition by series_key) as n_buckets
    from counted
)

select
    series_key,
    min(n_samples) as expected_samples
from running
where 2 * up_to_here >= n_buckets
group by series_key
