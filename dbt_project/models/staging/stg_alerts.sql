-- One row per alert episode: an ended version before an open one, then the version received last.
select
    {{ surrogate_key(['alerts.fingerprint', microseconds_of('alerts.started_at')]) }} as alert_id,
    alerts.fingerprint,
    alerts.name,
    {{ declared_name('alerts', 'service') }} as service,
    {{ declared_name('alerts', 'environment') }} as environment,
    {{ declared_name('alerts', 'region') }} as region,
    alerts.severity,
    count(*) over (partition by alerts.fingerprint, alerts.started_at) as events_n,
    coalesce(alerts.suppressed, false) as is_suppressed,
    alerts.started_at,
    alerts.ended_at
from {{ source('landing', 'alerts') }} as alerts
{{ declared_name_joins('alerts', ['service', 'environment', 'region']) }}
{{ latest_version(['alerts.fingerprint', 'alerts.started_at'], ['alerts.ended_at is not null', 'alerts.ingested_at']) }}
