"""Windows of landing: what a wider one replaces, how far a source is covered, clocks that are ahead, columns nobody knows."""

from __future__ import annotations

import fcntl
import gzip
import json
import threading
from datetime import datetime, timedelta

import polars as pl
import pytest

from aftercast import landing
from aftercast.declarations import SourceRow
from aftercast.entities import ENTITIES
from aftercast.errors import QualityError, SourceUnavailable
from aftercast.settings import Settings
from tests.unit.landing_fixture import HOUR, NOW, START, batch, coverage, deployment, files, hours, in_window, land, landed, points

SHOP = SourceRow(name="shop", kind="demo")


@pytest.fixture
def place(tmp_path) -> Settings:
    return deployment(tmp_path)


def incident(number: int, started_at: datetime, **more: object) -> pl.DataFrame:
    return pl.DataFrame({"incident_id": [f"i{number}"], "title": ["Down"], "started_at": [started_at], **{k: [v] for k, v in more.items()}})


def incidents(place: Settings) -> list[str]:
    return landed(place, "incidents")["incident_id"].to_list()


def test_what_was_deleted_upstream_is_gone_after_a_reconciliation(place):
    for hour in range(3):
        found = [incident(hour * 2 + n, START + (hour + n / 3) * HOUR) for n in range(2)]
        land(place, hours(hour, hour + 1), *(batch(one, "incidents") for one in found), source=SHOP)
    assert incidents(place) == ["i0", "i1", "i2", "i3", "i4", "i5"]
    rest = [incident(n, START + (n // 2) * HOUR) for n in (0, 2, 4)]
    land(place, hours(0, 3), *(batch(one, "incidents") for one in rest), source=SHOP)
    assert incidents(place) == ["i0", "i2", "i4"]
    assert coverage(place).select("window_start", "window_end", "landed").rows() == [(START, START + 3 * HOUR, 3)]


def test_a_wider_window_leaves_what_is_dated_outside_it(place):
    late, ahead = incident(1, START - 40 * HOUR, status="resolved"), incident(2, START + 60 * HOUR, mode="maintenance")
    within = incident(3, START + 2 * HOUR)
    land(place, hours(1, 3), *(batch(one, "incidents") for one in (late, ahead, within)), source=SHOP)
    land(place, hours(0, 48), batch(incident(4, START), "incidents"), source=SHOP)
    assert incidents(place) == ["i1", "i2", "i4"]
    land(place, hours(-48, 72), batch(incident(4, START), "incidents"), source=SHOP)
    assert incidents(place) == ["i4"]


def test_rows_late_on_the_day_a_wider_window_begins_stay(place):
    moments = [START + 5 * HOUR, START + 12 * HOUR]
    land(place, hours(12, 13), batch(points(moments)))
    land(place, hours(10, 20), batch(points([START + 15 * HOUR])))
    assert landed(place)["ts"].to_list() == [START + 5 * HOUR, START + 15 * HOUR]


def test_the_same_window_again_leaves_none_of_what_it_found_before(place):
    land(place, hours(10, 11), batch(points([START - 30 * HOUR, START + 10 * HOUR])))
    land(place, hours(10, 11), batch(points([])))
    assert landed(place).is_empty()


def test_an_earlier_window_does_not_move_the_cover_back(place):
    land(place, hours(24, 25), batch(in_window(hours(24, 25))))
    land(place, hours(0, 5), batch(in_window(hours(0, 5))))
    assert landing.covered_until(place, "shop") == START + 25 * HOUR
    assert landing.gaps(place, "shop") == [hours(5, 24)]
    land(place, hours(4, 25), batch(in_window(hours(4, 25))))
    assert landing.gaps(place, "shop") == []


def test_a_window_that_failed_moves_nothing_and_the_next_one_heals_it(place):
    def failing():
        yield batch(in_window(hours(1, 2)))
        raise SourceUnavailable("no answer")

    land(place, hours(0, 1), batch(in_window(hours(0, 1))))
    before = files(place)
    with pytest.raises(SourceUnavailable):
        landing.land(place, SHOP, hours(1, 2), failing(), ingested_at=NOW)
    assert files(place) == before
    assert landing.covered_until(place, "shop") == START + HOUR
    land(place, hours(1, 3), batch(in_window(hours(1, 3))))
    assert landed(place).height == 3


def test_what_a_gate_holds_back_is_asked_for_again_though_other_entities_went_on(place):
    def gate(entity: str, rows: pl.LazyFrame) -> None:
        if entity == "metric_points":
            raise QualityError("refused")

    both = (batch(in_window(hours(0, 1))), batch(incident(1, START), "incidents"))
    with pytest.raises(QualityError):
        land(place, hours(0, 1), *both, source=SHOP, gate=gate)
    assert incidents(place) == ["i1"]
    assert landing.covered_until(place, "shop") == START
    land(place, hours(0, 2), *both, source=SHOP)
    assert landing.covered_until(place, "shop") == START + 2 * HOUR
    assert landed(place).height == 1


def test_a_second_extract_of_a_source_waits_for_the_first(place):
    landing.prepare(place)
    (place.home / "locks").mkdir(exist_ok=True)
    with (place.home / "locks" / "shop.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        other = threading.Thread(target=land, args=(place, hours(0, 1), batch(in_window(hours(0, 1)))))
        other.start()
        other.join(0.3)
        assert other.is_alive()
        assert landed(place).is_empty()
    other.join(20)
    assert landed(place).height == 1


@pytest.mark.parametrize("entity", ["changes", "incidents"])
def test_only_what_is_planned_may_be_dated_after_the_window(place, entity):
    key = f"{entity[:-1]}_id"
    later = START + 30 * HOUR
    rows = pl.DataFrame(
        {
            key: ["now", "soon", "ahead", "planned"],
            "title": ["x"] * 4,
            "service": ["cart"] * 4,
            "kind": ["deploy", "deploy", "deploy", "maintenance"],
            "mode": ["real", "real", "real", "maintenance"],
            "started_at": [START, START + 24 * HOUR + timedelta(minutes=10), later, later],
        }
    ).select(pl.col("^.*$").exclude("mode" if entity == "changes" else "kind"))
    result = land(place, hours(0, 24), batch(rows, entity), source=SHOP)[entity]
    assert sorted(landed(place, entity)[key]) == ["now", "planned", "soon"]
    assert result.reasons["started_at: in the future of the window"] == 1


def test_a_record_written_after_its_old_window_is_read_but_not_one_of_tomorrow(place):
    items = pl.DataFrame(
        {
            "action_item_id": ["edited", "ahead"],
            "version": [1, 1],
            "title": ["x", "y"],
            "status": ["open", "open"],
            "updated_at": [NOW - HOUR, NOW + HOUR],
        }
    )
    result = land(place, hours(0, 24), batch(items, "action_items"), source=SHOP)["action_items"]
    assert landed(place, "action_items")["action_item_id"].to_list() == ["edited"]
    assert dict(result.reasons) == {"updated_at: in the future of the window": 1}


def test_rows_of_the_future_land_by_replay_once_their_time_is_covered(place):
    land(place, hours(0, 1), batch(points([START, START + 5 * HOUR])))
    assert landing.replay(place)[0].rejected == 1
    land(place, hours(1, 6), batch(in_window(hours(1, 5))))
    assert landing.replay(place)[0].landed == 1
    assert landed(place).height == 6


def test_the_tolerance_for_clocks_is_configured(tmp_path):
    place = deployment(tmp_path)
    (place.config / "sources.yml").write_text(
        'history: {start: "2026-09-01", end: "2026-09-08"}\nclock_tolerance_minutes: 0\nsources: []\n'
    )
    result = land(place, hours(0, 1), batch(points([START + HOUR, START + HOUR + timedelta(seconds=1)])))["metric_points"]
    assert result.rejected == 1


def test_files_are_not_judged_by_the_window_they_are_read_in(place):
    assert land(place, hours(0, 1), batch(points([START + 99 * HOUR]), piece="a.csv"))["metric_points"].landed == 1


def test_unknown_columns_are_kept_beside_the_key_without_personal_data(place):
    frame = in_window(hours(0, 2)).with_columns(
        canary=pl.Series([0.5, None]), approved_by=pl.lit("Ann Smith"), note=pl.lit("ask bob@shop.example"), tags=pl.Series([["a"], []])
    )
    result = land(place, hours(0, 2), batch(frame))["metric_points"]
    assert result.landed == 2
    assert result.reasons["unknown column canary kept aside"] == 2
    (path,) = place.home.glob("unknown_columns/metric_points/source=shop/*.jsonl.gz")
    text = gzip.decompress(path.read_bytes()).decode()
    lines = [json.loads(line) for line in text.splitlines()]
    assert set(lines[0]) == {*ENTITIES["metric_points"].key, "columns"}
    assert [line["columns"]["canary"] for line in lines] == ["0.5", None]
    assert lines[0]["columns"]["note"] == "ask <email>"
    assert lines[0]["columns"]["tags"] == '{"tags":["a"]}'
    assert "Smith" not in text
    land(place, hours(0, 3), batch(in_window(hours(0, 3))))
    assert not list(place.home.glob("unknown_columns/**/*.gz")), "a wider window without them replaces them"
