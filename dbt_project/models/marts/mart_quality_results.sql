-- One row per judgement of the gate that this mart passed. A view over the file the check writes; publishing copies its rows.
select
    results.border,
    results.table_name,
    results.source,
    results.position,
    results.expectation,
    results.severity,
    results.status,
    results.observed,
    results.reason,
    results.value,
    results.low,
    results.high,
    results.n,
    run.as_of
from {{ ref('fct_gate_result') }} as results
cross join {{ ref('dim_run') }} as run
