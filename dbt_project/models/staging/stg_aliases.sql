-- One row per kind and alias. A name declared twice keeps the first in alphabetical order.
select
    kind,
    alias,
    min(name) as name
from {{ source('declared', 'aliases') }}
group by kind, alias
