-- One row per detector version and context: alarms, what humans said of them, and incidents noticed.
with episodes as (
    select
        detector_version,
        signal,
        subject_kind,
        subject,
        count(*) as episodes_n,
        count(*) filter (where hurts) as hurting_n,
        count(*) filter (where hurts and is_matched) as matched_n,
        count(*) filter (where hurts and verdict = 'confirm') as confirmed_n,
        count(*) filter (where hurts and verdict = 'reject') as rejected_n
    from {{ ref('int_detectors__alarms') }}
    group by detector_version, signal, subject_kind, subject
),

incidents as (
    select
        detector_version,
        signal,
        subject_kind,
        subject,
        count(*) as incidents_in_scope_n,
        count(*) filter (where not is_judged) as incidents_unjudged_n,
        count(*) filter (where is_matched) as incidents_matched_n,
        count(*) filter (where is_caught) as incidents_caught_n
    from {{ ref('int_detectors__incidents') }}
    group by detector_version, signal, subject_kind, subject
)

select
    versions.detector_version,
    versions.mode,
    versions.since,
    exposure.signal,
    exposure.subject_kind,
    exposure.subject,
    exposure.series_n,
    exposure.series_scored_n,
    exposure.points_scored_n,
    exposure.points_outside_n,
    exposure.days_scored_n / 7e0 as series_weeks,
    coalesce(episodes.episodes_n, 0) as episodes_n,
    coalesce(episodes.hurting_n, 0) as hurting_n,
    coalesce(episodes.matched_n, 0) as matched_n,
    coalesce(episodes.confirmed_n, 0) as confirmed_n,
    coalesce(episodes.rejected_n, 0) as rejected_n,
    coalesce(episodes.confirmed_n, 0) + coalesce(episodes.rejected_n, 0) as verdicts_n,
    coalesce(incidents.incidents_in_scope_n, 0) as incidents_in_scope_n,
    coalesce(incidents.incidents_unjudged_n, 0) as incidents_unjudged_n,
    coalesce(incidents.incidents_matched_n, 0) as incidents_matched_n,
    coalesce(incidents.incidents_caught_n, 0) as incidents_caught_n,
    coalesce(leads.lead_known_n, 0) as lead_known_n,
    leads.lead_minutes_median,
    leads.lead_minutes_low,
    leads.lead_minutes_high
from {{ ref('int_detectors__versions') }} as versions
cross join {{ ref('int_detectors__exposure') }} as exposure
left join episodes
    on
        versions.detector_version = episodes.detector_version
        and exposure.signal = episodes.signal
        and exposure.subject_kind = episodes.subject_kind
        and exposure.subject = episodes.subject
left join incidents
    on
        versions.detector_version = incidents.detector_version
        and exposure.signal = incidents.signal
        and exposure.subject_kind = incidents.subject_kind
        and exposure.subject = incidents.subject
left join {{ ref('int_detectors__lead_times') }} as leads
    on
        versions.detector_version = leads.detector_version
        and exposure.signal = leads.signal
        and exposure.subject_kind = leads.subject_kind
        and exposure.subject = leads.subject
