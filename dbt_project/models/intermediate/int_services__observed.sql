-- One row per service anything was reported about, declared or not.
with mentions as (
    select service, 'service' as kind from {{ ref('fct_metric_point') }}
    union
    select service, 'service' as kind from {{ ref('fct_log_pattern') }}
    union
    select service, 'service' as kind from {{ ref('fct_trace_red') }}
    union
    select service, case when kind = 'provider' then 'provider' else 'service' end as kind from {{ ref('fct_change') }}
    union
    select service, 'service' as kind from {{ ref('fct_alert') }}
    union
    select service, 'service' as kind from {{ ref('bridge_incident_service') }}
    union
    select service, 'service' as kind from {{ ref('bridge_journey_service') }}
    union
    select caller as service, 'service' as kind from {{ ref('dim_service_dependency') }}
    union
    select callee as service, 'service' as kind from {{ ref('dim_service_dependency') }}
)

select
    service,
    min(kind) as kind
from mentions
where service <> ''
group by service
