-- One row per source and entity with rejected rows: the reasons with their counts, the commonest first.
with reasons as (
    select
        source,
        entity,
        {{ each_entry('reasons') }} as entry
    from {{ ref('fct_source_coverage') }}
    where rejected > 0
),

summed as (
    select
        source,
        entity,
        entry.key as reason,
        cast(sum(entry.value) as bigint) as n
    from reasons
    group by source, entity, entry.key
)

select
    source,
    entity,
    {{ text_of_all("reason || ' (' || n || ')'", '; ', ['n desc', 'reason asc']) }} as reasons
from summed
group by source, entity
