-- One row per environment, service and ISO week in which something was deployed. Every deployment counts once, 0 or 1.
with deployments as (
    select
        changes.*,
        cast(date_trunc('week', {{ bucket('changes.started_at', 1440) }}) as date) as week_start,
        fixes.change_id is not null as is_fix,
        case when changes.committed_at <= changes.finished_at then {{ minutes_between('changes.committed_at', 'changes.finished_at') }} end
            as lead_time_minutes
    from {{ ref('int_changes__with_outcome') }} as changes
    left join (
        select distinct shipped_change_id as change_id
        from {{ ref('fct_action_item') }}
        where type in ('mitigate', 'repair') and shipped_change_id is not null
    ) as fixes
        on changes.change_id = fixes.change_id
    where changes.is_counted_deployment or (changes.is_rollback and changes.result not in ('failure', 'aborted'))
),

recoveries as (
    select
        deployments.environment,
        deployments.service,
        deployments.week_start,
        count(*) as recovery_n,
        count(*) filter (where incidents.is_censored) as recovery_open_n,
        median(coalesce(incidents.t_mitigate_minutes, case when incidents.is_censored then 1e15 end)) as recovery_median
    from deployments
    inner join {{ ref('mart_incidents') }} as incidents
        on
            deployments.change_id = incidents.top_candidate_id
            and incidents.top_candidate_kind = 'change'
            and (incidents.top_candidate_probability > 0.5 or coalesce(incidents.top_candidate_confirmed, false))
            and coalesce(incidents.top_candidate_confirmed, true)
            and not incidents.exclude_from_metrics
    where deployments.is_counted_deployment
    group by deployments.environment, deployments.service, deployments.week_start
),

weeks as (
    select
        environment,
        service,
        week_start,
        count(*) filter (where is_counted_deployment) as deployments_n,
        count(*) filter (where is_counted_deployment and is_failed) as failed_deployments_n,
        count(*) filter (where is_rollback) as rollbacks_n,
        count(*) filter (where is_rollback or is_fix) as rework_n,
        count(*) as shipped_n,
        count(lead_time_minutes) filter (where is_counted_deployment) as lead_time_n,
        median(lead_time_minutes) filter (where is_counted_deployment) as lead_time_minutes_median
    from deployments
    group by environment, service, week_start
)

select
    weeks.environment,
    weeks.service,
    services.team as team_owner,
    weeks.week_start,
    weeks.deployments_n,
    weeks.failed_deployments_n,
    {{ ratio('weeks.failed_deployments_n', 'weeks.deployments_n') }} as change_fail_rate,
    {{ wilson('weeks.failed_deployments_n', 'weeks.deployments_n', 'low') }} as change_fail_rate_low,
    {{ wilson('weeks.failed_deployments_n', 'weeks.deployments_n', 'high') }} as change_fail_rate_high,
    weeks.rollbacks_n,
    weeks.rework_n,
    weeks.shipped_n,
    {{ ratio('weeks.rework_n', 'weeks.shipped_n') }} as rework_rate,
    coalesce(recoveries.recovery_n, 0) as recovery_n,
    coalesce(recoveries.recovery_open_n, 0) as recovery_open_n,
    case when recoveries.recovery_median < 1e14 then recoveries.recovery_median end as recovery_minutes_median,
    weeks.lead_time_n,
    weeks.lead_time_minutes_median,
    cast(weeks.week_start + 7 as {{ moment_type() }}) <= run.as_of and cast(weeks.week_start as {{ moment_type() }}) >= run.window_start
        as is_complete_week,
    run.as_of
from weeks
cross join {{ ref('dim_run') }} as run
left join {{ ref('dim_service') }} as services
    on weeks.service = services.service
left join recoveries
    on
        weeks.environment = recoveries.environment
        and weeks.service = recoveries.service
        and weeks.week_start = recoveries.week_start
