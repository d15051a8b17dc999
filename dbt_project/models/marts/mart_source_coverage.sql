-- One row per source and entity that was declared or extracted: totals over every window kept, and how far it reaches.
with declared as (
    select
        source,
        {{ each_of('entities') }} as entity
    from {{ ref('dim_source') }}
),

covered as (
    select
        source,
        entity,
        count(*) as windows_n,
        case when count(expected) = count(*) then cast(sum(expected) as bigint) end as expected,
        cast(sum(received) as bigint) as received,
        cast(sum(rejected) as bigint) as rejected,
        cast(sum(duplicate) as bigint) as duplicate,
        cast(sum(late) as bigint) as late,
        cast(sum(landed) as bigint) as landed,
        min(window_start) as first_window_start,
        max_by(window_start, window_end) as window_start,
        max(window_end) as window_end,
        max(watermark) as watermark
    from {{ ref('fct_source_coverage') }}
    group by source, entity
)

select
    coalesce(covered.source, declared.source) as source,
    coalesce(covered.entity, declared.entity) as entity,
    sources.kind,
    sources.owner,
    case
        when covered.source is null then 'never_extracted'
        when covered.window_end < run.as_of - interval '1 day' then 'behind'
        when covered.rejected > 0 then 'rows_rejected'
        else 'complete'
    end as status,
    reasons.reasons,
    covered.windows_n,
    covered.expected,
    covered.received,
    covered.rejected,
    covered.duplicate,
    covered.late,
    covered.landed,
    {{ ratio('covered.received', 'covered.expected') }} as coverage_ratio,
    {{ minutes_between('covered.window_end', 'run.as_of') }} as minutes_behind,
    declared.source is not null as is_declared,
    covered.first_window_start,
    covered.window_start,
    covered.window_end,
    covered.watermark,
    run.as_of
from covered
full join declared
    on covered.source = declared.source and covered.entity = declared.entity
left join {{ ref('dim_source') }} as sources
    on coalesce(covered.source, declared.source) = sources.source
left join {{ ref('int_coverage__reasons') }} as reasons
    on covered.source = reasons.source and covered.entity = reasons.entity
cross join {{ ref('dim_run') }} as run
