-- One row per series and timestamp, the version received last.
-- Grouping by the key is several times cheaper here than numbering versions: this is the largest entity.
with points as (
    select
        {{ declared_name('points', 'service') }} as service,
        {{ declared_name('points', 'environment') }} as environment,
        {{ declared_name('points', 'region') }} as region,
        points.metric,
        coalesce(points.attributes, '') as attributes,
        points.kind,
        points.unit,
        points.value,
        points.ts,
        points.ingested_at,
        points.source
    from {{ source('landing', 'metric_points') }} as points
    {{ declared_name_joins('points', ['service', 'environment', 'region']) }}
)

select
    service,
    environment,
    region,
    metric,
    attributes,
    {{ value_at_max('kind', ['ingested_at', 'source']) }} as kind,
    {{ value_at_max('unit', ['ingested_at', 'source']) }} as unit,
    {{ value_at_max('value', ['ingested_at', 'source']) }} as value,
    ts as measured_at
from points
group by service, environment, region, metric, attributes, ts
