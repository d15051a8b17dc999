-- One row per incident that had begun, with whether it is over and when its effect on customers ended.
-- An incident that was closed without a time of resolution is taken to have ended when its source last touched it.
with incidents as (
    select
        incidents.*,
        run.as_of,
        incidents.resolved_at is null and incidents.status not in ('resolved', 'closed', 'cancelled') as is_open
    from {{ ref('stg_incidents') }} as incidents
    cross join {{ ref('stg_run') }} as run
    where incidents.started_at < run.as_of
)

select
    {{ all_but(['as_of']) }},
    greatest(
        started_at,
        coalesce(mitigated_at, resolved_at, case when is_open then as_of else least(updated_at, as_of) end)
    ) as impact_end_at,
    mode <> 'real' or status = 'cancelled' as exclude_from_metrics
from incidents
