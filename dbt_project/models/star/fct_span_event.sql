-- One row per service, environment, region, operation, event and bucket.
select
    service,
    environment,
    region,
    operation,
    event,
    bucket,
    count
from {{ ref('stg_span_events') }}
where bucket < (select max(run.as_of) from {{ ref('stg_run') }} as run)
