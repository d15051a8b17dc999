-- One row per watched series and context it belongs to: everything (signal ''), its signal (subject ''), its signal and subject.
select
    watched.series_id,
    case when levels.level >= 1 then watched.signal else '' end as signal,
    case when levels.level = 2 then watched.subject_kind else '' end as subject_kind,
    case when levels.level = 2 then watched.subject else '' end as subject
from {{ ref('int_detectors__watched') }} as watched
cross join (select {{ each_of(list_of([0, 1, 2])) }} as level) as levels
