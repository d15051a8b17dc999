-- One row per watched series and UTC day it was judged: points seen, scored, and outside the 95 % interval.
select
    series_id,
    signal,
    detector_version,
    model_version,
    n_points,
    expected_points,
    n_scored,
    n_outside_interval,
    day_at
from {{ source('derived', 'series_days') }}
