-- One row per declared version of the detector.
select
    version as detector_version,
    state,
    note,
    tuning,
    masks,
    learning_signals,
    differs_by,
    isolates,
    features_version,
    since
from {{ source('declared', 'detectors') }}
