-- One row per incident and alert of one of its services that fired shortly before it or before its impact ended.
select
    incidents.incident_id,
    alerts.alert_id,
    alerts.name,
    alerts.service,
    alerts.started_at,
    alerts.ended_at
from {{ ref('fct_incident') }} as incidents
inner join {{ ref('bridge_incident_service') }} as services
    on incidents.incident_id = services.incident_id
inner join {{ ref('fct_alert') }} as alerts
    on services.service = alerts.service and incidents.environment = alerts.environment
where
    (alerts.region = '' or incidents.region = '' or alerts.region = incidents.region)
    and alerts.started_at < incidents.impact_end_at
    and {{ minutes_between('alerts.started_at', 'incidents.started_at') }} <= {{ var('signal_lookback_minutes') }}
