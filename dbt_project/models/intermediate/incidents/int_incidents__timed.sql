-- One row per incident with its durations in minutes. A duration that would be negative is unknown, and flagged.
-- The end of impact is when it was mitigated, else resolved. Where neither is known the incident is censored: it lasted at least this long.
with timed as (
    select
        incidents.*,
        severities.severity_rank,
        coalesce(severities.is_major, false) as is_major,
        methods.is_found_by_us,
        coalesce(incidents.mitigated_at, incidents.resolved_at) as ended_at,
        {{ minutes_between('incidents.started_at', 'incidents.detected_at') }} as to_detect,
        {{ minutes_between('incidents.detected_at', 'incidents.acknowledged_at') }} as to_acknowledge,
        {{ minutes_between('incidents.started_at', 'coalesce(incidents.mitigated_at, incidents.resolved_at)') }} as to_mitigate,
        {{ minutes_between(
            'coalesce(incidents.declared_at, incidents.detected_at, incidents.started_at)', 'incidents.resolved_at'
        ) }} as to_resolve
    from {{ ref('fct_incident') }} as incidents
    left join {{ ref('severities') }} as severities
        on incidents.severity = severities.severity
    left join {{ ref('detection_methods') }} as methods
        on incidents.detection_method = methods.detection_method
)

select
    timed.*,
    run.as_of,
    case when timed.to_detect >= 0 then timed.to_detect end as t_detect_minutes,
    case when timed.to_acknowledge >= 0 then timed.to_acknowledge end as t_acknowledge_minutes,
    case when timed.to_mitigate >= 0 then timed.to_mitigate end as t_mitigate_minutes,
    case when timed.to_resolve >= 0 then timed.to_resolve end as t_resolve_minutes,
    {{ minutes_between('timed.started_at', 'timed.impact_end_at') }} as impact_minutes,
    case when timed.is_open then {{ minutes_between('timed.started_at', 'run.as_of') }} end as age_minutes,
    timed.ended_at is null as is_censored,
    nullif(concat_ws(
        ', ',
        case when timed.detected_at is null then 'detected_unknown' end,
        case when timed.to_detect < 0 then 'detected_before_start' end,
        case when timed.to_acknowledge < 0 then 'acknowledged_before_detected' end,
        case when timed.to_mitigate < 0 then 'ended_before_start' end,
        case when timed.to_resolve < 0 then 'resolved_before_declared' end,
        case when timed.ended_at is null and not timed.is_open then 'end_unknown' end,
        case when timed.service_origin is null then 'no_service_named' end
    ), '') as dq_flags
from timed
cross join {{ ref('dim_run') }} as run
