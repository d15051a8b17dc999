"""Draft the postmortems of incidents that are over and have none, whenever a new mart has been published.

A draft is made of mart rows alone and lies in the folder of postmortems (`config/postmortems.yml`); what people edited is left alone, and a
newer draft is put beside it. The same mart gives the same draft, so running it again changes nothing.

**When it is red.** No draft was lost or overwritten. `QualityError`: a draft would have claimed what no row shows; the message names the
lines, and it is a bug. `ReviewConflict`: the folder cannot be written. A file whose front matter cannot be read is a warning in the log,
with file and line; `aftercast postmortems` lists it too. Clear the task after mending the cause. See docs/runbooks/draft_postmortems.md.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, task

from aftercast.assets import MART, ON_WAREHOUSE

with DAG(
    dag_id="draft_postmortems",
    schedule=[MART],
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["postmortems"],
):

    @task(retries=1, retry_delay=timedelta(seconds=20), **ON_WAREHOUSE)
    def draft(dag_run: Any = None) -> dict[str, int]:
        from aftercast.steps import postmortems

        return postmortems.draft_postmortems(dag_run.run_after)

    draft()
