-- One row per ISO week in which anything of the learning loop happened.
with weeks as (
    select
        cast(date_trunc('week', {{ bucket('happened_at', 1440) }}) as date) as week_start,
        count(*) filter (where kind = 'incident') as incidents_n,
        count(*) filter (where kind = 'major_incident') as major_incidents_n,
        count(*) filter (where kind = 'incident_with_postmortem') as incidents_with_postmortem_n,
        count(*) filter (where kind = 'incident_reviewed') as incidents_reviewed_n,
        count(*) filter (where kind = 'action_created') as actions_created_n,
        count(*) filter (where kind = 'action_done') as actions_done_n,
        count(value) filter (where kind = 'action_done') as days_to_done_n,
        median(value) filter (where kind = 'action_done') as days_to_done_median,
        count(*) filter (where kind = 'action_implemented') as actions_implemented_n,
        count(*) filter (where kind = 'action_verified') as actions_verified_n,
        count(value) filter (where kind = 'action_verified') as days_to_verified_n,
        median(value) filter (where kind = 'action_verified') as days_to_verified_median,
        count(*) filter (where kind = 'insight') as insights_n,
        median(value) filter (where kind = 'insight') as insight_quality_median,
        count(*) filter (where kind = 'prescriptive_insight') as insights_prescriptive_n,
        count(*) filter (where kind = 'verdict') as verdicts_n
    from {{ ref('int_learning__dated') }}
    group by week_start
)

select
    weeks.week_start,
    weeks.incidents_n,
    weeks.major_incidents_n,
    weeks.incidents_with_postmortem_n,
    {{ ratio('weeks.incidents_with_postmortem_n', 'weeks.incidents_n') }} as postmortem_share,
    {{ wilson('weeks.incidents_with_postmortem_n', 'weeks.incidents_n', 'low') }} as postmortem_share_low,
    {{ wilson('weeks.incidents_with_postmortem_n', 'weeks.incidents_n', 'high') }} as postmortem_share_high,
    weeks.incidents_reviewed_n,
    weeks.actions_created_n,
    weeks.actions_done_n,
    cast(sum(weeks.actions_created_n - weeks.actions_done_n) over (order by weeks.week_start) as bigint) as actions_backlog_n,
    weeks.days_to_done_n,
    weeks.days_to_done_median,
    weeks.actions_implemented_n,
    {{ ratio('weeks.actions_implemented_n', 'weeks.actions_created_n') }} as implemented_share,
    {{ wilson('weeks.actions_implemented_n', 'weeks.actions_created_n', 'low') }} as implemented_share_low,
    {{ wilson('weeks.actions_implemented_n', 'weeks.actions_created_n', 'high') }} as implemented_share_high,
    weeks.actions_verified_n,
    weeks.days_to_verified_n,
    weeks.days_to_verified_median,
    weeks.insights_n,
    weeks.insights_prescriptive_n,
    weeks.insight_quality_median,
    weeks.verdicts_n,
    cast(weeks.week_start + 7 as {{ moment_type() }}) <= run.as_of as is_complete_week,
    run.as_of
from weeks
cross join {{ ref('dim_run') }} as run
