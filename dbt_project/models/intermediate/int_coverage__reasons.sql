-- One row per source and entity with rejected rows: the reasons with their counts, the commonest first.
with reasons as (
    select
        source,
        entity,
        unnest(map_entries(try_cast(try_cast(reasons as json) as map (varchar, bigint)))) as entry
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
    string_agg(reason || ' (' || n || ')', '; ' order by n desc, reason asc) as reasons
from summed
group by source, entity
