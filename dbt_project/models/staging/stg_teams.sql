-- One row per team.
select
    team,
    title,
    channel
from {{ source('declared', 'teams') }}
