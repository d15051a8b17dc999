-- One row per declared team.
select
    team,
    coalesce(title, team) as title,
    channel
from {{ ref('stg_teams') }}
