-- One row per service, store or external provider that is declared or was reported about.
select
    {{ surrogate_key(['coalesce(declared.service, observed.service)']) }} as service_key,
    coalesce(declared.service, observed.service) as service,
    coalesce(declared.kind, observed.kind) as kind,
    coalesce(declared.title, declared.service, observed.service) as title,
    coalesce(declared.team, 'unowned') as team,
    coalesce(declared.criticality, 'medium') as criticality,
    declared.runbook,
    declared.service is not null as is_declared
from {{ ref('stg_services') }} as declared
full join {{ ref('int_services__observed') }} as observed
    on declared.service = observed.service
