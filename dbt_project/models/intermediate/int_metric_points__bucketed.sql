{{ config(days_of='metric_points', source_column='measured_at', day_column='bucket_at') }}
-- One row per series and five-minute bucket: a counter's increases are added, levels are averaged.
-- Values are added in the order of their times, so that a rebuild gives the same last digit.
-- Kept day by day (`by_day`, in dbt_project.yml): nothing here may look at two days.
select
    {{ surrogate_key(['service', 'environment', 'region', 'metric', 'attributes']) }} as series_key,
    service,
    environment,
    region,
    metric,
    attributes,
    {{ bucket('measured_at', 5) }} as bucket_at,
    max(kind) as kind,
    max(unit) as unit,
    case
        when max(kind) = 'counter' then {{ sum_in_order('value', 'measured_at') }}
        else {{ mean_in_order('value', 'measured_at') }}
    end as value,
    count(*) as n_samples
from {{ ref('stg_metric_points') }}
where {{ of_days('measured_at') }} and measured_at < (select max(run.as_of) from {{ ref('stg_run') }} as run)
group by service, environment, region, metric, attributes, bucket_at
order by series_key, bucket_at
