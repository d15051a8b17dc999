-- One row per change: a finished version before an unfinished one, then the version received last.
select
    changes.change_id,
    changes.kind,
    {{ declared_name('changes', 'service') }} as service,
    {{ declared_name('changes', 'environment') }} as environment,
    {{ declared_name('changes', 'region') }} as region,
    changes.title,
    changes.result,
    changes.version,
    changes.previous_version,
    changes.url,
    changes.attributes,
    coalesce(changes.planned, false) as planned,
    changes.started_at,
    changes.finished_at,
    changes.committed_at
from {{ source('landing', 'changes') }} as changes
{{ declared_name_joins('changes', ['service', 'environment', 'region']) }}
{{ latest_version(['changes.change_id'], ['changes.finished_at is not null', 'changes.ingested_at']) }}
