-- One row per environment, caller, callee and provenance. Declared edges hold in any environment.
with edges as (
    select
        '' as environment,
        caller,
        callee,
        'declared' as provenance,
        cast(null as timestamptz) as first_seen,
        cast(null as timestamptz) as last_seen,
        cast(null as bigint) as calls
    from {{ ref('stg_dependencies') }}
    union all
    select
        case when kind = 'declared' then '' else environment end as environment,
        caller,
        callee,
        kind as provenance,
        first_seen,
        last_seen,
        calls
    from {{ ref('stg_service_edges') }}
)

select
    {{ surrogate_key(['environment', 'caller', 'callee', 'provenance']) }} as edge_key,
    environment,
    caller,
    callee,
    provenance,
    min(first_seen) as first_seen,
    max(last_seen) as last_seen,
    cast(sum(calls) as bigint) as calls
from edges
group by environment, caller, callee, provenance
