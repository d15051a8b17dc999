-- One row per incident and service it names, in the order named.
with named_services as (
    select
        incident_id,
        {{ each_with_position('services', 'service', 'position') }}
    from {{ ref('stg_incidents') }}
)

select
    named_services.incident_id,
    {{ declared_name('named_services', 'service') }} as service,
    min(named_services.position) as position
from named_services
{{ declared_name_joins('named_services', ['service']) }}
where named_services.service <> ''
group by 1, 2
