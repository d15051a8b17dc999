-- One row per watched series and per alert rule of a service: does it fire, and does it fire for incidents?
with alerts as (
    select
        {{ surrogate_key(['alerts.name', 'alerts.service', 'alerts.environment', 'alerts.region']) }} as signal_id,
        any_value(alerts.name) as signal,
        any_value(alerts.service) as subject,
        any_value(alerts.environment) as environment,
        any_value(alerts.region) as region,
        count(distinct alerts.alert_id) as fired_n,
        count(distinct matched.alert_id) as matched_n,
        max(alerts.started_at) as last_fired_at
    from {{ ref('fct_alert') }} as alerts
    left join {{ ref('int_incidents__matched_alerts') }} as matched
        on alerts.alert_id = matched.alert_id
    group by signal_id
),

episodes as (
    select
        series_id,
        detector_version,
        count(*) as fired_n,
        count(incident_id) as matched_n,
        count(*) filter (where human_verdict = 'confirm') as confirmed_n,
        count(*) filter (where human_verdict = 'reject') as rejected_n,
        max(started_at) as last_fired_at
    from {{ ref('mart_anomalies') }}
    where hurts
    group by series_id, detector_version
),

signals as (
    select
        'series' as source_kind,
        health.series_id as signal_id,
        health.detector_version,
        health.signal,
        health.subject_kind,
        health.subject,
        health.environment,
        health.region,
        health.segment,
        health.status,
        health.reason,
        health.n_points,
        health.expected_points,
        coalesce(episodes.fired_n, 0) as fired_n,
        coalesce(episodes.matched_n, 0) as matched_n,
        coalesce(episodes.confirmed_n, 0) as confirmed_n,
        coalesce(episodes.rejected_n, 0) as rejected_n,
        health.last_seen_at,
        episodes.last_fired_at
    from {{ ref('fct_series_health') }} as health
    inner join {{ ref('int_detectors__versions') }} as versions
        on health.detector_version = versions.detector_version and versions.mode = 'live'
    left join episodes
        on health.series_id = episodes.series_id and health.detector_version = episodes.detector_version
    union all
    select
        'alert' as source_kind,
        signal_id,
        '' as detector_version,
        signal,
        'service' as subject_kind,
        subject,
        environment,
        region,
        '' as segment,
        'received' as status,
        cast(null as string) as reason,
        cast(null as bigint) as n_points,
        cast(null as bigint) as expected_points,
        fired_n,
        matched_n,
        cast(0 as bigint) as confirmed_n,
        cast(0 as bigint) as rejected_n,
        last_fired_at as last_seen_at,
        last_fired_at
    from alerts
)

select
    signals.source_kind,
    signals.signal_id,
    signals.detector_version,
    signals.signal,
    signals.subject_kind,
    signals.subject,
    signals.environment,
    signals.region,
    signals.segment,
    signals.status,
    signals.reason,
    signals.n_points,
    signals.expected_points,
    {{ ratio('signals.n_points', 'signals.expected_points') }} as completeness,
    signals.fired_n,
    {{ ratio('signals.fired_n', minutes_between('run.window_start', 'run.as_of') ~ ' / 10080') }} as fired_per_week,
    signals.matched_n,
    signals.fired_n - signals.matched_n as unmatched_n,
    {{ ratio('signals.matched_n', 'signals.fired_n') }} as matched_share,
    {{ wilson('signals.matched_n', 'signals.fired_n', 'low') }} as matched_share_low,
    {{ wilson('signals.matched_n', 'signals.fired_n', 'high') }} as matched_share_high,
    signals.confirmed_n,
    signals.rejected_n,
    fired.events_n,
    1 - {{ ratio('signals.fired_n', 'fired.events_n') }} as event_reduction,
    coalesce(fired.proposed_n, 0) as proposed_n,
    {{ ratio('coalesce(fired.proposed_n, 0)', 'signals.fired_n') }} as proposed_share,
    {{ wilson('coalesce(fired.proposed_n, 0)', 'signals.fired_n', 'low') }} as proposed_share_low,
    {{ wilson('coalesce(fired.proposed_n, 0)', 'signals.fired_n', 'high') }} as proposed_share_high,
    coalesce(fired.proposals_n, 0) as proposals_n,
    {{ ratio('coalesce(fired.proposed_n - fired.proposals_n, 0)', 'signals.fired_n') }} as proposal_reduction,
    coalesce(fired.proposals_matched_n, 0) as proposals_matched_n,
    {{ ratio('fired.proposals_matched_n', 'fired.proposals_n') }} as proposals_matched_share,
    {{ wilson('fired.proposals_matched_n', 'fired.proposals_n', 'low') }} as proposals_matched_share_low,
    {{ wilson('fired.proposals_matched_n', 'fired.proposals_n', 'high') }} as proposals_matched_share_high,
    signals.last_seen_at,
    signals.last_fired_at,
    run.as_of
from signals
cross join {{ ref('dim_run') }} as run
left join {{ ref('int_proposals__fired') }} as fired
    on signals.source_kind = fired.source_kind and signals.signal_id = fired.signal_id
