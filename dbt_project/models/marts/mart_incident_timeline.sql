-- One row per thing that happened around an incident, in order. Alerts of one rule are one entry with their number.
select
    {{ surrogate_key(['entries.incident_id', 'entries.kind', 'entries.subject_id', microseconds_of('entries.occurred_at')]) }} as entry_id,
    entries.incident_id,
    row_number() over (
        partition by entries.incident_id
        order by entries.occurred_at asc, entries.kind_order asc, entries.kind asc, entries.subject_id asc
    ) as position,
    entries.kind,
    entries.subject_id,
    entries.text,
    {{ minutes_between('incidents.started_at', 'entries.occurred_at') }} as minutes_from_start,
    entries.occurred_at,
    entries.recorded_at,
    run.as_of
from {{ ref('int_incidents__timeline_entries') }} as entries
inner join {{ ref('fct_incident') }} as incidents
    on entries.incident_id = incidents.incident_id
cross join {{ ref('dim_run') }} as run
