-- One row per incident and episode of the live detector of something it concerns that started before its impact ended.
select
    incident_id,
    anomaly_id,
    signal,
    detector_version,
    hurts,
    started_at,
    detected_at,
    exclude_from_metrics,
    minutes_before_start,
    minutes_before_detection,
    is_signal,
    is_before_start
from {{ ref('int_detectors__matched_incidents') }}
where mode = 'live'
