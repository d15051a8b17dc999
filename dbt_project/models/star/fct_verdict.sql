-- One row per verdict, as its newest version says.
select
    verdict_id,
    incident_id,
    subject_kind,
    subject_id,
    verdict,
    decided_at,
    confidence
from {{ ref('stg_verdicts') }}
where decided_at < (select max(run.as_of) from {{ ref('stg_run') }} as run)
qualify row_number() over (partition by verdict_id order by version desc) = 1
