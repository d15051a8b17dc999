-- One row per family, kind of remedy and service it was applied to during the family's incidents.
select
    family_id,
    fix_kind,
    service,
    incidents,
    model_version,
    tried_n,
    worked_n,
    minutes_to_end_median,
    last_tried_at
from {{ source('derived', 'family_fixes') }}
