-- One row per declared incident that a proposal is about: the proposal whose evidence sufficed first, and how long before it was declared.
select
    pairs.incident_id,
    {{ value_at_min('proposals.proposal_id', ['proposals.alarmed_at', 'proposals.proposal_id']) }} as proposal_id,
    min(proposals.alarmed_at) as proposed_at,
    count(*) as proposals_n,
    cast(sum(proposals.n_alerts) as bigint) as proposal_alerts_n,
    {{ minutes_between('min(proposals.alarmed_at)', 'any_value(coalesce(incidents.declared_at, incidents.detected_at))') }}
        as proposal_to_declared_minutes
from {{ ref('bridge_incident_proposal') }} as pairs
inner join {{ ref('fct_incident_proposal') }} as proposals
    on pairs.proposal_id = proposals.proposal_id
inner join {{ ref('fct_incident') }} as incidents
    on pairs.incident_id = incidents.incident_id
group by pairs.incident_id
