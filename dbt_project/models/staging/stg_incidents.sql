-- One row per incident, the version its source updated last.
select
    incidents.incident_id,
    incidents.title,
    incidents.summary,
    coalesce(incidents.severity, 'unknown') as severity,
    coalesce(incidents.status, case when incidents.resolved_at is null then 'open' else 'resolved' end) as status,
    coalesce(incidents.mode, 'real') as mode,
    incidents.services,
    {{ declared_name('incidents', 'environment') }} as environment,
    {{ declared_name('incidents', 'region') }} as region,
    coalesce(incidents.detection_method, 'unknown') as detection_method,
    incidents.trigger,
    incidents.url,
    incidents.started_at,
    incidents.detected_at,
    incidents.declared_at,
    incidents.acknowledged_at,
    incidents.mitigated_at,
    incidents.resolved_at,
    coalesce(
        incidents.updated_at,
        greatest(incidents.started_at, incidents.detected_at, incidents.declared_at, incidents.mitigated_at, incidents.resolved_at)
    ) as updated_at
from {{ source('landing', 'incidents') }} as incidents
{{ declared_name_joins('incidents', ['environment', 'region']) }}
{{ latest_version(['incidents.incident_id'], ['incidents.updated_at', 'incidents.ingested_at']) }}
