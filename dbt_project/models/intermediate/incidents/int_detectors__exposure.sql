-- One row per context: its series, and how much of them was judged. The same for every detector version.
with days as (
    select
        series_id,
        count(*) filter (where n_scored > 0) as days_scored_n
    from {{ ref('int_detectors__days') }}
    group by series_id
)

select
    contexts.signal,
    contexts.subject_kind,
    contexts.subject,
    count(*) as series_n,
    count(*) filter (where watched.status = 'scored') as series_scored_n,
    cast(sum(watched.n_scored) as bigint) as points_scored_n,
    cast(sum(watched.n_outside_interval) as bigint) as points_outside_n,
    cast(sum(days.days_scored_n) as bigint) as days_scored_n
from {{ ref('int_detectors__contexts') }} as contexts
inner join {{ ref('int_detectors__watched') }} as watched
    on contexts.series_id = watched.series_id
left join days
    on contexts.series_id = days.series_id
group by contexts.signal, contexts.subject_kind, contexts.subject
