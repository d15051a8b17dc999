-- One row per incident that names a service: what it names, in order of role and name.
select
    services.incident_id,
    {{ listed('services.service', ['services.service']) }} as services_impacted,
    count(*) as services_n
from {{ ref('bridge_incident_service') }} as services
group by services.incident_id
