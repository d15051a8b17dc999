-- One row per incident that had begun.
select
    incidents.incident_id,
    incidents.title,
    incidents.summary,
    incidents.severity,
    incidents.status,
    incidents.mode,
    incidents.environment,
    incidents.region,
    origins.service as service_origin,
    incidents.started_at,
    incidents.detected_at,
    incidents.declared_at,
    incidents.acknowledged_at,
    incidents.mitigated_at,
    incidents.resolved_at,
    incidents.impact_end_at,
    incidents.is_open,
    incidents.exclude_from_metrics,
    incidents.detection_method,
    incidents.trigger,
    incidents.url,
    incidents.updated_at
from {{ ref('int_incidents__lifecycle') }} as incidents
left join {{ ref('bridge_incident_service') }} as origins
    on incidents.incident_id = origins.incident_id and origins.role = 'origin'
