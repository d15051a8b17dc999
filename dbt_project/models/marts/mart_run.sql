-- One row: what this build is a function of, and how much it holds.
with versions as (
    select 'detection' as analysis, model_version as version from {{ ref('fct_series_health') }}
    union
    select 'candidates' as analysis, model_version as version from {{ ref('fct_incident_candidate') }}
    union
    select 'families' as analysis, model_version as version from {{ ref('fct_family_membership') }}
    union
    select 'impact' as analysis, model_version as version from {{ ref('fct_incident_impact') }}
    union
    select 'fixes' as analysis, model_version as version from {{ ref('fct_intervention_effect') }}
    union
    select 'recommendations' as analysis, model_version as version from {{ ref('fct_recommendation') }}
),

model_versions as (
    select {{ text_of_all("analysis || ' ' || version", ', ', ['analysis', 'version']) }} as model_versions
    from versions
    where version is not null
)

select
    run.company,
    run.code_version,
    run.configuration_fingerprint,
    run.landing_fingerprint,
    model_versions.model_versions,
    (select count(*) from {{ ref('fct_incident') }}) as incidents_n,
    (select count(*) from {{ ref('fct_change') }}) as changes_n,
    (select count(*) from {{ ref('fct_alert') }}) as alerts_n,
    (select count(*) from {{ ref('fct_anomaly') }}) as anomalies_n,
    (select count(*) from {{ ref('fct_metric_point') }}) as metric_points_n,
    (select count(*) from {{ ref('fct_kpi_point') }}) as kpi_points_n,
    run.window_start,
    run.as_of
from {{ ref('dim_run') }} as run
cross join model_versions
