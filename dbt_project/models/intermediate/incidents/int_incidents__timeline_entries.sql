-- One row per thing that happened around an incident: its lifecycle, what people noted, alerts, episodes that hurt, changes suspected.
with lifecycle as (
    select incident_id, 'started' as kind, 'Impact began' as text, started_at as occurred_at from {{ ref('fct_incident') }}
    union all
    select incident_id, 'detected' as kind, 'Detected (' || detection_method || ')' as text, detected_at as occurred_at
    from {{ ref('fct_incident') }}
    union all
    select incident_id, 'declared' as kind, 'Declared' as text, declared_at as occurred_at from {{ ref('fct_incident') }}
    union all
    select incident_id, 'acknowledged' as kind, 'Acknowledged' as text, acknowledged_at as occurred_at from {{ ref('fct_incident') }}
    union all
    select incident_id, 'mitigated' as kind, 'Impact ended' as text, mitigated_at as occurred_at from {{ ref('fct_incident') }}
    union all
    select incident_id, 'resolved' as kind, 'Resolved' as text, resolved_at as occurred_at from {{ ref('fct_incident') }}
),

alerts as (
    select
        incident_id,
        'alert' as kind,
        name || '|' || service as subject_id,
        case when count(*) = 1 then 'Alert ' else count(*) || ' alerts ' end || name || ' on ' || service
        || case when count(*) > 1 then ', the last at ' || {{ hour_and_minute('max(started_at)') }} || ' UTC' else '' end as text,
        min(started_at) as occurred_at
    from {{ ref('int_incidents__matched_alerts') }}
    group by incident_id, name, service
),

anomalies as (
    select
        pairs.incident_id,
        'anomaly' as kind,
        pairs.anomaly_id as subject_id,
        anomalies.signal || ' of ' || anomalies.subject
        || case when anomalies.region <> '' then ' (' || anomalies.region || ')' else '' end
        || ' went ' || anomalies.direction as text,
        anomalies.started_at as occurred_at
    from {{ ref('int_incidents__matched_anomalies') }} as pairs
    inner join {{ ref('fct_anomaly') }} as anomalies
        on pairs.anomaly_id = anomalies.anomaly_id
    where pairs.hurts and pairs.is_signal
),

changes as (
    select
        candidates.incident_id,
        'change' as kind,
        changes.change_id as subject_id,
        coalesce(changes.title, changes.kind || ' of ' || changes.service)
        || ' (suspected, '
        || case
            when candidates.probability < 0.01 then 'below 1'
            else cast(cast(round(100 * candidates.probability) as integer) as string)
        end || ' %)' as text,
        changes.started_at as occurred_at
    from {{ ref('fct_incident_candidate') }} as candidates
    inner join {{ ref('fct_change') }} as changes
        on candidates.candidate_id = changes.change_id
    where candidates.kind = 'change' and candidates.rank <= 5
)

select incident_id, 2 as kind_order, kind, kind as subject_id, text, occurred_at, cast(null as {{ moment_type() }}) as recorded_at
from lifecycle
where occurred_at is not null
union all
select incident_id, 4 as kind_order, 'event' as kind, event_id as subject_id, coalesce(text, kind) as text, occurred_at, recorded_at
from {{ ref('fct_incident_event') }}
union all
select incident_id, 3 as kind_order, kind, subject_id, text, occurred_at, cast(null as {{ moment_type() }}) as recorded_at
from alerts
union all
select incident_id, 1 as kind_order, kind, subject_id, text, occurred_at, cast(null as {{ moment_type() }}) as recorded_at
from anomalies
union all
select incident_id, 0 as kind_order, kind, subject_id, text, occurred_at, cast(null as {{ moment_type() }}) as recorded_at
from changes
