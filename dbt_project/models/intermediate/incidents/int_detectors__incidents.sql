-- One row per detector version, context and counted incident that concerns something watched in it: whether an alarm came before its
-- impact ended, when the first one came, and whether any of its series was being judged at all.
with concerned as (
    select distinct
        incidents.incident_id,
        incidents.started_at,
        incidents.impact_end_at,
        incidents.detected_at,
        watched.series_id
    from {{ ref('fct_incident') }} as incidents
    inner join {{ ref('int_incidents__subjects') }} as subjects
        on incidents.incident_id = subjects.incident_id
    inner join {{ ref('int_detectors__watched') }} as watched
        on
            subjects.subject_kind = watched.subject_kind
            and subjects.subject = watched.subject
    where
        not incidents.exclude_from_metrics
        and (watched.environment = '' or watched.environment = incidents.environment)
        and (watched.region = '' or incidents.region = '' or watched.region = incidents.region)
),

judged as (
    select distinct
        concerned.incident_id,
        concerned.series_id
    from concerned
    inner join {{ ref('int_detectors__days') }} as days
        on
            concerned.series_id = days.series_id
            and days.n_scored > 0
            and concerned.impact_end_at > days.day_at
            and concerned.started_at < days.day_at + interval '1 day'
),

in_scope as (
    select
        contexts.signal,
        contexts.subject_kind,
        contexts.subject,
        concerned.incident_id,
        min(concerned.detected_at) as detected_at,
        count(judged.series_id) > 0 as is_judged
    from concerned
    inner join {{ ref('int_detectors__contexts') }} as contexts
        on concerned.series_id = contexts.series_id
    left join judged
        on concerned.incident_id = judged.incident_id and concerned.series_id = judged.series_id
    group by contexts.signal, contexts.subject_kind, contexts.subject, concerned.incident_id
),

alarms as (
    select
        pairs.detector_version,
        contexts.signal,
        contexts.subject_kind,
        contexts.subject,
        pairs.incident_id,
        min(pairs.alarmed_at) filter (where pairs.is_in_time) as alarmed_at
    from {{ ref('int_detectors__matched_incidents') }} as pairs
    inner join {{ ref('fct_anomaly') }} as anomalies
        on pairs.anomaly_id = anomalies.anomaly_id
    inner join {{ ref('int_detectors__contexts') }} as contexts
        on anomalies.series_id = contexts.series_id
    where pairs.hurts and pairs.is_signal and not pairs.exclude_from_metrics
    group by pairs.detector_version, contexts.signal, contexts.subject_kind, contexts.subject, pairs.incident_id
)

select
    versions.detector_version,
    in_scope.signal,
    in_scope.subject_kind,
    in_scope.subject,
    in_scope.incident_id,
    in_scope.is_judged,
    alarms.incident_id is not null as is_matched,
    alarms.alarmed_at is not null as is_caught,
    alarms.alarmed_at,
    {{ minutes_between('alarms.alarmed_at', 'in_scope.detected_at') }} as lead_minutes
from in_scope
cross join {{ ref('int_detectors__versions') }} as versions
left join alarms
    on
        versions.detector_version = alarms.detector_version
        and in_scope.signal = alarms.signal
        and in_scope.subject_kind = alarms.subject_kind
        and in_scope.subject = alarms.subject
        and in_scope.incident_id = alarms.incident_id
