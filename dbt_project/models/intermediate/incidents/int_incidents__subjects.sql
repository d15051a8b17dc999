-- One row per incident and thing watched that it concerns: its services, the journeys they carry, the journeys it hurt.
select
    incident_id,
    'service' as subject_kind,
    service as subject
from {{ ref('bridge_incident_service') }}
union
select
    services.incident_id,
    'journey' as subject_kind,
    journeys.journey as subject
from {{ ref('bridge_incident_service') }} as services
inner join {{ ref('bridge_journey_service') }} as journeys
    on services.service = journeys.service
union
select
    incident_id,
    'journey' as subject_kind,
    journey as subject
from {{ ref('fct_incident_impact') }}
where status = 'quantified'
