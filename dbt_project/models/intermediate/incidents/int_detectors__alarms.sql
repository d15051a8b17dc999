-- One row per context and episode of any detector version: whether it hurts, belongs to an incident, and what a human said of it.
with matched as (
    select distinct anomaly_id
    from {{ ref('int_detectors__matched_incidents') }}
    where is_signal
)

select
    contexts.signal,
    contexts.subject_kind,
    contexts.subject,
    anomalies.detector_version,
    anomalies.anomaly_id,
    anomalies.hurts,
    matched.anomaly_id is not null as is_matched,
    verdicts.verdict
from {{ ref('fct_anomaly') }} as anomalies
inner join {{ ref('int_detectors__contexts') }} as contexts
    on anomalies.series_id = contexts.series_id
left join matched
    on anomalies.anomaly_id = matched.anomaly_id
left join {{ ref('int_anomalies__verdicts') }} as verdicts
    on anomalies.anomaly_id = verdicts.anomaly_id
