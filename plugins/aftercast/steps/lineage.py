"""Which tables a task reads and writes, and what dbt built from what, as OpenLineage says it; asked only where lineage is sent somewhere.

Names are those dbt gives its own: a table of the warehouse is `warehouse.<schema>.<table>` in the namespace `duckdb://<file>`, landed and
derived files stand under the schemas dbt reads them by. So what extracts land, what models make of it and what is published hang together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aftercast.analyses import DERIVED
from aftercast.settings import Settings

DBT_TASKS = ("stage", "star", "marts")
DETECTED = ("anomalies", "anomaly_points", "models", "series_days", "series_health", "tuning_proposals")
MEASURED = ("fix_impact", "fix_portfolio", "impact", "incident_loss", "recommendations")
PRODUCER = "https://github.com/OpenLineage/OpenLineage/tree/main/integration/dbt"


@dataclass(frozen=True, slots=True)
class Place:
    """A dataset: where it lies, and its name there."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Parent:
    """The run of a task, as OpenLineage knows it."""

    run: str
    job: str
    namespace: str


def tables_of(dag: str, task: str) -> tuple[list[Place], list[Place]]:
    """Return what a task reads and what it writes; both empty for tasks whose tables dbt tells of, and for those that touch none."""
    from aftercast import transform
    from aftercast.steps.refreshing import CORRELATION_READS, MEASUREMENT_READS

    settings = Settings.from_environment()

    def warehouse(schema: str, tables: Iterable[str]) -> list[Place]:
        return [Place(f"duckdb://{settings.warehouse}", f"warehouse.{schema}.{table}") for table in sorted(set(tables))]

    if dag.startswith("extract__"):
        row = settings.deployment.source(dag.removeprefix("extract__"))
        return [Place(f"aftercast-source://{row.kind}", row.name)], warehouse("landing", row.entities)
    if dag != "refresh_warehouse":
        return [], []
    marts = [name for name in transform.models() if name.startswith("mart_")]
    return {
        "watch": (warehouse("star", ("fct_metric_point", "fct_kpi_point")), []),
        "gather": (warehouse("star", ("fct_metric_point", "fct_kpi_point")), warehouse("derived", DETECTED)),
        "correlate": (
            [*warehouse("star", [*CORRELATION_READS.values(), "fct_incident"]), *warehouse("derived", ["anomalies"])],
            warehouse("derived", DERIVED.keys() - set(DETECTED) - set(MEASURED)),
        ),
        "measure": (
            [
                *warehouse("star", [*MEASUREMENT_READS.values(), "fct_incident"]),
                *warehouse("derived", ("anomalies", "candidates", "families")),
            ],
            warehouse("derived", MEASURED),
        ),
        "publish": (warehouse("marts", marts), [Place(f"duckdb://{settings.mart}", f"aftercast.marts.{name}") for name in marts]),
    }.get(task, ([], []))


def dbt_events(parent: Parent) -> list[Any]:
    """Return the events of dbt's last build: each model with what it reads, its columns and where they come from, and what tests said."""
    from openlineage.common.provider.dbt.local import DbtLocalArtifactProcessor
    from openlineage.common.provider.dbt.processor import ParentRunMetadata

    from aftercast import transform

    settings = Settings.from_environment()
    with transform.environment(settings):
        processor = DbtLocalArtifactProcessor(
            producer=PRODUCER,
            job_namespace=parent.namespace,
            project_dir=str(transform.DBT_PROJECT),
            target_path=str(settings.home / "dbt" / "target"),
        )
        processor.dbt_run_metadata = ParentRunMetadata(run_id=parent.run, job_name=parent.job, job_namespace=parent.namespace)
        events: list[Any] = processor.parse().events()
    return events
