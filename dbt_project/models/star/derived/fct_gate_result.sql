-- One row per judgement of the last check. A view: the check writes its results after the marts are built.
select
    border,
    table_name,
    source,
    position,
    expectation,
    severity,
    status,
    observed,
    reason,
    value,
    low,
    high,
    n
from {{ source('derived', 'gate_results') }}
