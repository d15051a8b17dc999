-- One row per kind of episode (signal of a subject in a direction) that preceded at least one incident. Counts only, no forecast.
with preceding as (
    select
        anomaly_id,
        count(distinct incident_id) as incidents_n,
        max(minutes_before_start) as lead_minutes
    from {{ ref('int_incidents__matched_anomalies') }}
    where is_before_start and not exclude_from_metrics
    group by anomaly_id
),

incidents as (
    select
        anomalies.signal,
        anomalies.subject_kind,
        anomalies.subject,
        anomalies.environment,
        anomalies.direction,
        count(distinct pairs.incident_id) as incidents_preceded_n
    from {{ ref('int_incidents__matched_anomalies') }} as pairs
    inner join {{ ref('fct_anomaly') }} as anomalies
        on pairs.anomaly_id = anomalies.anomaly_id
    where pairs.is_before_start and not pairs.exclude_from_metrics
    group by anomalies.signal, anomalies.subject_kind, anomalies.subject, anomalies.environment, anomalies.direction
),

indicators as (
    select
        anomalies.signal,
        anomalies.subject_kind,
        anomalies.subject,
        anomalies.environment,
        anomalies.direction,
        count(*) as episodes_n,
        count(preceding.anomaly_id) as preceding_n,
        median(preceding.lead_minutes) as lead_minutes_median,
        max(anomalies.started_at) as last_episode_at,
        max(coalesce(anomalies.ended_at, run.as_of)) >= max(run.as_of) - interval '1 hour' as is_matching_now
    from {{ ref('fct_anomaly') }} as anomalies
    cross join {{ ref('dim_run') }} as run
    left join preceding
        on anomalies.anomaly_id = preceding.anomaly_id
    where anomalies.mode = 'live'
    group by anomalies.signal, anomalies.subject_kind, anomalies.subject, anomalies.environment, anomalies.direction
)

select
    {{ surrogate_key([
        'indicators.signal', 'indicators.subject_kind', 'indicators.subject', 'indicators.environment', 'indicators.direction',
    ]) }} as indicator_id,
    indicators.signal,
    indicators.subject_kind,
    indicators.subject,
    indicators.environment,
    indicators.direction,
    indicators.episodes_n,
    indicators.preceding_n,
    incidents.incidents_preceded_n,
    {{ ratio('indicators.preceding_n', 'indicators.episodes_n') }} as precision,
    {{ wilson('indicators.preceding_n', 'indicators.episodes_n', 'low') }} as precision_low,
    {{ wilson('indicators.preceding_n', 'indicators.episodes_n', 'high') }} as precision_high,
    indicators.lead_minutes_median,
    indicators.is_matching_now,
    indicators.last_episode_at,
    run.as_of
from indicators
inner join incidents
    on
        indicators.signal = incidents.signal
        and indicators.subject_kind = incidents.subject_kind
        and indicators.subject = incidents.subject
        and indicators.environment = incidents.environment
        and indicators.direction = incidents.direction
cross join {{ ref('dim_run') }} as run
