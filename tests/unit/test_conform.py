"""What fits, what is repaired, and what is rejected with which reason."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercast.conform import Conformed, conform
from aftercast.entities import ENTITIES

KEY = b"key"
AT = "2026-09-01T10:00:00Z"
POINT = {"service": "cart", "metric": "latency", "ts": AT, "value": "1.5", "kind": "gauge"}
KPI = {"journey": "checkout", "step": "pay", "ts": AT, "attempts": 10, "successes": 9, "revenue_minor": 100, "currency": "GBP"}
CHANGE = {"change_id": "c1", "kind": "deploy", "service": "cart", "started_at": AT}
INCIDENT = {"incident_id": "i1", "title": "Cart is down", "started_at": AT}


def check(entity: str, *rows: dict[str, object], currencies: dict[str, str] | None = None) -> Conformed:
    frame = pl.DataFrame(list(rows), infer_schema_length=None)
    return conform(ENTITIES[entity], frame, origin="file.csv", key=KEY, currencies=currencies)


def one(entity: str, row: dict[str, object]) -> dict[str, object]:
    conformed = check(entity, row)
    assert conformed.rejected.is_empty(), conformed.rejected["reason"].to_list()
    return conformed.accepted.row(0, named=True)


@pytest.mark.parametrize(
    ("entity", "row", "reason"),
    [
        ("metric_points", {**POINT, "service": " "}, "missing service"),
        ("metric_points", {key: value for key, value in POINT.items() if key != "metric"}, "missing column metric"),
        ("metric_points", {**POINT, "ts": "2026-09-01 10:00"}, "ts: time without zone"),
        ("metric_points", {**POINT, "ts": datetime(2026, 9, 1, 10)}, "ts: time without zone"),
        ("metric_points", {**POINT, "ts": "yesterday"}, "ts: not a time"),
        ("metric_points", {**POINT, "ts": "2026-02-30T10:00:00Z"}, "ts: not a time"),
        ("metric_points", {**POINT, "ts": 1_756_700_000}, "ts: not a time"),
        ("metric_points", {**POINT, "value": "fast"}, "value: not a number"),
        ("metric_points", {**POINT, "value": [1.0]}, "value: not a number"),
        ("metric_points", {**POINT, "value": "NaN"}, "value: not a finite number"),
        ("metric_points", {**POINT, "value": float("inf")}, "value: not a finite number"),
        ("metric_points", {**POINT, "value": ""}, "missing value"),
        ("metric_points", {**POINT, "kind": "thermometer"}, "kind: not one of counter, gauge, histogram"),
        ("metric_points", {**POINT, "unit": ["ms"]}, "unit: not text"),
        ("journey_kpis", {**KPI, "attempts": -1}, "attempts: negative"),
        ("journey_kpis", {**KPI, "attempts": "1.5"}, "attempts: not a whole number"),
        ("journey_kpis", {**KPI, "attempts": 2**63}, "attempts: too large"),
        ("journey_kpis", {**KPI, "revenue_minor": float("nan")}, "revenue_minor: not a finite number"),
        ("journey_kpis", {**KPI, "currency": "EUR"}, "currency mix: not the currency the journey declares in journeys.yml"),
        ("journey_kpis", {**KPI, "journey": "billing", "currency": None}, "revenue without currency"),
        ("metric_points", {**POINT, "ts": "1970-01-21T10:00:00Z"}, "ts: before 2000 or after 2100"),
        ("changes", {**CHANGE, "planned": "perhaps"}, "planned: neither true nor false"),
        ("incidents", {**INCIDENT, "services": '["cart"'}, "services: not a list of texts"),
        ("incidents", {**INCIDENT, "severity": "sev9"}, "severity: not one of sev1, sev2, sev3, sev4, unknown"),
    ],
)
def test_a_row_that_does_not_fit_is_rejected_with_its_reason(entity, row, reason):
    conformed = check(entity, row, currencies={"checkout": "GBP"})
    assert conformed.accepted.is_empty()
    assert conformed.rejected.select("reason", "origin", "row").rows() == [(reason, "file.csv", 1)]
    assert isinstance(json.loads(conformed.rejected["raw"][0]), dict)


def test_good_rows_survive_bad_neighbours_in_their_order():
    conformed = check("metric_points", POINT, {**POINT, "value": "x"}, {**POINT, "service": "pay"}, {**POINT, "ts": None})
    assert conformed.accepted["service"].to_list() == ["cart", "pay"]
    assert conformed.rejected.select("reason", "row").rows() == [("value: not a number", 2), ("missing ts", 4)]


@pytest.mark.parametrize(
    ("written", "hour"),
    [
        ("2026-09-01T10:00:00Z", 10),
        ("2026-09-01 10:00:00.250000+02:00", 8),
        ("2026-09-01T10:00+0530", 4),
        ("2026-09-01T10:00:00,5-01", 11),
        ("2026-09-01t10:00:00z".upper(), 10),
        ("2026-09-01", 0),
        (date(2026, 9, 1), 0),
        (datetime(2026, 9, 1, 10, tzinfo=UTC), 10),
    ],
)
def test_every_way_to_write_an_instant_lands_as_utc(written, hour):
    landed = one("metric_points", {**POINT, "ts": written})["ts"]
    assert landed.tzinfo is not None
    assert (landed.day, landed.hour) == (1, hour)


def test_absent_columns_become_empty_text_only_where_they_are_keys():
    landed = one("metric_points", POINT)
    assert (landed["region"], landed["attributes"], landed["environment"]) == ("", "", "production")
    assert landed["unit"] is None
    assert landed["source_id"] == ""


def test_values_are_repaired_where_nothing_has_to_be_guessed():
    assert one("journey_kpis", {**KPI, "attempts": " 12 ", "successes": "9.0", "currency": "gbp"})["attempts"] == 12
    assert one("journey_kpis", {**KPI, "currency": "gbp"})["currency"] == "GBP"
    assert one("incidents", {**INCIDENT, "severity": " SEV1 "})["severity"] == "sev1"
    assert one("changes", {**CHANGE, "change_id": 12, "planned": "Yes", "attributes": {"pr": 7}})["attributes"] == '{"pr":7}'
    assert one("journey_kpis", {**KPI, "attempts": "9007199254740993"})["attempts"] == 9007199254740993


@pytest.mark.parametrize("written", ['["cart", "pay\\"x"]', 'cart; pay"x;', ["cart", 'pay"x', None]])
def test_lists_are_read_from_json_and_from_semicolons(written):
    assert one("incidents", {**INCIDENT, "services": written})["services"] == ["cart", 'pay"x']


def test_an_empty_json_list_is_an_empty_list_and_nothing_is_null():
    assert one("incidents", {**INCIDENT, "services": "[]"})["services"] == []
    assert one("incidents", {**INCIDENT, "services": ""})["services"] is None


def test_unknown_columns_are_kept_out_and_noted():
    conformed = check(
        "metric_points", {**POINT, "colour": "red", "source": "me"}, {**POINT, "service": "pay", "colour": "blue", "source": "me"}
    )
    assert "colour" not in conformed.accepted.columns
    assert conformed.notes == {"unknown column colour kept aside": 2}


def test_an_absent_currency_is_the_one_the_journey_declares():
    conformed = check("journey_kpis", {**KPI, "currency": ""}, currencies={"checkout": "GBP"})
    assert conformed.accepted["currency"].to_list() == ["GBP"]


def test_another_journeys_currency_is_nobodys_business():
    conformed = check("journey_kpis", KPI, {**KPI, "journey": "billing", "currency": "EUR"}, currencies={"checkout": "GBP"})
    assert conformed.rejected.is_empty()


@pytest.mark.parametrize("entity", sorted(ENTITIES))
def test_an_empty_frame_conforms_to_every_entity(entity):
    for frame in (pl.DataFrame(), pl.DataFrame(schema=ENTITIES[entity].columns), pl.DataFrame(schema={"nonsense": pl.String})):
        conformed = conform(ENTITIES[entity], frame, origin="x", key=KEY)
        assert conformed.accepted.is_empty()
        assert conformed.accepted.schema == pl.Schema({"source_id": pl.String, **ENTITIES[entity].columns})
        assert conformed.rejected.is_empty()


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "service": st.one_of(st.none(), st.text(max_size=5)),
                "metric": st.just("m"),
                "ts": st.sampled_from([AT, "2026-09-01 10:00", "", "soon", "2026-09-01T23:59:59.999999+14:00"]),
                "value": st.one_of(st.none(), st.text(max_size=4), st.floats().map(str)),
            }
        ),
        max_size=8,
    )
)
def test_no_row_is_ever_lost(rows):
    frame = pl.DataFrame(rows, schema={"service": pl.String, "metric": pl.String, "ts": pl.String, "value": pl.String})
    conformed = conform(ENTITIES["metric_points"], frame, origin="x", key=KEY)
    assert conformed.accepted.height + conformed.rejected.height == len(rows)
    assert conformed.accepted["value"].is_finite().all()
    assert conformed.rejected["reason"].null_count() == 0
