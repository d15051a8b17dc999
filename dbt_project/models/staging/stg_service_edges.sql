-- One row per environment, caller, callee and kind of evidence: the calls last reported, the whole time it was seen.
with edges as (
    select
        {{ declared_name('edges', 'environment') }} as environment,
        coalesce(caller_names.name, edges.caller) as caller,
        coalesce(callee_names.name, edges.callee) as callee,
        edges.kind,
        edges.calls,
        edges.first_seen,
        edges.last_seen,
        edges.ingested_at,
        edges.source
    from {{ source('landing', 'service_edges') }} as edges
    {{ declared_name_joins('edges', ['environment']) }}
    left join {{ ref('stg_aliases') }} as caller_names
        on caller_names.kind = 'service' and edges.caller = caller_names.alias
    left join {{ ref('stg_aliases') }} as callee_names
        on callee_names.kind = 'service' and edges.callee = callee_names.alias
)

select
    environment,
    caller,
    callee,
    kind,
    {{ value_at_max('calls', ['last_seen', 'ingested_at', 'source']) }} as calls,
    min(coalesce(first_seen, last_seen)) as first_seen,
    max(last_seen) as last_seen
from edges
group by environment, caller, callee, kind
