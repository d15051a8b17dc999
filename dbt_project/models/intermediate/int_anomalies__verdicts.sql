-- One row per episode (of any detector version) that a human judged, with the newest verdict.
-- A verdict names a moment of a series, so that it holds for every version: `<series_id>@<time>` is the alarm at that time, one bucket
-- more or less; `<series_id>@<from>/<until>` is every alarm that peaked in that span; the id of an episode is the alarm of its direction
-- at its peak.
-- Reads the derived files, not fct_anomaly: the tuning proposals need it as soon as detection has written them.
with judged as (
    select
        verdict_id,
        verdict,
        decided_at,
        subject_id,
        regexp_extract(subject_id, '^(.+)@[^@]+$', 1) as series_id,
        {{ split("regexp_extract(subject_id, '^.+@([^@]+)$', 1)", '/') }} as times
    from {{ ref('fct_verdict') }}
    where subject_kind = 'anomaly'
),

episodes as (
    select
        anomalies.anomaly_id,
        anomalies.series_id,
        anomalies.direction,
        anomalies.started_at,
        coalesce(anomalies.peak_at, anomalies.started_at) as peak_at,
        greatest(coalesce(anomalies.ended_at, run.as_of), anomalies.alarmed_at) as ended_at,
        {{ minutes('coalesce(signals.grain_minutes, 5)') }} as bucket
    from {{ source('derived', 'anomalies') }} as anomalies
    cross join {{ ref('dim_run') }} as run
    left join {{ ref('dim_signal') }} as signals
        on anomalies.signal = signals.signal
),

moments as (
    select
        verdict_id,
        verdict,
        decided_at,
        series_id,
        cast(null as string) as direction,
        try_cast({{ element('times', 1) }} as {{ moment_type() }}) as judged_from,
        try_cast({{ element('times', 2) }} as {{ moment_type() }}) as judged_until,
        {{ length_of('times') }} = 2 as is_span
    from judged
    where {{ length_of('times') }} between 1 and 2
    union all
    select
        judged.verdict_id,
        judged.verdict,
        judged.decided_at,
        episodes.series_id,
        episodes.direction,
        episodes.peak_at as judged_from,
        cast(null as {{ moment_type() }}) as judged_until,
        false as is_span
    from judged
    inner join episodes
        on judged.subject_id = episodes.anomaly_id
)

select
    episodes.anomaly_id,
    moments.verdict_id,
    moments.verdict,
    moments.decided_at
from moments
inner join episodes
    on moments.series_id = episodes.series_id
where
    (moments.direction is null or moments.direction = episodes.direction)
    and case
        when moments.is_span then moments.judged_from <= episodes.peak_at and episodes.peak_at < moments.judged_until
        else moments.judged_from between episodes.started_at - episodes.bucket and episodes.ended_at + episodes.bucket
    end
qualify row_number() over (partition by episodes.anomaly_id order by moments.decided_at desc, moments.verdict_id asc) = 1
