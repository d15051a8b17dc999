-- One row per source and entity with rejected rows: the reasons with their counts, the commonest first.
with reasons as (
    select
        source,
        entity,
        try_cast(reasons as json) as reasons
    from {{ ref('fct_source_coverage') }}
    where rejected > 0
),

counted as (
    select
        source,
        entity,
        unnest(json_keys(reasons)) as reason,
        reasons
    from reasons
    where json_type(reasons) = 'OBJECT'
),

summed as (
    select
        source,
        entity,
        reason,
        cast(sum(try_cast(json_extract_string(reasons, '$."' || reason || '"') as bigint)) as bigint) as n
    from counted
    group by source, entity, reason
)

select
    source,
    entity,
    string_agg(reason || ' (' || n || ')', '; ' order by n desc, reason asc) as reasons
from summed
group by source, entity
