"""Give action items their tickets, comments and reminders outside, each once, when a new mart has been published.

There is no such DAG before `config/actions.yml` declares a tracker or a channel, and nothing is sent before its row says `live: true`:
until then the outbox tells what would be. `aftercast actions` shows what is open, overdue, incomplete and about to be sent.

**When it is red.** Everything that could be done was done; the message names the rest by key. `planned` and `sending` heal by themselves:
the task asks whether a thing is there before it tries again, so clearing it sends nothing twice. `failed` was refused: mend what the
message names (a right, a field, an address). `unsure` may have arrived where nobody can be asked: look there, then
`aftercast outbox settle KEY sent` or `again`. The mart is not touched. See docs/runbooks/sync_actions.md.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, task

from aftercast.assets import MART, ON_WAREHOUSE
from aftercast.settings import Settings

actions = Settings.from_environment().deployment.actions

if actions.trackers or actions.channels:
    with DAG(
        dag_id="sync_actions",
        schedule=[MART],
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        doc_md=__doc__,
        tags=["learning"],
    ):

        @task(retries=3, retry_delay=timedelta(minutes=6), **ON_WAREHOUSE)
        def sync() -> dict[str, int]:
            from aftercast.steps import actions

            return actions.sync_actions(datetime.now(UTC))

        sync()
