-- One row per kind and name that somebody declared: the catalogue, the journeys, both sides of an alias, and the four usual environments.
select
    'service' as kind,
    service as name
from {{ ref('stg_services') }}
union
select
    'journey' as kind,
    journey as name
from {{ ref('stg_journeys') }}
union
select
    kind,
    {{ each_of(list_of(['alias', 'name'])) }} as name
from {{ ref('stg_aliases') }}
union
select
    'environment' as kind,
    {{ each_of(list_of(["'production'", "'staging'", "'test'", "'development'"])) }} as name
