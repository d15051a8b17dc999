-- One row per service and kind of signal that was received from it in the window: how many rows, and the newest.
select service, 'metrics' as signal_kind, count(*) as rows_n, max(bucket_at) as last_seen_at
from {{ ref('fct_metric_point') }}
group by service
union all
select service, 'logs' as signal_kind, count(*) as rows_n, max(bucket) as last_seen_at
from {{ ref('fct_log_pattern') }}
group by service
union all
select service, 'traces' as signal_kind, count(*) as rows_n, max(bucket) as last_seen_at
from {{ ref('fct_trace_red') }}
group by service
union all
select service, 'alerts' as signal_kind, count(*) as rows_n, max(started_at) as last_seen_at
from {{ ref('fct_alert') }}
group by service
union all
select service, 'changes' as signal_kind, count(*) as rows_n, max(started_at) as last_seen_at
from {{ ref('fct_change') }}
group by service
