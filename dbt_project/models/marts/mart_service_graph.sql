-- One row per environment, caller, callee and provenance: what is known of who depends on whom, and how.
with edges as (
    select
        environment,
        caller,
        callee,
        provenance,
        calls,
        cast(null as bigint) as lag_minutes,
        cast(null as bigint) as n,
        cast(null as double) as n_effective,
        cast(null as double) as correlation,
        cast(null as double) as ci_low,
        cast(null as double) as ci_high,
        cast(null as double) as q_value,
        first_seen,
        last_seen,
        valid_from,
        valid_to
    from {{ ref('dim_service_dependency') }}
    union all
    select
        environment,
        caller,
        callee,
        'inferred' as provenance,
        cast(null as bigint) as calls,
        lag_minutes,
        n,
        n_effective,
        correlation,
        ci_low,
        ci_high,
        q_value,
        window_start as first_seen,
        window_end as last_seen,
        window_start as valid_from,
        cast(null as {{ moment_type() }}) as valid_to
    from {{ ref('fct_inferred_edge') }}
)

select
    edges.environment,
    edges.caller,
    edges.callee,
    edges.provenance,
    edges.calls,
    edges.lag_minutes,
    edges.n,
    edges.n_effective,
    edges.correlation,
    edges.ci_low,
    edges.ci_high,
    edges.q_value,
    edges.caller = edges.callee as is_self,
    edges.caller <> edges.callee and opposite.caller is not null as is_mutual,
    edges.valid_to is null as is_current,
    edges.first_seen,
    edges.last_seen,
    edges.valid_from,
    edges.valid_to,
    run.as_of
from edges
left join edges as opposite
    on
        edges.environment = opposite.environment
        and edges.provenance = opposite.provenance
        and edges.caller = opposite.callee
        and edges.callee = opposite.caller
cross join {{ ref('dim_run') }} as run
