-- One row per environment, caller, callee and provenance. Declared edges hold in any environment.
-- Calls are counted over the whole refresh window where spans are (by the caller, else by the callee), else taken as last reported.
with edges as (
    select
        '' as environment,
        caller,
        callee,
        'declared' as provenance,
        cast(null as {{ moment_type() }}) as first_seen,
        cast(null as {{ moment_type() }}) as last_seen,
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
),

known as (
    select
        environment,
        caller,
        callee,
        provenance,
        min(first_seen) as first_seen,
        max(last_seen) as last_seen,
        cast(sum(calls) as bigint) as calls
    from edges
    group by environment, caller, callee, provenance
),

calls as (
    select
        environment,
        service as caller,
        peer as callee,
        count as calls_made,
        0 as calls_served
    from {{ ref('fct_trace_red') }}
    where peer <> '' and operation like 'call %'
    union all
    select
        environment,
        peer as caller,
        service as callee,
        0 as calls_made,
        count as calls_served
    from {{ ref('fct_trace_red') }}
    where peer <> '' and operation not like 'call %'
),

counted as (
    select
        environment,
        caller,
        callee,
        nullif(sum(calls_made), 0) as calls_made,
        nullif(sum(calls_served), 0) as calls_served
    from calls
    group by environment, caller, callee
),

seen as (
    select
        environment,
        provenance,
        max(last_seen) as last_seen
    from known
    group by environment, provenance
)

select
    {{ surrogate_key(['known.environment', 'known.caller', 'known.callee', 'known.provenance']) }} as edge_key,
    known.environment,
    known.caller,
    known.callee,
    known.provenance,
    known.first_seen,
    known.last_seen,
    cast(coalesce(counted.calls_made, counted.calls_served, known.calls) as bigint) as calls,
    known.first_seen as valid_from,
    case when known.last_seen < seen.last_seen - interval '7 days' then known.last_seen end as valid_to
from known
inner join seen
    on known.environment = seen.environment and known.provenance = seen.provenance
left join counted
    on
        known.provenance = 'spans'
        and known.environment = counted.environment
        and known.caller = counted.caller
        and known.callee = counted.callee
