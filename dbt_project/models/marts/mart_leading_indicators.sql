-- One row per kind of occurrence that preceded at least one incident of its subject, and what it was worth afterwards.
select
    -- An episode keeps the id it had when only episodes were looked at.
    case
        when indicators.kind = 'episode'
            then {{ surrogate_key([
                'indicators.signal', 'indicators.subject_kind', 'indicators.subject', 'indicators.environment', 'indicators.direction',
            ]) }}
        else {{ surrogate_key([
            'indicators.kind', 'indicators.signal', 'indicators.subject_kind', 'indicators.subject', 'indicators.environment',
            'indicators.direction',
        ]) }}
    end as indicator_id,
    indicators.kind,
    indicators.signal,
    indicators.subject_kind,
    indicators.subject,
    indicators.environment,
    indicators.direction,
    indicators.status,
    indicators.reason,
    indicators.family_id,
    families.family_title,
    indicators.incidents,
    indicators.horizon_minutes,
    indicators.episodes_n,
    indicators.preceding_n,
    indicators.incidents_preceded_n,
    indicators.family_incidents_n,
    {{ ratio('indicators.preceding_n', 'indicators.episodes_n') }} as precision,
    {{ wilson('indicators.preceding_n', 'indicators.episodes_n', 'low') }} as precision_low,
    {{ wilson('indicators.preceding_n', 'indicators.episodes_n', 'high') }} as precision_high,
    indicators.lead_minutes_median,
    indicators.judged_n,
    indicators.judged_true_n,
    indicators.judged_precision,
    indicators.judged_precision_low,
    indicators.judged_precision_high,
    indicators.judged_lead_minutes_median,
    indicators.incidents_due_n,
    indicators.incidents_warned_n,
    {{ ratio('indicators.incidents_warned_n', 'indicators.incidents_due_n') }} as recall,
    {{ wilson('indicators.incidents_warned_n', 'indicators.incidents_due_n', 'low') }} as recall_low,
    {{ wilson('indicators.incidents_warned_n', 'indicators.incidents_due_n', 'high') }} as recall_high,
    indicators.base_rate,
    indicators.lift,
    indicators.lift_low,
    indicators.lift_high,
    indicators.p_value,
    indicators.q_value,
    indicators.came_true_n,
    indicators.false_n,
    indicators.prevented_n,
    indicators.pending_n,
    indicators.is_matching_now,
    indicators.last_episode_at,
    indicators.mined_at,
    run.as_of
from {{ ref('fct_leading_indicator') }} as indicators
cross join {{ ref('dim_run') }} as run
left join {{ ref('dim_family') }} as families
    on indicators.family_id = families.family_id
