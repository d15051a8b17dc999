"""What a service can take down, and what can take it down: services within some calls up and down, and the customer journeys reached."""

from __future__ import annotations

from collections import defaultdict

import polars as pl

from aftercast.analyses import DERIVED
from aftercast.correlation.graph import Graph
from aftercast.correlation.inputs import Inputs

MODEL_VERSION = "blast-radius-1"
WITHIN_HOPS = 5
"""Calls followed; trouble thins out with every call, and further away everything depends on everything."""


def blast_radius(inputs: Inputs) -> pl.DataFrame:
    """Return the derived table `blast_radius`: one row per environment and service.

    A journey is reached when one of its steps is carried by the service or by one that depends on it. A service nobody is known to call
    and that calls nobody has empty lists, and `basis` says whether calls are known at all.
    """
    inputs = inputs.conformed()
    carried: dict[str, set[str]] = defaultdict(set)
    for journey, service in inputs.journeys.select("journey", "service").drop_nulls().iter_rows():
        carried[service].add(journey)
    rows: list[dict[str, object]] = []
    for environment in sorted(set(inputs.dependencies["environment"]) - {""}) or ["production"]:
        graph = Graph.of_environment(inputs.dependencies, environment) or Graph.inferred_in(inputs.dependencies, environment)
        for service in sorted((graph.services | set(inputs.services["service"].drop_nulls()) | carried.keys()) - {""}):
            up = {name: hops for name, hops in graph.hops_up([service]).items() if hops <= WITHIN_HOPS}
            down = {name: hops for name, hops in graph.hops_down([service]).items() if 0 < hops <= WITHIN_HOPS}
            reached = sorted({journey for name in up for journey in carried.get(name, ())})
            rows.append(
                {
                    "environment": environment,
                    "service": service,
                    "dependents": sorted(name for name in up if name != service),
                    "dependencies": sorted(down),
                    "journeys": reached,
                    "journeys_carried": sorted(carried.get(service, ())),
                    "n_direct_dependents": len(graph.callers.get(service, ())),
                    "within_hops": WITHIN_HOPS,
                    "in_cycle": graph.in_cycle(service),
                    "basis": "none" if not graph else "inferred" if graph.is_inferred else "calls",
                    "model_version": MODEL_VERSION,
                }
            )
    return pl.DataFrame(rows, schema=dict(DERIVED["blast_radius"]), orient="row")
