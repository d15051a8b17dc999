-- One row per declared runbook.
select
    runbook,
    title,
    version,
    owner_team,
    services,
    families,
    causes,
    text
from {{ ref('stg_runbooks') }}
