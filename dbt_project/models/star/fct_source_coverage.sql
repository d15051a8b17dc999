-- One row per source, entity and window extracted.
select
    source,
    entity,
    window_start,
    window_end,
    expected,
    received,
    rejected,
    duplicate,
    late,
    landed,
    watermark,
    reasons,
    {{ ratio('received', 'expected') }} as coverage_ratio
from {{ ref('stg_coverage') }}
