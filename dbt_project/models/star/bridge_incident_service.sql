-- One row per incident and service it names: the first named is taken as origin, the others as impacted.
select
    services.incident_id,
    services.service,
    case
        when row_number() over (partition by services.incident_id order by services.position, services.service) = 1 then 'origin'
        else 'impacted'
    end as role
from {{ ref('stg_incident_services') }} as services
inner join {{ ref('int_incidents__lifecycle') }} as incidents
    on services.incident_id = incidents.incident_id
