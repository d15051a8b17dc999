"""The service graph: inferred edges are no calls, cycles and self-edges are walked once, and reach is what depends on what."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercast.analyses import DERIVED
from aftercast.correlation import correlate
from aftercast.correlation.blast import WITHIN_HOPS, blast_radius
from aftercast.correlation.graph import Graph
from aftercast.correlation.inferred_edges import beside_calls, infer_edges
from aftercast.correlation.inputs import Inputs
from tests.unit import correlate_fixture as fixture

AS_OF = datetime(2026, 9, 28, tzinfo=UTC)
BUCKETS = 21 * 288


def edges(*rows: tuple[str, str], provenance: str = "spans", environment: str = "production") -> pl.DataFrame:
    return pl.DataFrame(
        [(environment, *row, provenance) for row in rows], schema=["environment", "caller", "callee", "provenance"], orient="row"
    )


def reach(dependencies: pl.DataFrame, *journeys: tuple[str, str]) -> dict[str, dict[str, object]]:
    carried = pl.DataFrame(journeys, schema=["journey", "service"], orient="row")
    rows = blast_radius(Inputs.of({"dependencies": dependencies, "journeys": carried}))
    return {row["service"]: row for row in rows.iter_rows(named=True)}


def test_inferred_edges_are_no_calls_and_stand_in_only_where_no_call_is_known():
    inferred = edges(("web", "db"), provenance="inferred")
    assert not Graph.of_environment(inferred, "production")
    alone = Graph.inferred_in(inferred, "production")
    assert alone.is_inferred and alone.callees == {"web": ("db",)}
    both = pl.concat([inferred, edges(("web", "cart")), edges(("a", "b"), provenance="correlation")])
    assert Graph.of_environment(both, "production").callees == {"web": ("cart",)}
    assert not Graph.inferred_in(both, "production")


def test_edges_of_unsaid_provenance_are_calls():
    assert Graph.of_environment(edges(("web", "db")).drop("provenance"), "production").callees == {"web": ("db",)}
    unsaid = edges(("web", "db")).with_columns(provenance=pl.lit(None, dtype=pl.String))
    assert Graph.of_environment(unsaid, "production").callees == {"web": ("db",)}


def test_a_store_reaches_the_journeys_of_everything_that_depends_on_it():
    rows = reach(edges(("web", "orders"), ("orders", "db"), ("batch", "db")), ("shop", "web"), ("billing", "batch"))
    assert rows["db"]["dependents"] == ["batch", "orders", "web"]
    assert rows["db"]["journeys"] == ["billing", "shop"] and rows["db"]["journeys_carried"] == []
    assert rows["db"]["n_direct_dependents"] == 2
    assert rows["web"]["dependencies"] == ["db", "orders"] and rows["web"]["journeys_carried"] == ["shop"]
    assert rows["batch"]["journeys"] == ["billing"]


def test_cycles_and_self_edges_neither_hang_nor_make_a_service_its_own_dependent():
    rows = reach(edges(("a", "b"), ("b", "c"), ("c", "a"), ("c", "c"), ("d", "d")), ("shop", "a"))
    assert {name: row["in_cycle"] for name, row in rows.items()} == {"a": True, "b": True, "c": True}
    assert all(name not in row["dependents"] + row["dependencies"] for name, row in rows.items())
    assert rows["c"]["journeys"] == ["shop"]


def test_reach_ends_after_some_calls():
    chain = [f"s{number:02}" for number in range(WITHIN_HOPS + 3)]
    rows = reach(edges(*itertools.pairwise(chain)), ("shop", chain[0]))
    assert rows[chain[WITHIN_HOPS]]["journeys"] == ["shop"]
    assert rows[chain[WITHIN_HOPS + 1]]["journeys"] == []


def test_without_calls_a_service_reaches_its_own_journeys_and_says_on_what_basis():
    assert reach(edges(), ("shop", "web"))["web"]["basis"] == "none"
    assert reach(edges(), ("shop", "web"))["web"]["journeys"] == ["shop"]
    assert reach(edges(("web", "db"), provenance="inferred"), ("shop", "web"))["db"]["basis"] == "inferred"
    assert blast_radius(Inputs.of({})).schema == pl.Schema(DERIVED["blast_radius"])


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef")), max_size=25))
def test_dependents_and_dependencies_mirror_each_other(pairs):
    rows = reach(edges(*pairs)) if pairs else {}
    for name, row in rows.items():
        assert all(name in rows[other]["dependencies"] for other in row["dependents"])
        assert row["in_cycle"] == any(other in row["dependents"] for other in row["dependencies"])


def telemetry(lag: int) -> pl.DataFrame:
    """Errors of db, which those of web follow by `lag` buckets; those of mail are its own."""
    rng = np.random.default_rng(5)
    times = pl.datetime_range(AS_OF - BUCKETS * timedelta(minutes=5), AS_OF, timedelta(minutes=5), closed="left", eager=True)
    own = rng.exponential(1.0, (3, BUCKETS))
    values = {"db": own[0], "web": own[1] + 1.5 * np.roll(own[0], lag), "mail": own[2]}
    told = {"environment": "production", "region": "", "metric": "error_ratio", "attributes": "", "kind": "gauge", "unit": "ratio"}
    return pl.concat(
        [
            pl.DataFrame({"bucket_at": times, "value": value}).with_columns(
                pl.lit(name).alias("service"), **{k: pl.lit(v) for k, v in told.items()}
            )
            for name, value in values.items()
        ]
    )


def test_trouble_that_follows_trouble_is_an_edge_from_the_one_that_comes_second():
    found = infer_edges(Inputs.of({"metric_points": telemetry(lag=2)}), AS_OF)
    row = found.row(0, named=True)
    assert found.height == 1
    assert (row["caller"], row["callee"], row["lag_minutes"]) == ("web", "db", 10)
    assert 0 < row["ci_low"] < row["correlation"] < row["ci_high"] and row["q_value"] < 0.01 and row["n_pairs"] == 3


def test_trouble_in_the_same_moment_has_no_direction_and_is_no_edge():
    assert infer_edges(Inputs.of({"metric_points": telemetry(lag=0)}), AS_OF).is_empty()


def test_inferred_edges_join_the_dependencies_with_their_label():
    inputs = Inputs.of({"metric_points": telemetry(lag=2), "dependencies": edges(("mail", "db"))})
    both = beside_calls(inputs, infer_edges(inputs, AS_OF))
    assert both.dependencies.select("caller", "callee", "provenance").rows() == [("mail", "db", "spans"), ("web", "db", "inferred")]
    assert Graph.of_environment(both.dependencies, "production").callees == {"mail": ("db",)}


def test_ranking_hears_of_an_inferred_edge_only_where_no_call_is_known_and_says_so():
    inferred = edges(("web", "store"), provenance="inferred")
    for dependencies, told in ((inferred, True), (pl.concat([inferred, edges(("web", "mail"))]), False)):
        trouble = fixture.inputs(failing={"web": 0.4, "store": 0.4}, dependencies=dependencies)
        evidence = correlate(trouble, fixture.AS_OF).evidence
        assert any("no call is known here" in why for why in evidence["why"]) == told
        assert not any("store, which it calls" in why for why in evidence["why"])


@pytest.mark.parametrize("points", [pl.DataFrame(), telemetry(lag=2).head(50)])
def test_too_little_telemetry_infers_nothing(points):
    frames = {"metric_points": points} if points.height else {}
    assert infer_edges(Inputs.of(frames), AS_OF).schema == pl.Schema(DERIVED["inferred_edges"])
    assert infer_edges(Inputs.of(frames), AS_OF).is_empty()
