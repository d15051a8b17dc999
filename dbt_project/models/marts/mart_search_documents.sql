-- One row per thing people search for: incidents, postmortems, insights, runbooks, action items and recommendations.
{{ config(tags=['duckdb_only']) }} -- part of the search: its branches are united by name, which Spark does in no SQL
with weighed as (
    select
        incidents.*,
        0.5 * greatest(4 - coalesce(severity_rank, 4), 0) / 3.0
        + 0.5 * percent_rank() over (order by coalesce(lost_revenue, 0) asc) as importance
    from {{ ref('mart_incidents') }} as incidents
),

notes as (
    select
        incident_id,
        {{ text_of_all('text', '. ', ['first_at asc', 'text asc']) }} as text
    from (
        select
            incident_id,
            text,
            min(occurred_at) as first_at
        from {{ ref('mart_incident_timeline') }}
        where kind = 'event'
        group by all
    )
    group by all
),

found as (
    select
        'incident' as kind,
        weighed.incident_id as entity_id,
        coalesce(weighed.title, weighed.incident_id) as title,
        concat_ws('. ', weighed.summary, candidates.rationale, notes.text) as text,
        {{ text_of_list(
            joined_lists([list_of(['weighed.trigger', 'weighed.status']), 'weighed.services_impacted', 'weighed.contributing_factors']), ' '
        ) }} as words,
        weighed.url,
        weighed.incident_id,
        weighed.service_origin as service,
        weighed.team_owner as owner_team,
        weighed.started_at as occurred_at
    from weighed
    left join {{ ref('mart_incident_candidates') }} as candidates
        on weighed.incident_id = candidates.incident_id and candidates.rank = 1
    left join notes
        on weighed.incident_id = notes.incident_id

    union all by name

    select
        'postmortem' as kind,
        postmortem_id as entity_id,
        coalesce(title, postmortem_id) as title,
        text,
        {{ text_of_list(joined_lists([list_of(['trigger', 'status']), 'contributing_factors']), ' ') }} as words,
        url,
        incident_id,
        updated_at as occurred_at
    from {{ ref('fct_postmortem') }}

    union all by name

    select
        'insight' as kind,
        insight_id as entity_id,
        text as title,
        cast(null as string) as text,
        concat_ws(' ', mood, origin) as words,
        incident_id,
        service,
        owner_team,
        recorded_at as occurred_at
    from {{ ref('mart_insights') }}

    union all by name

    select
        'action_item' as kind,
        action_item_id as entity_id,
        title,
        success_criterion as text,
        concat_ws(' ', type, status) as words,
        url,
        incident_id,
        service,
        owner_team,
        updated_at as occurred_at
    from {{ ref('mart_action_items') }}

    union all by name

    select
        'recommendation' as kind,
        recommendation_id as entity_id,
        action as title,
        concat_ws('. ', rationale, trade_offs) as text,
        coalesce(decision, 'open') as words,
        family_id,
        service,
        owner_team,
        as_of as occurred_at
    from {{ ref('mart_recommendations') }}

    union all by name

    select
        'runbook' as kind,
        runbook as entity_id,
        title,
        text,
        {{ text_of_list(joined_lists(['services', 'families', 'causes']), ' ') }} as words,
        case when {{ length_of('services') }} = 1 then {{ element('services', 1) }} end as service,
        owner_team
    from {{ ref('dim_runbook') }}
)

select
    found.kind || ':' || found.entity_id as document_id,
    found.kind,
    found.entity_id,
    coalesce(found.title, found.entity_id) as title,
    coalesce(found.text, '') as text,
    concat_ws(
        ' ', found.entity_id, found.service, found.owner_team, families.family_title, weighed.top_candidate_service, found.words
    ) as words,
    found.url,
    found.incident_id,
    coalesce(found.service, weighed.service_origin) as service,
    coalesce(found.owner_team, weighed.team_owner) as owner_team,
    coalesce(found.family_id, weighed.family_id) as family_id,
    coalesce(weighed.confirmed_candidate_id, weighed.top_candidate_id) as candidate_id,
    weighed.severity,
    coalesce(weighed.importance, 0.5) as importance,
    found.occurred_at,
    run.as_of
from found
cross join {{ ref('dim_run') }} as run
left join weighed
    on found.incident_id = weighed.incident_id
left join {{ ref('mart_families') }} as families
    on coalesce(found.family_id, weighed.family_id) = families.family_id
