-- One row per ranker version that was judged: how its rankings did, alone and beside the live version on the same incidents.
with judgements as (
    select
        judgements.*,
        judgements.brier - lives.brier as brier_difference
    from {{ ref('fct_ranker_judgement') }} as judgements
    left join {{ ref('dim_ranker') }} as live
        on live.state = 'live' and judgements.ranker_version <> live.ranker_version
    left join {{ ref('fct_ranker_judgement') }} as lives
        on live.ranker_version = lives.ranker_version and judgements.incident_id = lives.incident_id
)

select
    ranker_version,
    count(*) as incidents_judged_n,
    cast(sum(verdicts_n) as bigint) as verdicts_n,
    count(*) filter (where status = 'judged') as cause_known_n,
    count(*) filter (where status = 'only_rejected') as only_rejected_n,
    count(*) filter (where status not in ('judged', 'only_rejected')) as left_out_n,
    {{ text_of_list(listed_once('status', "status not in ('judged', 'only_rejected')"), ', ') }} as left_out_why,
    count(*) filter (where status = 'judged' and true_rank = 1) as top1_n,
    count(*) filter (where status = 'judged' and true_rank <= 3) as top3_n,
    avg(top_probability) filter (where status = 'judged') as top_probability,
    avg(brier) as brier,
    stddev_samp(brier) / sqrt(count(brier)) as brier_error,
    avg(-ln(greatest(true_probability, 1e-6))) as log_loss,
    count(*) filter (where true_kind = 'none') as none_n,
    count(*) filter (where true_kind = 'none' and top_kind = 'none') as none_right_n,
    count(*) filter (where true_kind <> 'none' and top_kind = 'none') as none_false_n,
    avg(brier_difference) as brier_difference,
    stddev_samp(brier_difference) / sqrt(count(brier_difference)) as brier_difference_error,
    max(learned_from_n) as learned_from_n
from judgements
group by ranker_version
