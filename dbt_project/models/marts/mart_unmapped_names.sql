-- One row per name of a service, environment, region or journey that landed and that nobody declared or aliased.
-- Regions are judged only where somebody declared one: else there is nothing to compare them with.
{{ config(tags=['duckdb_only']) }} -- Spark has no Jaro-Winkler likeness
with declared_regions as (
    select count(*) as n
    from {{ ref('int_names__declared') }}
    where kind = 'region'
),

unmapped as (
    select
        observed.kind,
        observed.name,
        {{ text_of_all('observed.seen_in', ', ', ['observed.seen_in']) }} as seen_in,
        cast(sum(observed.n) as bigint) as rows_n,
        min(observed.first_seen_at) as first_seen_at,
        max(observed.last_seen_at) as last_seen_at
    from {{ ref('int_names__observed') }} as observed
    left join {{ ref('int_names__declared') }} as declared
        on observed.kind = declared.kind and observed.name = declared.name
    cross join declared_regions
    where declared.name is null and (observed.kind <> 'region' or declared_regions.n > 0)
    group by observed.kind, observed.name
),

likeness as (
    select
        unmapped.kind,
        unmapped.name,
        max_by(declared.name, (jaro_winkler_similarity(lower(unmapped.name), lower(declared.name)), declared.name)) as nearest_name
    from unmapped
    inner join {{ ref('int_names__declared') }} as declared
        on
            unmapped.kind = declared.kind
            and jaro_winkler_similarity(lower(unmapped.name), lower(declared.name)) >= 0.85
    group by unmapped.kind, unmapped.name
)

select
    unmapped.kind,
    unmapped.name,
    unmapped.seen_in,
    likeness.nearest_name,
    unmapped.rows_n,
    unmapped.first_seen_at,
    unmapped.last_seen_at,
    run.as_of
from unmapped
left join likeness
    on unmapped.kind = likeness.kind and unmapped.name = likeness.name
cross join {{ ref('dim_run') }} as run
