-- One row per detector version and context: everything (signal ''), a signal (subject ''), or a signal of one subject.
with totals as (
    select count(*) as incidents_n
    from {{ ref('fct_incident') }}
    where not exclude_from_metrics
)

select
    counts.detector_version,
    counts.mode,
    nullif(detectors.learning_signals, '') as learning_signals,
    nullif(detectors.differs_by, '') as differs_by,
    nullif(detectors.isolates, '') as isolates,
    detectors.features_version,
    counts.signal,
    counts.subject_kind,
    counts.subject,
    nullif(concat_ws(
        ', ',
        case when counts.verdicts_n < {{ var('least_verdicts') }} then counts.verdicts_n || ' of {{ var("least_verdicts") }} verdicts' end,
        case
            when counts.incidents_in_scope_n < {{ var('least_incidents') }}
                then counts.incidents_in_scope_n || ' of {{ var("least_incidents") }} incidents'
        end,
        case
            when counts.lead_known_n < {{ var('least_lead_times') }}
                then counts.lead_known_n || ' of {{ var("least_lead_times") }} lead times'
        end
    ), '') as not_enough_data,
    counts.series_n,
    counts.series_scored_n,
    counts.points_scored_n,
    counts.points_outside_n,
    {{ ratio('counts.points_outside_n', 'counts.points_scored_n') }} as outside_share,
    counts.episodes_n,
    counts.hurting_n,
    counts.series_weeks,
    {{ ratio('counts.hurting_n', 'counts.series_weeks') }} as hurting_per_series_week,
    counts.matched_n,
    {{ ratio('counts.matched_n', 'counts.hurting_n') }} as matched_share,
    {{ wilson('counts.matched_n', 'counts.hurting_n', 'low') }} as matched_share_low,
    {{ wilson('counts.matched_n', 'counts.hurting_n', 'high') }} as matched_share_high,
    counts.incidents_matched_n,
    totals.incidents_n,
    counts.incidents_in_scope_n,
    counts.incidents_unjudged_n,
    counts.incidents_caught_n,
    {{ ratio('counts.incidents_caught_n', 'counts.incidents_in_scope_n') }} as recall,
    {{ wilson('counts.incidents_caught_n', 'counts.incidents_in_scope_n', 'low') }} as recall_low,
    {{ wilson('counts.incidents_caught_n', 'counts.incidents_in_scope_n', 'high') }} as recall_high,
    counts.lead_known_n,
    counts.lead_minutes_median,
    counts.lead_minutes_low,
    counts.lead_minutes_high,
    counts.confirmed_n,
    counts.rejected_n,
    counts.verdicts_n,
    {{ ratio('counts.confirmed_n', 'counts.verdicts_n') }} as precision,
    {{ wilson('counts.confirmed_n', 'counts.verdicts_n', 'low') }} as precision_low,
    {{ wilson('counts.confirmed_n', 'counts.verdicts_n', 'high') }} as precision_high,
    counts.since,
    run.as_of
from {{ ref('int_detectors__counts') }} as counts
cross join totals
cross join {{ ref('dim_run') }} as run
left join {{ ref('dim_detector') }} as detectors
    on counts.detector_version = detectors.detector_version
