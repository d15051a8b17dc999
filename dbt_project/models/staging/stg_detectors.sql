-- One row per declared version of the detector.
select
    version as detector_version,
    state,
    note,
    tuning,
    since
from {{ source('declared', 'detectors') }}
