-- One row per service, environment, region, operation, event and bucket, the version received last.
select
    {{ declared_name('events', 'service') }} as service,
    {{ declared_name('events', 'environment') }} as environment,
    {{ declared_name('events', 'region') }} as region,
    events.operation,
    events.event,
    events.count,
    events.bucket
from {{ source('landing', 'span_events') }} as events
{{ declared_name_joins('events', ['service', 'environment', 'region']) }}
{{ latest_version(
    [
        declared_name('events', 'service'), declared_name('events', 'environment'), declared_name('events', 'region'),
        'events.operation', 'events.event', 'events.bucket',
    ],
    ['events.ingested_at'],
) }}
