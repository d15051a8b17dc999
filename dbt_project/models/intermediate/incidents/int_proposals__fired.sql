-- One row per watched series and per alert rule of a service: how its firings became proposals.
with firings as (
    select
        'alert' as source_kind,
        {{ surrogate_key(['alerts.name', 'alerts.service', 'alerts.environment', 'alerts.region']) }} as signal_id,
        signals.events_n,
        signals.proposal_id,
        signals.incident_id
    from {{ ref('int_proposals__signals') }} as signals
    inner join {{ ref('fct_alert') }} as alerts
        on signals.member_id = alerts.alert_id
    where signals.member_kind = 'alert'
    union all
    select
        'series' as source_kind,
        anomalies.series_id as signal_id,
        signals.events_n,
        signals.proposal_id,
        signals.incident_id
    from {{ ref('int_proposals__signals') }} as signals
    inner join {{ ref('fct_anomaly') }} as anomalies
        on signals.member_id = anomalies.anomaly_id
    where signals.member_kind <> 'alert'
)

select
    source_kind,
    signal_id,
    cast(sum(events_n) as bigint) as events_n,
    count(proposal_id) as proposed_n,
    count(distinct proposal_id) as proposals_n,
    count(distinct proposal_id) filter (where incident_id is not null) as proposals_matched_n
from firings
group by source_kind, signal_id
