-- One row per incident and episode, of any detector version, of something it concerns that started before its impact ended.
-- Same environment (journeys have none); a region matches itself and "not regional".
{{ config(materialized='table') }}

select
    incidents.incident_id,
    anomalies.anomaly_id,
    anomalies.signal,
    anomalies.subject_kind,
    anomalies.subject,
    anomalies.detector_version,
    anomalies.mode,
    anomalies.hurts,
    anomalies.started_at,
    anomalies.alarmed_at,
    incidents.detected_at,
    incidents.exclude_from_metrics,
    {{ minutes_between('anomalies.started_at', 'incidents.started_at') }} as minutes_before_start,
    {{ minutes_between('anomalies.started_at', 'incidents.detected_at') }} as minutes_before_detection,
    {{ minutes_between('anomalies.started_at', 'incidents.started_at') }} <= {{ var('signal_lookback_minutes') }} as is_signal,
    anomalies.started_at < incidents.started_at as is_before_start,
    anomalies.alarmed_at < incidents.impact_end_at as is_in_time
from {{ ref('fct_incident') }} as incidents
inner join {{ ref('int_incidents__subjects') }} as subjects
    on incidents.incident_id = subjects.incident_id
inner join {{ ref('fct_anomaly') }} as anomalies
    on
        subjects.subject_kind = anomalies.subject_kind
        and subjects.subject = anomalies.subject
where
    (anomalies.environment = '' or anomalies.environment = incidents.environment)
    and (anomalies.region = '' or incidents.region = '' or anomalies.region = incidents.region)
    and anomalies.started_at < incidents.impact_end_at
    and {{ minutes_between('anomalies.started_at', 'incidents.started_at') }} <= {{ var('leading_lookback_minutes') }}
