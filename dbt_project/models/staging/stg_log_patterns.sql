-- One row per service, environment, region, bucket and log pattern, the version received last.
select
    {{ declared_name('patterns', 'service') }} as service,
    {{ declared_name('patterns', 'environment') }} as environment,
    {{ declared_name('patterns', 'region') }} as region,
    patterns.pattern,
    patterns.severity,
    patterns.sample,
    patterns.trace_ids,
    patterns.count,
    patterns.bucket
from {{ source('landing', 'log_patterns') }} as patterns
{{ declared_name_joins('patterns', ['service', 'environment', 'region']) }}
{{ latest_version(
    [
        declared_name('patterns', 'service'), declared_name('patterns', 'environment'), declared_name('patterns', 'region'),
        'patterns.bucket', 'patterns.pattern',
    ],
    ['patterns.ingested_at'],
) }}
