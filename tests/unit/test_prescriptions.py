"""What an insight may prescribe, what is refused, and what it becomes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aftercast.conform import conform
from aftercast.declarations import (
    DEFAULT_DETECTOR,
    DEFAULT_RANKER,
    CalendarRow,
    DetectorRow,
    DetectorsFile,
    MaskRow,
    RankersFile,
    RuleRow,
    TuningRow,
    WeeklyRow,
)
from aftercast.detection.known_times import occurrences
from aftercast.entities import ENTITIES
from aftercast.errors import ConfigError
from aftercast.prescriptions import EXAMPLES, Advice, detector_with, is_on, names_unknown, parse, ranker_with, runs_in, version_name
from aftercast.settings import PROJECT
from aftercast.sources.postmortems.documents import parse as parse_document
from aftercast.versions_file import with_states, with_version, written
from aftercast.window import Window

NOTED = datetime(2026, 10, 5, 9, 30, 12, tzinfo=UTC)
SINCE = datetime(2026, 10, 12, tzinfo=UTC)


def advice(kind: str, confidence: float | None = None) -> Advice:
    return Advice("INC-7:ab12", NOTED, parse(EXAMPLES[kind]), confidence)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_what_we_say_to_write_can_be_read_and_means_the_same_as_yaml_and_as_json(kind: str):
    found = parse(EXAMPLES[kind])
    assert found.kind == kind
    assert parse(found.written) == found
    assert parse(json.loads(found.written)).version == found.version
    assert found.sentence()


@pytest.mark.parametrize(
    ("written_as", "message"),
    [
        ("", "expected names and values"),
        ("[", "neither YAML nor JSON"),
        ('{"mask": ', "neither YAML nor JSON"),
        ("treshold: {signal: x, sensitivity: 1}", "found treshold; did you mean 'threshold'"),
        ("{threshold: {signal: x, sensitivity: 1}, rule: {}}", "exactly one of threshold, mask, rule, found threshold, rule"),
        ("threshold: high", "threshold: expected names and values, found 'high'"),
        ("threshold: {signal: x}", "threshold.sensitivity: Field required"),
        ("threshold: {signal: x, sensitivity: 0}", "threshold.sensitivity: Input should be greater than 0"),
        ("threshold: {signal: x, sensitivity: 1, insight: me}", "insight is filled in when it is adopted"),
        ("threshold: {signal: x, sensitivty: 1, sensitivity: 1}", "threshold.sensitivty: unknown key; did you mean 'sensitivity'"),
        ("mask: {services: [a], signals: [x], weekly: {starts: '22:00', ends: '04:00'}}", "mask.expects: Field required"),
        ("mask: {services: [a], expects: up, weekly: {starts: '22:00', ends: '04:00'}}", "name the `signals`"),
        ("mask: {signals: [x], expects: up, weekly: {starts: '22:00', ends: '04:00'}}", "name the `services` or `journeys`"),
        ("mask: {services: [a], signals: [x], expects: up}", "say when"),
        ("mask: {services: [a], signals: [x], expects: up, weekly: {starts: '25:00', ends: '04:00'}}", "mask.weekly.starts"),
        ("mask: {services: [a], signals: [x], expects: up, weekly: {days: [monday], starts: '2:00', ends: '04:00'}}", "mask.weekly.days"),
        ("rule: {kinds: [deplo], of: [a], says: known}", "unknown kind of change 'deplo'; did you mean 'deploy'"),
        ("rule: {kinds: [deploy], says: harmless}", "a rule of every change says nothing"),
        ("rule: {kinds: [deploy], of: [a], says: maybe}", "rule.says"),
        ("rule: {kinds: [], of: [a], says: known}", "rule.kinds"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_to_write(written_as: str, message: str):
    with pytest.raises(ConfigError) as refused:
        parse(written_as)
    assert message in str(refused.value)
    assert "write e.g. " in str(refused.value)


def test_columns_a_file_leaves_empty_are_not_read_as_said():
    assert parse('{"threshold": {"signal": "x", "subject": null, "sensitivity": 0.8}, "mask": null}') == parse(
        "threshold: {signal: x, sensitivity: 0.8}"
    )


def test_reworded_is_another_version_and_reordered_is_not():
    one = parse("rule: {kinds: [migration], of: [ledger-db], says: known}")
    assert parse("rule: {says: known, of: [ledger-db], kinds: [migration]}").version == one.version
    assert parse("rule: {kinds: [migration], of: [ledger-db], says: harmless}").version != one.version


def test_names_that_are_not_declared_are_told_with_the_nearest():
    known = (["latency_p95_ms"], ["payments", "ledger-db"], ["shop"])
    assert not any(names_unknown(parse(text), *known) for text in EXAMPLES.values())
    wrong = (
        "threshold: {signal: latency_p95, sensitivity: 0.8}",
        "mask: {journeys: [shp], signals: [latency_p95_ms], expects: up, country: DE}",
    )
    assert "signal 'latency_p95' is not declared; did you mean 'latency_p95_ms'" in names_unknown(parse(wrong[0]), *known)
    assert "journey 'shp' is not declared; did you mean 'shop'" in names_unknown(parse(wrong[1]), *known)
    assert "service 'payment'" in names_unknown(parse("rule: {kinds: [flag], hurts: [payment], says: known}"), *known)
    assert not names_unknown(parse("rule: {kinds: [flag], hurts: [payment], says: known}"), ["x"], [], [])


def test_a_row_knows_its_insight_and_does_not_rewrite_history():
    threshold, mask, rule = (advice(kind, 0.6).row() for kind in EXAMPLES)
    assert isinstance(threshold, TuningRow)
    assert isinstance(mask, MaskRow)
    assert isinstance(rule, RuleRow)
    assert threshold.insight == f"INC-7:ab12@{advice('threshold').prescription.version}"  # type: ignore[union-attr]
    assert (mask.since, rule.since, rule.confidence) == (NOTED, NOTED, 0.6)
    assert mask.name != rule.name


def test_a_confidence_said_in_the_rule_counts_before_that_of_its_author():
    sure = parse("rule: {kinds: [flag], of: [a], says: known, confidence: 0.2}")
    row = Advice("I", NOTED, sure, 0.9).row()
    assert isinstance(row, RuleRow)
    assert row.confidence == 0.2


@pytest.mark.parametrize("kind", ["threshold", "mask"])
@pytest.mark.parametrize("indent", ["  ", ""])
def test_a_shadow_gets_into_the_file_and_goes_live_and_every_other_line_stays(kind: str, indent: str):
    live = DetectorRow.model_validate({"version": "one", "state": "live", "tuning": [{"signal": "requests", "sensitivity": 0.9}]})
    before = (
        f"# ours\ndetectors:\n{indent}- version: one  # the first\n{indent}  state: live   # for now\n"
        f"{indent}  tuning: [{{signal: requests, sensitivity: 0.9}}]\n"
    )
    told = advice(kind)
    shadow = detector_with(told, live, version=version_name(told, "one"), since=SINCE)
    after = with_version(before, shadow)
    assert after.startswith(before)
    rows = DetectorsFile.model_validate(yaml.safe_load(after)).detectors
    assert rows == (live, shadow)
    assert runs_in(told, rows[1])
    assert is_on(told, rows[1], rows[0])
    adopted = with_states(after, {shadow.version: "live", "one": "retired"}, live)
    assert [row.state for row in DetectorsFile.model_validate(yaml.safe_load(adopted)).detectors] == ["retired", "live"]
    assert "state: retired   # for now" in adopted
    assert len(adopted.splitlines()) == len(after.splitlines())


def test_a_rule_gets_into_a_file_that_is_not_there_yet():
    told = advice("rule", 0.5)
    shadow = ranker_with(told, DEFAULT_RANKER, version=version_name(told, DEFAULT_RANKER.version), since=SINCE)
    rows = RankersFile.model_validate(yaml.safe_load(with_version("", shadow))).rankers
    assert rows == (DEFAULT_RANKER, shadow)
    assert rows[1].rules[0].confidence == 0.5


def test_a_file_that_cannot_be_changed_safely_is_refused_with_the_row_to_paste():
    told = advice("threshold")
    shadow = detector_with(told, DEFAULT_DETECTOR, version="two", since=SINCE)
    for text in ("detectors: [{version: one, state: live}]\n", "detectors:\n  - version: one\n    state: live\nmore: 1\n"):
        with pytest.raises(ConfigError, match="by hand") as refused:
            with_version(text, shadow)
        assert written(shadow) in str(refused.value)
    flow = "detectors: [{version: one, state: live}, {version: two, state: shadow, since: 2026-01-01}]\n"
    for states in ({"one": "retired"}, {"one": "retired", "two": "live"}):
        with pytest.raises(ConfigError, match="one: retired"):
            with_states(flow, states, shadow)


def test_once_the_live_version_has_moved_on_its_shadow_is_another_version():
    told = advice("mask")
    shadow = detector_with(told, DEFAULT_DETECTOR, version="x", since=SINCE)
    moved = detector_with(advice("threshold"), DEFAULT_DETECTOR, version="y", since=SINCE)
    assert not is_on(told, shadow, moved)
    assert is_on(told, detector_with(told, moved, version="z", since=SINCE), moved)
    written_later = Advice(told.insight_id, NOTED + timedelta(days=9), told.prescription, 0.1)
    assert is_on(written_later, shadow, DEFAULT_DETECTOR)
    sharper = DEFAULT_DETECTOR.model_copy(update={"tuning": (TuningRow(signal="latency_p95_ms", subject="payments", sensitivity=2.0),)})
    assert is_on(advice("threshold"), detector_with(advice("threshold"), sharper, version="w", since=SINCE), sharper)
    rule = advice("rule")
    known = ranker_with(rule, DEFAULT_RANKER, version="r", since=SINCE)
    assert is_on(rule, known, DEFAULT_RANKER)
    assert not is_on(rule, known, DEFAULT_RANKER.model_copy(update={"weights": "learned"}))
    assert len({version_name(told, one) for one in ("x", "y", DEFAULT_DETECTOR.version)}) == 3
    assert version_name(told, version_name(told, "base")).count("insight") == 1


times_of_day = st.times().map(lambda one: f"{one:%H:%M}")


@given(
    times_of_day, times_of_day, st.sets(st.sampled_from(["mon", "wed", "sun"]), min_size=1), st.integers(0, 24 * 400), st.integers(1, 500)
)
def test_a_weekly_window_is_told_when_and_only_when_it_overlaps(starts: str, ends: str, days: set[str], first: int, hours: int):
    weekly = {"days": sorted(days), "starts": starts, "ends": ends}
    row = CalendarRow.model_validate({"name": "batch", "kind": "other", "weekly": weekly, "zone": "Europe/Berlin"})
    begin = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=first)
    window = Window(begin, begin + timedelta(hours=hours))
    told = occurrences(row, window)
    every = [row.weekly.on((begin - timedelta(days=4)).date() + timedelta(days=n), row.zone) for n in range(hours // 24 + 9)]  # type: ignore[union-attr]
    assert told == [one for one in every if one is not None and one.start < window.end and one.end > window.start]
    assert all(one.length <= timedelta(hours=25) for one in told)


def test_a_weekly_window_crosses_midnight_and_follows_the_clocks_of_its_zone():
    night = WeeklyRow.model_validate({"days": ["sat"], "starts": "22:00", "ends": "04:00"})
    window = night.on(datetime(2026, 10, 24).date(), "Europe/Berlin")
    assert window == Window.parse("2026-10-24T20:00Z", "2026-10-25T03:00Z")  # clocks go back in that night
    assert night.on(datetime(2026, 10, 25).date(), "Europe/Berlin") is None
    assert WeeklyRow.model_validate({"starts": 14 * 60 + 30, "ends": "15:00"}).starts == "14:30"


def test_what_the_documentation_shows_can_be_read():
    page = (PROJECT / "docs" / "insights.md").read_text(encoding="utf-8")
    blocks = [block.split("\n```")[0] for block in page.split("```yaml\n")[1:]]
    front = parse_document(blocks[0]).front["prescriptions"]
    shown = [parse({name: value for name, value in one.items() if name in EXAMPLES}) for one in front]
    assert [one.kind for one in shown] == ["mask", "threshold", "rule"]
    live = "  - {version: one, state: live}\n"
    for block in blocks[1:]:
        rows = RankersFile.model_validate(yaml.safe_load(f"rankers:\n{live}{block}")).rankers
        assert rows[1].rules or rows[1].without


def test_an_insight_of_any_source_is_refused_when_what_it_prescribes_cannot_be_read():
    insight = {"insight_id": "I", "version": 1, "text": "Words", "recorded_at": NOTED}
    prescribed = [EXAMPLES["mask"], json.dumps(yaml.safe_load(EXAMPLES["rule"])), None, "threshold: {}", "soon"]
    frame = pl.DataFrame([{**insight, "prescription": one} for one in prescribed])
    found = conform(ENTITIES["insights"], frame, origin="insights.csv", key=b"k", first_row=2)
    assert found.accepted["prescription"].to_list() == prescribed[:3]
    assert found.rejected.select("origin", "row").rows() == [("insights.csv", 5), ("insights.csv", 6)]
    assert all(reason.startswith("prescription: ") and "write e.g. " in reason for reason in found.rejected["reason"])
