-- One row per service, environment, region, operation, peer and bucket, the version received last.
select
    {{ declared_name('spans', 'service') }} as service,
    {{ declared_name('spans', 'environment') }} as environment,
    {{ declared_name('spans', 'region') }} as region,
    spans.operation,
    coalesce(peer_names.name, spans.peer, '') as peer,
    spans.count,
    spans.errors,
    spans.p50_ms,
    spans.p95_ms,
    spans.p99_ms,
    spans.own_p50_ms,
    spans.own_p95_ms,
    spans.bucket
from {{ source('landing', 'spans_red') }} as spans
{{ declared_name_joins('spans', ['service', 'environment', 'region']) }}
left join {{ ref('stg_aliases') }} as peer_names
    on peer_names.kind = 'service' and spans.peer = peer_names.alias
{{ latest_version(
    [
        declared_name('spans', 'service'), declared_name('spans', 'environment'), declared_name('spans', 'region'),
        'spans.operation', "coalesce(peer_names.name, spans.peer, '')", 'spans.bucket',
    ],
    ['spans.ingested_at'],
) }}
