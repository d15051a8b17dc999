-- One row per service, environment, region, operation, peer and bucket.
select
    service,
    environment,
    region,
    operation,
    peer,
    bucket,
    count,
    errors,
    p50_ms,
    p95_ms,
    p99_ms,
    own_p50_ms,
    own_p95_ms
from {{ ref('stg_spans_red') }}
where bucket < (select max(run.as_of) from {{ ref('stg_run') }} as run)
