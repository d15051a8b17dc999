-- One row per source, entity and window extracted.
select
    source,
    entity,
    expected,
    received,
    rejected,
    duplicate,
    late,
    landed,
    reasons,
    window_start,
    window_end,
    watermark
from {{ source('landing', 'coverage') }}
qualify row_number() over (partition by source, entity, window_start, window_end order by watermark desc nulls last, received desc) = 1
