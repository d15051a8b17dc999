-- One row per period: events, alerts, episodes, proposals and declared incidents in it.
with signals as (
    select
        periods.period,
        cast(sum(signals.events_n) as bigint) as events_n,
        count(*) filter (where signals.member_kind = 'alert') as alerts_n,
        count(*) filter (where signals.member_kind <> 'alert') as anomalies_n,
        count(signals.proposal_id) as proposed_n
    from {{ ref('int_proposals__periods') }} as periods
    inner join {{ ref('int_proposals__signals') }} as signals
        on periods.from_at <= signals.known_at and periods.until_at > signals.known_at
    group by periods.period
),

proposals as (
    select
        periods.period,
        count(*) as proposals_n,
        count(proposals.incident_id) as proposals_matched_n
    from {{ ref('int_proposals__periods') }} as periods
    inner join {{ ref('fct_incident_proposal') }} as proposals
        on periods.from_at <= proposals.alarmed_at and periods.until_at > proposals.alarmed_at
    group by periods.period
),

incidents as (
    select
        periods.period,
        count(*) as incidents_n,
        count(proposed.incident_id) as incidents_proposed_n,
        count(proposed.proposal_to_declared_minutes) as declared_known_n,
        count(*) filter (where proposed.proposal_to_declared_minutes > 0) as proposed_first_n,
        median(proposed.proposal_to_declared_minutes) as proposal_to_declared_minutes_median,
        {{ quantile_between('proposed.proposal_to_declared_minutes', 0.25) }} as proposal_to_declared_minutes_p25,
        {{ quantile_between('proposed.proposal_to_declared_minutes', 0.75) }} as proposal_to_declared_minutes_p75
    from {{ ref('int_proposals__periods') }} as periods
    inner join {{ ref('fct_incident') }} as incidents
        on periods.from_at <= incidents.started_at and periods.until_at > incidents.started_at
    left join {{ ref('int_incidents__proposed') }} as proposed
        on incidents.incident_id = proposed.incident_id
    where not incidents.exclude_from_metrics
    group by periods.period
)

select
    periods.period,
    periods.from_at,
    periods.until_at,
    coalesce(signals.events_n, 0) as events_n,
    coalesce(signals.alerts_n, 0) as alerts_n,
    coalesce(signals.anomalies_n, 0) as anomalies_n,
    coalesce(signals.alerts_n + signals.anomalies_n, 0) as signals_n,
    coalesce(signals.proposed_n, 0) as proposed_n,
    coalesce(proposals.proposals_n, 0) as proposals_n,
    coalesce(proposals.proposals_matched_n, 0) as proposals_matched_n,
    coalesce(incidents.incidents_n, 0) as incidents_n,
    coalesce(incidents.incidents_proposed_n, 0) as incidents_proposed_n,
    coalesce(incidents.declared_known_n, 0) as declared_known_n,
    coalesce(incidents.proposed_first_n, 0) as proposed_first_n,
    incidents.proposal_to_declared_minutes_median,
    incidents.proposal_to_declared_minutes_p25,
    incidents.proposal_to_declared_minutes_p75
from {{ ref('int_proposals__periods') }} as periods
left join signals
    on periods.period = signals.period
left join proposals
    on periods.period = proposals.period
left join incidents
    on periods.period = incidents.period
