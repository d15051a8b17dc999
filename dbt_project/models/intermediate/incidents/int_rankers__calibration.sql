-- One row per ranker version that was judged: how far its first probabilities are from how often they are right, in ten bins.
with bins as (
    select
        ranker_version,
        least(floor(top_probability * 10), 9) as bin,
        count(*) as incidents_n,
        avg(top_probability) as said,
        avg(case when true_rank = 1 then 1.0 else 0.0 end) as came_true
    from {{ ref('fct_ranker_judgement') }}
    where status = 'judged'
    group by ranker_version, bin
)

select
    ranker_version,
    sum(incidents_n * abs(said - came_true)) / sum(incidents_n) as calibration_error,
    sum(sqrt(2 * incidents_n * said * (1 - said) / pi())) / sum(incidents_n) as calibration_error_by_chance
from bins
group by ranker_version
