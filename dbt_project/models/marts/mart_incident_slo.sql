-- One row per incident and service level objective of a journey it hit: the error budget it ate.
select
    eaten.incident_id,
    eaten.slo,
    slos.title,
    slos.method,
    slos.window_kind,
    slos.target,
    eaten.minutes_n,
    eaten.units,
    eaten.bad_units,
    eaten.usual_bad_units,
    case when eaten.enough_traffic then eaten.budget_share end as budget_share,
    case when eaten.enough_traffic then eaten.budget_share_beyond_usual end as budget_share_beyond_usual,
    case when eaten.enough_traffic then 'measured' else 'not_enough_traffic' end as status,
    eaten.is_shared,
    eaten.window_days_n,
    run.as_of
from {{ ref('int_incidents__slos') }} as eaten
cross join {{ ref('dim_run') }} as run
inner join {{ ref('dim_slo') }} as slos
    on eaten.slo = slos.slo
