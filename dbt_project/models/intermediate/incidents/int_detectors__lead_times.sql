-- One row per detector version and context with a known lead time: the median, and its 95 % interval from the order of the values.
-- The interval runs from the r-th smallest to the r-th largest value, r the largest with P(Binomial(n, 1/2) < r) <= 2.5 %: that needs six.
with known as (
    select
        detector_version,
        signal,
        subject_kind,
        subject,
        lead_minutes,
        row_number() over (
            partition by detector_version, signal, subject_kind, subject order by lead_minutes asc, incident_id asc
        ) as place,
        count(*) over (partition by detector_version, signal, subject_kind, subject) as n
    from {{ ref('int_detectors__incidents') }}
    where lead_minutes is not null
),

chances as (
    select
        n,
        {{ each_number(0, 'n') }} as k
    from (select distinct n from known) as sizes
),

ranks as (
    select
        n,
        count(*) filter (where below <= 0.025) as r
    from (
        select
            n,
            sum(exp({{ log_binomial('n', 'k', '0.5') }})) over (partition by n order by k) as below
        from chances
    ) as cumulated
    group by n
)

select
    known.detector_version,
    known.signal,
    known.subject_kind,
    known.subject,
    max(known.n) as lead_known_n,
    median(known.lead_minutes) as lead_minutes_median,
    max(case when known.place = ranks.r then known.lead_minutes end) as lead_minutes_low,
    max(case when known.place = known.n + 1 - ranks.r then known.lead_minutes end) as lead_minutes_high
from known
inner join ranks
    on known.n = ranks.n
group by known.detector_version, known.signal, known.subject_kind, known.subject
