-- One row per kind of name, name and fact it was seen in. Dependencies count where they were observed, not where they were declared.
with places as (
    select 'metric_points' as seen_in, service, environment, region, count(*) as n, min(bucket_at) as first_at, max(bucket_at) as last_at
    from {{ ref('fct_metric_point') }}
    group by service, environment, region
    union all
    select 'log_patterns' as seen_in, service, environment, region, count(*) as n, min(bucket) as first_at, max(bucket) as last_at
    from {{ ref('fct_log_pattern') }}
    group by service, environment, region
    union all
    select 'spans_red' as seen_in, service, environment, region, count(*) as n, min(bucket) as first_at, max(bucket) as last_at
    from {{ ref('fct_trace_red') }}
    group by service, environment, region
    union all
    select 'changes' as seen_in, service, environment, region, count(*) as n, min(started_at) as first_at, max(started_at) as last_at
    from {{ ref('fct_change') }}
    group by service, environment, region
    union all
    select 'alerts' as seen_in, service, environment, region, count(*) as n, min(started_at) as first_at, max(started_at) as last_at
    from {{ ref('fct_alert') }}
    group by service, environment, region
    union all
    select
        'incidents' as seen_in,
        null as service,
        environment,
        region,
        count(*) as n,
        min(started_at) as first_at,
        max(started_at) as last_at
    from {{ ref('fct_incident') }}
    group by environment, region
    union all
    select
        'journey_kpis' as seen_in,
        null as service,
        null as environment,
        region,
        count(*) as n,
        min(bucket_at) as first_at,
        max(bucket_at) as last_at
    from {{ ref('fct_kpi_point') }}
    group by region
),

names as (
    select 'service' as kind, service as name, seen_in, n, first_at, last_at
    from places
    union all
    select 'environment' as kind, environment as name, seen_in, n, first_at, last_at
    from places
    union all
    select 'region' as kind, region as name, seen_in, n, first_at, last_at
    from places
    union all
    select
        'service' as kind,
        services.service as name,
        'incidents' as seen_in,
        1 as n,
        incidents.started_at as first_at,
        incidents.started_at as last_at
    from {{ ref('bridge_incident_service') }} as services
    inner join {{ ref('fct_incident') }} as incidents
        on services.incident_id = incidents.incident_id
    union all
    select
        'service' as kind,
        {{ each_of(list_of(['caller', 'callee'])) }} as name,
        'service_edges' as seen_in,
        1 as n,
        first_seen as first_at,
        last_seen as last_at
    from {{ ref('dim_service_dependency') }}
    where provenance <> 'declared'
    union all
    select 'journey' as kind, journey as name, 'journey_kpis' as seen_in, 1 as n, bucket_at as first_at, bucket_at as last_at
    from {{ ref('fct_kpi_point') }}
)

select
    kind,
    name,
    seen_in,
    cast(sum(n) as bigint) as n,
    min(first_at) as first_seen_at,
    max(last_at) as last_seen_at
from names
where name <> ''
group by kind, name, seen_in
