-- One row per journey, step and service that carries the step.
select
    journey_services.journey,
    journey_services.step,
    {{ declared_name('journey_services', 'service') }} as service,
    max(journey_services.weight) as weight
from {{ source('declared', 'journey_services') }} as journey_services
{{ declared_name_joins('journey_services', ['service']) }}
group by 1, 2, 3
