-- One row per declared version of the detector.
select
    detector_version,
    state,
    note,
    tuning,
    masks,
    learning_signals,
    differs_by,
    isolates,
    features_version,
    since
from {{ ref('stg_detectors') }}
