-- One row per declared version of the ranker: how well it ranks the causes that people confirmed. All versions rank the same incidents.
select
    rankers.ranker_version,
    rankers.state as mode,
    rankers.weights,
    nullif(rankers.learning_signals, '') as learning_signals,
    nullif(rankers.differs_by, '') as differs_by,
    nullif(rankers.isolates, '') as isolates,
    rankers.features_version,
    case
        when coalesce(counts.cause_known_n, 0) < {{ var('least_known_causes') }}
            then coalesce(counts.cause_known_n, 0) || ' of {{ var("least_known_causes") }} known causes'
    end as not_enough_data,
    counts.left_out_why,
    coalesce(counts.verdicts_n, 0) as verdicts_n,
    coalesce(counts.incidents_judged_n, 0) as incidents_judged_n,
    coalesce(counts.cause_known_n, 0) as cause_known_n,
    coalesce(counts.only_rejected_n, 0) as only_rejected_n,
    coalesce(counts.left_out_n, 0) as left_out_n,
    coalesce(counts.top1_n, 0) as top1_n,
    {{ ratio('counts.top1_n', 'counts.cause_known_n') }} as top1,
    {{ wilson('counts.top1_n', 'counts.cause_known_n', 'low') }} as top1_low,
    {{ wilson('counts.top1_n', 'counts.cause_known_n', 'high') }} as top1_high,
    coalesce(counts.top3_n, 0) as top3_n,
    {{ ratio('counts.top3_n', 'counts.cause_known_n') }} as top3,
    {{ wilson('counts.top3_n', 'counts.cause_known_n', 'low') }} as top3_low,
    {{ wilson('counts.top3_n', 'counts.cause_known_n', 'high') }} as top3_high,
    round(counts.top_probability, 6) as top_probability,
    round(calibration.calibration_error, 6) as calibration_error,
    round(calibration.calibration_error_by_chance, 6) as calibration_error_by_chance,
    round(counts.brier, 6) as brier,
    round(counts.brier - 1.959964 * counts.brier_error, 6) as brier_low,
    round(counts.brier + 1.959964 * counts.brier_error, 6) as brier_high,
    round(counts.log_loss, 6) as log_loss,
    round(counts.brier_difference, 6) as brier_difference,
    round(counts.brier_difference - 1.959964 * counts.brier_difference_error, 6) as brier_difference_low,
    round(counts.brier_difference + 1.959964 * counts.brier_difference_error, 6) as brier_difference_high,
    coalesce(counts.none_n, 0) as none_n,
    coalesce(counts.none_right_n, 0) as none_right_n,
    coalesce(counts.none_false_n, 0) as none_false_n,
    {{ ratio('counts.none_right_n', 'counts.none_n') }} as none_accuracy,
    {{ wilson('counts.none_right_n', 'counts.none_n', 'low') }} as none_accuracy_low,
    {{ wilson('counts.none_right_n', 'counts.none_n', 'high') }} as none_accuracy_high,
    coalesce(counts.learned_from_n, 0) as learned_from_n,
    rankers.since,
    run.as_of
from {{ ref('dim_ranker') }} as rankers
left join {{ ref('int_rankers__counts') }} as counts
    on rankers.ranker_version = counts.ranker_version
left join {{ ref('int_rankers__calibration') }} as calibration
    on rankers.ranker_version = calibration.ranker_version
cross join {{ ref('dim_run') }} as run
