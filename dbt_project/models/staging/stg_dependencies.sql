-- One row per declared caller and callee.
select distinct
    coalesce(caller_names.name, dependencies.caller) as caller,
    coalesce(callee_names.name, dependencies.callee) as callee
from {{ source('declared', 'dependencies') }} as dependencies
left join {{ ref('stg_aliases') }} as caller_names
    on caller_names.kind = 'service' and dependencies.caller = caller_names.alias
left join {{ ref('stg_aliases') }} as callee_names
    on callee_names.kind = 'service' and dependencies.callee = callee_names.alias
