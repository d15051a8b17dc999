"""Prepare Airflow's metadata database in one interpreter: migrate, create the pools, store the DAGs. Run as a module.

Three separate Airflow commands would do the same in three times the time. Prints one line per problem and exits 1 when a DAG file
does not import.
"""

from __future__ import annotations

import sys

from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.models.asset import AssetDagRunQueue
from airflow.models.dagrun import DagRun
from airflow.models.pool import Pool
from airflow.models.taskinstance import TaskInstance
from airflow.utils.db import upgradedb
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from sqlalchemy import delete, update

from aftercast.assets import WRITER_POOL


def forget_interrupted_runs() -> None:
    """Fail what a killed run left unfinished, so that it neither blocks nor surprises the next one."""
    with create_session() as session:
        session.execute(delete(AssetDagRunQueue))
        session.execute(
            update(TaskInstance)
            .where(TaskInstance.state.in_([TaskInstanceState.RUNNING, TaskInstanceState.QUEUED, TaskInstanceState.SCHEDULED]))
            .values(state=TaskInstanceState.FAILED)
        )
        session.execute(update(DagRun).where(DagRun.state.in_([DagRunState.RUNNING, DagRunState.QUEUED])).values(state=DagRunState.FAILED))


def store_dags() -> dict[str, str]:
    """Serialise every DAG of every bundle; return import errors by file."""
    manager = DagBundlesManager()
    errors: dict[str, str] = {}
    with create_session() as session:
        manager.sync_bundles_to_db(session=session)
        session.commit()
        for bundle in manager.get_all_dag_bundles():
            bundle.initialize()
            bag = BundleDagBag(bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
            errors |= dict(bag.import_errors)
            sync_bag_to_db(bag, bundle.name, bundle_version=None, session=session)
    return errors


def main() -> int:
    upgradedb()
    Pool.create_or_update_pool(WRITER_POOL, 1, "The one task at a time that may touch the warehouse.", False)
    forget_interrupted_runs()
    errors = store_dags()
    for file, error in errors.items():
        print(f"{file} does not import:\n{error}", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
