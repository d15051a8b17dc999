-- One row per declared version of the detector.
select
    detector_version,
    state,
    note,
    tuning,
    since
from {{ ref('stg_detectors') }}
