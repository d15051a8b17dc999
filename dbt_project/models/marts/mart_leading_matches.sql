-- One row per warning of a leading indicator after it was mined: what it said then, and what became of it.
with losses as (
    select
        membership.family_id,
        count(*) as n_quantified,
        count(distinct loss.currency) as currencies_n,
        min(loss.currency) as currency,
        median(loss.lost_revenue) as lost_revenue
    from {{ ref('fct_family_membership') }} as membership
    inner join {{ ref('fct_incident_loss') }} as loss
        on membership.incident_id = loss.incident_id
    where loss.status = 'quantified'
    group by membership.family_id
)

select
    matches.match_id,
    indicators.indicator_id,
    matches.kind,
    matches.signal,
    matches.subject_kind,
    matches.subject,
    matches.environment,
    matches.direction,
    matches.matched_subject,
    matches.source_id,
    matches.status,
    matches.family_id,
    families.family_title,
    case when losses.currencies_n = 1 then losses.currency end as currency,
    matches.similar_incidents,
    matches.look,
    matches.outcome,
    matches.incident_id,
    matches.prevented_by,
    matches.past_n,
    matches.past_true_n,
    matches.past_precision,
    matches.past_precision_low,
    matches.past_precision_high,
    matches.base_rate,
    coalesce(losses.n_quantified, 0) as family_n_quantified,
    case when losses.currencies_n = 1 then {{ money('losses.lost_revenue') }} end as family_usual_loss,
    matches.lead_minutes,
    matches.matched_at,
    matches.horizon_end_at,
    matches.decided_at,
    run.as_of
from {{ ref('fct_leading_match') }} as matches
cross join {{ ref('dim_run') }} as run
inner join {{ ref('mart_leading_indicators') }} as indicators
    on
        matches.kind = indicators.kind
        and matches.signal = indicators.signal
        and matches.subject_kind = indicators.subject_kind
        and matches.subject = indicators.subject
        and matches.environment = indicators.environment
        and matches.direction = indicators.direction
left join {{ ref('dim_family') }} as families
    on matches.family_id = families.family_id
left join losses
    on matches.family_id = losses.family_id
