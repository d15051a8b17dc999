-- One row per declared service, store or external provider.
select
    service,
    kind,
    title,
    team,
    criticality,
    runbook
from {{ source('declared', 'services') }}
