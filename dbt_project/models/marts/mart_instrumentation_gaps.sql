-- One row per service of ours and kind of signal: whether it is heard, and which incidents nothing announced.
with kinds as (
    select {{ each_of(list_of(["'metrics'", "'logs'", "'traces'", "'alerts'", "'changes'"])) }} as signal_kind
),

incidents as (
    select
        services.service,
        count(*) as incidents_n,
        count(*) filter (where signals.incident_id is null) as incidents_without_signal_n
    from {{ ref('bridge_incident_service') }} as services
    inner join {{ ref('fct_incident') }} as incidents
        on services.incident_id = incidents.incident_id
    left join {{ ref('int_incidents__signals') }} as signals
        on services.incident_id = signals.incident_id
    where not incidents.exclude_from_metrics
    group by services.service
)

select
    services.service,
    kinds.signal_kind,
    services.team as owner_team,
    services.criticality,
    case
        when heard.service is null then 'missing'
        when
            kinds.signal_kind in ('metrics', 'logs', 'traces')
            and heard.last_seen_at < run.as_of - interval '1 day'
            then 'silent'
        else 'heard'
    end as status,
    coalesce(heard.rows_n, 0) as rows_n,
    heard.last_seen_at,
    coalesce(incidents.incidents_n, 0) as incidents_n,
    coalesce(incidents.incidents_without_signal_n, 0) as incidents_without_signal_n,
    {{ ratio('incidents.incidents_without_signal_n', 'incidents.incidents_n') }} as without_signal_share,
    {{ wilson('incidents.incidents_without_signal_n', 'incidents.incidents_n', 'low') }} as without_signal_share_low,
    {{ wilson('incidents.incidents_without_signal_n', 'incidents.incidents_n', 'high') }} as without_signal_share_high,
    run.as_of
from {{ ref('dim_service') }} as services
cross join kinds
cross join {{ ref('dim_run') }} as run
left join {{ ref('int_services__heard') }} as heard
    on services.service = heard.service and kinds.signal_kind = heard.signal_kind
left join incidents
    on services.service = incidents.service
where services.kind <> 'provider'
