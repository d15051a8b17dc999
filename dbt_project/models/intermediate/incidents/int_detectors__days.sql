-- One row per watched series and UTC day: points judged and points outside the interval, the same for every detector version.
select
    series_id,
    day_at,
    max(signal) as signal,
    max(n_scored) as n_scored,
    max(n_outside_interval) as n_outside_interval
from {{ ref('fct_series_day') }}
group by series_id, day_at
