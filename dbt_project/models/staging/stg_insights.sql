-- One row per version of what a human noted.
select
    insights.insight_id,
    insights.version,
    insights.incident_id,
    {{ declared_name('insights', 'service') }} as service,
    insights.mood,
    insights.text,
    insights.origin,
    insights.confidence,
    insights.prescription,
    insights.recorded_at
from {{ source('landing', 'insights') }} as insights
{{ declared_name_joins('insights', ['service']) }}
{{ latest_version(['insights.insight_id', 'insights.version'], ['insights.recorded_at', 'insights.ingested_at']) }}
