-- One row per incident that any alert or episode belongs to: how many, and which came first.
with anomalies as (
    select
        incident_id,
        count(*) as anomalies_n,
        min(started_at) as first_anomaly_at
    from {{ ref('int_incidents__matched_anomalies') }}
    where hurts and is_signal
    group by incident_id
),

alerts as (
    select
        incident_id,
        count(*) as alerts_n,
        min(started_at) as first_alert_at
    from {{ ref('int_incidents__matched_alerts') }}
    group by incident_id
)

select
    coalesce(anomalies.incident_id, alerts.incident_id) as incident_id,
    coalesce(anomalies.anomalies_n, 0) as anomalies_n,
    coalesce(alerts.alerts_n, 0) as alerts_n,
    anomalies.first_anomaly_at,
    alerts.first_alert_at,
    least(anomalies.first_anomaly_at, alerts.first_alert_at) as first_signal_at
from anomalies
full join alerts
    on anomalies.incident_id = alerts.incident_id
