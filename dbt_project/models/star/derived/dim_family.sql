-- One row per family of incidents.
select
    {{ surrogate_key(['family_id']) }} as family_key,
    family_id,
    min(family_title) as family_title,
    max(clustering_version) as clustering_version
from {{ source('derived', 'families') }}
group by family_id
