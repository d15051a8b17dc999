-- One row per episode the live detector found in a watched series, with the incident it is nearest to.
with nearest as (
    select
        anomaly_id,
        incident_id,
        minutes_before_start
    from {{ ref('int_incidents__matched_anomalies') }}
    where is_signal
    qualify row_number() over (partition by anomaly_id order by abs(minutes_before_start) asc, incident_id asc) = 1
)

select
    anomalies.anomaly_id,
    anomalies.series_id,
    nearest.incident_id,
    anomalies.signal,
    anomalies.subject_kind,
    anomalies.subject,
    anomalies.environment,
    anomalies.region,
    anomalies.segment,
    anomalies.direction,
    verdicts.verdict as human_verdict,
    anomalies.explained_by,
    anomalies.detector_version,
    anomalies.feature_version,
    anomalies.model_version,
    anomalies.expected,
    anomalies.actual,
    anomalies.low,
    anomalies.high,
    {{ ratio('anomalies.actual - anomalies.expected', 'abs(anomalies.expected)') }} as relative_change,
    anomalies.score,
    anomalies.evidence,
    anomalies.n_points,
    anomalies.masked_windows,
    {{ minutes_between('anomalies.started_at', 'anomalies.ended_at') }} as duration_minutes,
    nearest.minutes_before_start as minutes_before_incident,
    anomalies.hurts,
    anomalies.started_at,
    anomalies.ended_at,
    anomalies.peak_at,
    anomalies.alarmed_at,
    anomalies.trained_from,
    anomalies.trained_until,
    run.as_of
from {{ ref('fct_anomaly') }} as anomalies
cross join {{ ref('dim_run') }} as run
left join nearest
    on anomalies.anomaly_id = nearest.anomaly_id
left join {{ ref('int_anomalies__verdicts') }} as verdicts
    on anomalies.anomaly_id = verdicts.anomaly_id
where anomalies.mode = 'live'
