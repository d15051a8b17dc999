-- One row per journey, step and service that carries the step. A step nobody declared a service for has no row.
select
    services.journey,
    services.step,
    steps.position,
    services.service,
    services.weight,
    coalesce(steps.earns, false) as earns
from {{ ref('stg_journey_services') }} as services
left join {{ ref('stg_journey_steps') }} as steps
    on services.journey = steps.journey and services.step = steps.step
