-- One row per incident whose services report metrics: points received in its hours over what those hours usually bring (the median).
with hourly as (
    select
        service,
        environment,
        {{ bucket('bucket_at', 60) }} as hour_at,
        sum(n_samples) as n_samples
    from {{ ref('fct_metric_point') }}
    group by service, environment, hour_at
),

usual as (
    select
        service,
        environment,
        median(n_samples) as usual_samples
    from hourly
    group by service, environment
),

windows as (
    select
        incidents.incident_id,
        services.service,
        incidents.environment,
        {{ bucket('incidents.started_at', 60) }} as first_hour_at,
        {{ bucket("greatest(incidents.started_at, incidents.impact_end_at - interval '1 second')", 60) }} as last_hour_at
    from {{ ref('fct_incident') }} as incidents
    inner join {{ ref('bridge_incident_service') }} as services
        on incidents.incident_id = services.incident_id
),

per_service as (
    select
        windows.incident_id,
        windows.service,
        any_value(usual.usual_samples) * (any_value({{ minutes_between('windows.first_hour_at', 'windows.last_hour_at') }}) / 60 + 1)
            as expected_samples,
        coalesce(sum(hourly.n_samples), 0) as n_samples
    from windows
    inner join usual
        on windows.service = usual.service and windows.environment = usual.environment
    left join hourly
        on
            windows.service = hourly.service
            and windows.environment = hourly.environment
            and hourly.hour_at between windows.first_hour_at and windows.last_hour_at
    group by windows.incident_id, windows.service
)

select
    incident_id,
    least(100, 100 * {{ ratio('sum(n_samples)', 'sum(expected_samples)') }}) as data_coverage_pct
from per_service
group by incident_id
