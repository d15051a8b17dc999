-- One row per service, environment, region, bucket and log pattern.
select
    service,
    environment,
    region,
    bucket,
    pattern,
    severity,
    count,
    sample,
    trace_ids
from {{ ref('stg_log_patterns') }}
where bucket < (select max(run.as_of) from {{ ref('stg_run') }} as run)
