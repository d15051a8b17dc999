-- One row per environment and service: what depends on it and what it depends on.
select
    environment,
    service,
    basis,
    model_version,
    dependents,
    dependencies,
    journeys,
    journeys_carried,
    n_direct_dependents,
    within_hops,
    in_cycle
from {{ source('derived', 'blast_radius') }}
