-- One row: what this refresh is a function of.
select
    company,
    code_version,
    configuration_fingerprint,
    landing_fingerprint,
    window_start,
    as_of
from {{ ref('stg_run') }}
