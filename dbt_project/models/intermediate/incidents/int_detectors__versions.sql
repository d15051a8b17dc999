-- One row per version of the detector that is declared or has judged anything.
with seen as (
    select detector_version, 'live' as mode from {{ ref('fct_series_health') }}
    union
    select detector_version, mode from {{ ref('fct_anomaly') }}
    union
    select detector_version, state as mode from {{ ref('dim_detector') }}
)

select
    seen.detector_version,
    coalesce(any_value(detectors.state), min(seen.mode)) as mode,
    any_value(detectors.since) as since
from seen
left join {{ ref('dim_detector') }} as detectors
    on seen.detector_version = detectors.detector_version
group by seen.detector_version
