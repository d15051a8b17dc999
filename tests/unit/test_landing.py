"""Landing: whole, once, gated, and accounted for."""

from __future__ import annotations

import itertools
import json
import shutil
from datetime import datetime

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aftercast import landing
from aftercast.analyses import DECLARED, DERIVED
from aftercast.declarations import SourceRow
from aftercast.entities import ENTITIES
from aftercast.errors import LandingError, QualityError
from aftercast.landing import storage
from aftercast.landing.slices import piece_label
from aftercast.landing.spool import Spool
from aftercast.settings import Settings
from aftercast.sources import Batch
from tests.unit.landing_fixture import HOUR, NOW, START, batch, coverage, deployment, files, hours, in_window, land, landed, points


@pytest.fixture
def place(tmp_path) -> Settings:
    return deployment(tmp_path)


def test_landing_twice_leaves_one_copy_byte_for_byte(place):
    window = hours(0, 60)
    first = land(place, window, batch(in_window(window)))["metric_points"]
    before, fingerprint = files(place), landing.landing_fingerprint(place)
    second = land(place, window, batch(in_window(window)), at=NOW + HOUR)["metric_points"]
    assert (first.landed, first.changed_files, first.unchanged_files) == (60, 3, 0)
    assert (second.landed, second.changed_files, second.unchanged_files) == (60, 0, 3)
    assert files(place) == before
    assert landing.landing_fingerprint(place) == fingerprint


@pytest.mark.parametrize(
    ("note", "kept"),
    [
        ("type of ann@acme.test left out", "type of <email> left out"),
        ("half \ud83d", "half ?"),
        ("two\nlines\tand more", "two lines and more"),
        ("x" * 10**7, "x" * 300 + " …"),
    ],
)
def test_a_note_is_kept_on_one_line_without_persons_whatever_a_system_put_into_it(place, note, kept):
    land(place, hours(0, 1), batch(in_window(hours(0, 1)), notes={note: 2}), batch(points([]), notes={kept: 1}))
    assert json.loads(coverage(place)["reasons"].item()) == {kept: 3}


def test_a_changed_value_changes_one_file_and_the_fingerprint(place):
    window = hours(0, 48)
    land(place, window, batch(in_window(window)))
    fingerprint = landing.landing_fingerprint(place)
    corrected = in_window(window).with_columns(value=pl.when(pl.col("ts") == START).then(2.0).otherwise("value"))
    again = land(place, window, batch(corrected))["metric_points"]
    assert (again.changed_files, again.unchanged_files) == (1, 1)
    assert landing.landing_fingerprint(place) != fingerprint


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(cuts=st.sets(st.integers(1, 71), max_size=5), sizes=st.integers(1, 30), data=st.data())
def test_landing_in_pieces_equals_landing_at_once(tmp_path, cuts, sizes, data):
    shutil.rmtree(tmp_path, ignore_errors=True)
    whole, parts = deployment(tmp_path / "whole"), deployment(tmp_path / "parts")
    rows = in_window(hours(0, 72))
    land(whole, hours(0, 72), batch(rows))
    edges = [0, *sorted(cuts), 72]
    windows = data.draw(st.permutations([hours(a, b) for a, b in itertools.pairwise(edges)]))
    for window in windows:
        inside = rows.filter(pl.col("ts").is_between(window.start, window.end, closed="left"))
        land(parts, window, *(batch(inside.slice(start, sizes)) for start in range(0, inside.height, sizes)))
    assert landed(parts).equals(landed(whole))
    assert coverage(parts)["landed"].sum() == 72
    land(parts, hours(0, 72), batch(rows))  # a wider window replaces the pieces
    assert landing.landing_fingerprint(parts) == landing.landing_fingerprint(whole)


def test_a_spooled_extract_lands_what_an_unspooled_one_does(tmp_path, monkeypatch):
    window = hours(0, 72)
    rows = in_window(window)
    batches = [batch(rows.slice(start, 7)) for start in range(0, 72, 7)]
    memory, disk = deployment(tmp_path / "memory"), deployment(tmp_path / "disk")
    land(memory, window, *batches)
    monkeypatch.setattr("aftercast.landing.extracts.Spool", lambda folder: Spool(folder, limit=10))
    assert land(disk, window, *batches)["metric_points"].duplicate == 0
    assert landing.landing_fingerprint(disk) == landing.landing_fingerprint(memory)
    assert not list((disk.home / "staging").iterdir())


def test_rows_that_vanished_upstream_vanish_from_their_window_only(place):
    land(place, hours(0, 24), batch(in_window(hours(0, 24))))
    land(place, hours(24, 48), batch(in_window(hours(24, 48))))
    land(place, hours(0, 24), batch(points([])))
    assert landed(place)["ts"].min() == START + 24 * HOUR


def test_an_extract_that_says_nothing_of_an_entity_leaves_its_files(place):
    land(place, hours(0, 24), batch(in_window(hours(0, 24))))
    result = land(place, hours(0, 24))["metric_points"]
    assert result.received == 0
    assert landed(place).height == 24


def test_duplicates_are_counted_and_the_last_wins_whatever_the_batch_or_day(place):
    window = hours(0, 48)
    source = SourceRow(name="shop", kind="demo")
    versions = pl.DataFrame(
        {"change_id": ["c1", "c2", "c1"], "kind": ["deploy"] * 3, "service": ["cart"] * 3, "title": ["first", "other", "moved"]}
    ).with_columns(started_at=pl.Series([START, START, START + 30 * HOUR]))
    result = land(place, window, batch(versions, "changes"), batch(in_window(window)), batch(in_window(window, 2.0)), source=source)
    assert (result["changes"].landed, result["changes"].duplicate) == (2, 1)
    assert dict(landed(place, "changes").select("change_id", "title").iter_rows()) == {"c1": "moved", "c2": "other"}
    assert result["metric_points"].duplicate == 48
    assert landed(place)["value"].unique().to_list() == [2.0]


def test_late_rows_are_landed_and_counted(place):
    frame = points([START - 5 * HOUR, START + HOUR])
    result = land(place, hours(0, 24), batch(frame))["metric_points"]
    assert (result.landed, result.late, result.watermark) == (2, 1, START + HOUR)


def test_rejected_rows_are_quarantined_with_reason_origin_and_row(place):
    frame = in_window(hours(0, 3)).with_columns(value=pl.Series([1.0, float("nan"), None]), actor_mail=pl.lit("x"))
    result = land(place, hours(0, 24), batch(frame, first_row=10, expected=3))["metric_points"]
    lines = [json.loads(line) for line in next(place.quarantine.glob("metric_points/source=shop/*.jsonl")).read_text().splitlines()]
    assert [(line["reason"], line["origin"], line["row"]) for line in lines] == [
        ("value: not a finite number", "here", 11),
        ("missing value", "here", 12),
    ]
    assert lines[0]["raw"]["service"] == "cart"
    assert result.received == result.landed + result.rejected + result.duplicate == 3
    row = coverage(place).row(0, named=True)
    assert (row["expected"], row["received"], row["landed"], row["rejected"]) == (3, 3, 1, 2)
    assert json.loads(row["reasons"]) == {"missing value": 1, "unknown column actor_mail kept aside": 3, "value: not a finite number": 1}


def test_quarantine_is_emptied_by_an_extract_without_rejects(place):
    bad = in_window(hours(0, 2)).with_columns(value=None)
    land(place, hours(0, 24), batch(bad))
    land(place, hours(0, 48), batch(in_window(hours(0, 2))))
    assert not list(place.quarantine.glob("**/*.jsonl"))


def test_personal_data_reaches_neither_landing_nor_quarantine(place):
    frame = pl.DataFrame(
        {
            "change_id": ["c1", "c2"],
            "kind": ["deploy", "dance"],
            "service": ["cart", "cart"],
            "title": ["ask ann@shop.example", "ask bob@shop.example"],
            "actor_token": ["Ann Smith", "tok_already"],
            "started_at": [START, START],
        }
    )
    land(
        place,
        hours(0, 24),
        batch(frame, "changes"),
        batch(points([]), rejected=pl.DataFrame({"reason": ["torn"], "raw": ["cy@shop.example"]})),
    )
    stored = landed(place, "changes").row(0, named=True)
    written = "".join(path.read_text() for path in place.quarantine.glob("**/*.jsonl")) + json.dumps(stored, default=str)
    assert "@shop.example" not in written
    assert "Smith" not in written
    assert stored["actor_token"].startswith("tok_")
    assert "tok_already" in written


def test_replay_lands_what_fits_now_and_keeps_the_rest(place):
    bad = in_window(hours(0, 3)).with_columns(pl.Series("value", ["1.5", "many", "some"]))
    land(place, hours(0, 24), batch(bad))
    path = next(place.quarantine.glob("**/*.jsonl"))
    path.write_text(path.read_text().replace('"many"', '"7"'))
    (result,) = landing.replay(place, "shop", ingested_at=NOW + HOUR)
    assert (result.received, result.landed, result.rejected) == (2, 1, 1)
    assert landed(place)["value"].to_list() == [1.5, 7.0]
    assert len(path.read_text().splitlines()) == 1
    row = coverage(place).row(0, named=True)
    assert (row["received"], row["landed"], row["rejected"], json.loads(row["reasons"])) == (3, 2, 1, {"value: not a number": 1})
    path.write_text(path.read_text().replace('"some"', "8"))
    landing.replay(place, ingested_at=NOW + 2 * HOUR)
    assert landed(place)["value"].to_list() == [1.5, 7.0, 8.0]
    assert landing.replay(place) == []


def test_replay_after_the_journey_changed_its_currency(place):
    kpis = pl.DataFrame({"journey": ["checkout"], "step": ["pay"], "ts": [START], "attempts": [1], "successes": [1], "currency": ["EUR"]})
    result = land(place, hours(0, 24), batch(kpis, "journey_kpis"))["journey_kpis"]
    assert list(result.reasons) == ["currency mix: not the currency the journey declares in journeys.yml"]
    journeys = place.config / "journeys.yml"
    journeys.write_text(journeys.read_text().replace("GBP", "EUR"))
    landing.replay(Settings(place.home, place.config))
    assert landed(place, "journey_kpis")["currency"].to_list() == ["EUR"]


def test_a_hand_edited_quarantine_line_that_is_no_json_is_named(place):
    land(place, hours(0, 24), batch(in_window(hours(0, 2)).with_columns(value=None)))
    path = next(place.quarantine.glob("**/*.jsonl"))
    path.write_text(path.read_text() + "{oops\n")
    with pytest.raises(LandingError, match=r"jsonl line 3 is not JSON"):
        landing.replay(place)


def test_a_failed_gate_leaves_no_file_and_spares_other_entities(place):
    def gate(entity: str, rows: pl.LazyFrame) -> None:
        if entity == "metric_points":
            raise QualityError(f"{rows.collect().height} rows of {entity} held back")

    kpis = pl.DataFrame({"journey": ["checkout"], "step": ["pay"], "ts": [START], "attempts": [1], "successes": [1]})
    with pytest.raises(QualityError, match="24 rows of metric_points held back"):
        land(place, hours(0, 24), batch(in_window(hours(0, 24))), batch(kpis, "journey_kpis"), gate=gate)
    assert not [path for path in place.landing.glob("metric_points/**/*") if path.is_file()]
    assert landed(place, "journey_kpis").height == 1
    assert coverage(place)["entity"].to_list() == ["journey_kpis"]


def test_a_failed_gate_keeps_the_rows_of_before(place):
    land(place, hours(0, 24), batch(in_window(hours(0, 24))))
    before = files(place)

    def gate(entity: str, rows: pl.LazyFrame) -> None:
        raise QualityError("no")

    with pytest.raises(QualityError):
        land(place, hours(0, 24), batch(in_window(hours(0, 24), 9.0)), gate=gate)
    assert files(place) == before


def test_a_crash_before_the_rename_leaves_the_old_rows_and_a_retry_lands_the_new(place, monkeypatch):
    land(place, hours(0, 24), batch(in_window(hours(0, 24))))
    before = landed(place)

    def crash(self: storage.Staged) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(storage.Staged, "commit", crash)
        patch.setattr(storage.Staged, "discard", lambda self: None)
        with pytest.raises(KeyboardInterrupt):
            land(place, hours(0, 24), batch(in_window(hours(0, 24), 5.0)))
    assert landed(place).equals(before)
    land(place, hours(0, 24), batch(in_window(hours(0, 24), 5.0)))
    assert landed(place)["value"].unique().to_list() == [5.0]


def test_a_piece_is_replaced_whole_and_leaves_other_pieces_alone(place):
    def drop(name: str, *moments: datetime) -> Batch:
        return batch(points(moments, service=name), piece=name)

    land(place, hours(0, 24), drop("a", START, START + 30 * HOUR), drop("b", START))
    result = land(place, hours(24, 48), drop("a", START), drop("b", START))["metric_points"]
    assert (result.changed_files, result.unchanged_files) == (1, 2)
    assert landed(place).height == 2
    assert coverage(place).height == 1, "an inbox read twice is counted once"
    assert landing.covered_window(place) == hours(0, 48)
    land(place, hours(24, 48), batch(points([]), piece="a"))
    assert landed(place)["service"].to_list() == ["b"]


def test_pieces_with_like_names_do_not_share_a_file():
    assert piece_label("a/b.csv") != piece_label("a_b.csv")


def test_prepare_gives_every_table_its_columns(place):
    landing.prepare(place)
    landing.prepare(place)
    for entity in ENTITIES.values():
        assert landed(place, entity.name).is_empty()
    for name, schema in DERIVED.items():
        assert pl.read_parquet_schema(landing.derived_path(place, name)) == pl.Schema(schema)
    for name, schema in DECLARED.items():
        assert pl.read_parquet_schema(landing.declared_path(place, name)) == pl.Schema(schema)
    assert landing.covered_window(place) is None
    assert landing.covered_until(place, "shop") is None


def test_prepare_keeps_derived_rows(place):
    landing.prepare(place)
    row = {
        "incident_id": ["i1"],
        "family_id": ["f1"],
        "family_title": ["x"],
        "distance": [float("nan")],
        "reasons": [["r"]],
        "clustering_version": ["1"],
    }
    frame = pl.DataFrame({**row, "model_version": ["1"]})
    assert landing.write_derived(place, "families", frame)
    assert not landing.write_derived(place, "families", frame)
    landing.prepare(place)
    assert pl.read_parquet(landing.derived_path(place, "families"))["distance"].to_list() == [None]


def test_derived_tables_with_other_columns_are_refused(place):
    with pytest.raises(LandingError, match=r"missing columns \['currency'.*unknown columns \['curency'\]"):
        landing.write_derived(
            place, "incident_loss", pl.DataFrame(schema={**DERIVED["incident_loss"], "curency": pl.String}).drop("currency")
        )
    with pytest.raises(LandingError, match=r"missing columns none, unknown columns \['curency'\]"):
        landing.write_derived(place, "incident_loss", pl.DataFrame(schema={**DERIVED["incident_loss"], "curency": pl.String}))
    with pytest.raises(LandingError, match="no derived table 'nonsense'"):
        landing.write_derived(place, "nonsense", pl.DataFrame())
    with pytest.raises(LandingError, match="times without zone in shipped_at"):
        schema = {**DERIVED["fix_impact"], "shipped_at": pl.Datetime("us")}
        landing.write_derived(place, "fix_impact", pl.DataFrame(schema=schema))


def test_declared_tables_fit_their_schema(place):
    tables = landing.declared_tables(place.deployment)
    assert set(tables) == DECLARED.keys() - {"run", "landed_days"}
    assert landing.write_declared(place, tables)
    assert not landing.write_declared(place, tables)
    assert pl.read_parquet(landing.declared_path(place, "journey_steps")).rows() == [("checkout", "pay", 1, 1.0, True)]


def test_a_batch_for_an_unknown_entity_is_refused_before_anything_lands(place):
    with pytest.raises(LandingError, match="no landing entity 'orders'"):
        land(place, hours(0, 24), batch(in_window(hours(0, 24))), batch(points([]), "orders"))
    assert not files(place)


def test_equal_rows_have_equal_hashes_and_different_rows_do_not():
    frame = pl.DataFrame({"a": ["x", None, "yz"], "b": [[], None, ["q", None]], "c": [1.0, None, 3.0], "d": [True, None, False]})
    assert storage.row_hash(frame) == storage.row_hash(pl.concat([frame[:1], frame[1:]]))
    others = [
        frame.with_columns(a=pl.Series(["xy", None, "z"])),
        frame.with_columns(a=pl.Series(["x", "", "yz"])),
        frame.with_columns(b=pl.Series([None, [], ["q", None]])),
        frame.with_columns(c=pl.Series([1.0, 0.0, 3.0])),
        frame.with_columns(d=pl.Series([True, False, False])),
        frame.reverse(),
        frame.rename({"a": "z"}),
    ]
    assert len({storage.row_hash(one) for one in [frame, *others]}) == len(others) + 1
