"""The campaign in small, and every crash it ever found, by name. `python -m tests.fuzzing` runs the whole."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aftercast import extraction, prescriptions, yaml_texts
from aftercast.connections import Endpoint
from aftercast.declarations import SourceRow
from aftercast.errors import ConfigError, LandingError, SourceRejected, SourceUnavailable
from aftercast.landing.quarantine import held
from aftercast.reviewing import front_matter
from aftercast.settings import load_deployment
from aftercast.sources import KINDS, formats
from aftercast.sources.web import Request, Web
from tests.answering import Answer, serve
from tests.fuzzing import campaign, config_files, mutations
from tests.fuzzing.seeds import NO_INPUT, SEEDS
from tests.unit.landing_fixture import deployment

PAYLOADS = int(os.environ.get("AFTERCAST_FUZZ_PAYLOADS", "30"))
SPOILT_FILES = int(os.environ.get("AFTERCAST_FUZZ_FILES", "8"))


def test_every_kind_of_source_has_a_seed_or_a_reason_to_have_none():
    fed = {one.kind for one in SEEDS.values()}
    missing = sorted(KINDS.keys() - fed - NO_INPUT.keys())
    assert not missing, f"add a healthy payload for {', '.join(missing)} to tests/fuzzing/seeds.py, so that the campaign can spoil it"
    assert not (fed | NO_INPUT.keys()) - KINDS.keys(), "a seed for a kind that is gone; remove it"


@pytest.mark.parametrize("name", sorted(SEEDS))
def test_no_payload_crashes_a_source_or_is_lost(name: str, tmp_path: Path):
    report = campaign.run(name, tmp_path, seed=1, payloads=PAYLOADS)
    assert len(report.outcomes) == PAYLOADS
    assert not report.bad, "\n".join(map(str, report.bad[:5]))
    if len(campaign.mutations_for(SEEDS[name])) <= PAYLOADS:
        assert report.count("landed") + report.count("quarantined") and report.count("refused") + report.count("quarantined")


@pytest.fixture(scope="module")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return config_files.make(tmp_path_factory.mktemp("configuration")).parent


def test_no_spoilt_file_of_a_configuration_crashes(configuration: Path):
    files = config_files.names(configuration / "config")
    assert {"sources.yml", "slos/demo.yml", "catalog/services.csv", "postmortems.yml", "catalog/backstage/all.yaml"} <= set(files)
    reports = [config_files.run(name, configuration, seed=1, payloads=SPOILT_FILES) for name in files]
    bad = [f"{report.seed}: {one}" for report in reports for one in report.bad]
    assert not bad, "\n".join(bad[:5])
    assert sum(report.count("refused") for report in reports) > len(files), "a campaign that spoils nothing proves nothing"


def test_the_campaign_sees_a_crash_and_a_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def found(*_: object) -> object:
        raise RecursionError("deep")

    tried = campaign.Field(tmp_path, SEEDS["unleash"])
    tried.rehearse()
    monkeypatch.setattr(campaign.extraction, "told", found)
    assert campaign.judged(tried, 1, "null", random.Random(1)).became == "crashed"
    monkeypatch.undo()
    tried.whole["changes"] += 1
    assert campaign.judged(tried, 1, "null", random.Random(1)).became == "lost"


def test_a_record_whose_time_in_another_zone_is_of_another_window_is_no_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tried = campaign.Field(tmp_path, SEEDS["unleash"])
    tried.rehearse()
    put = "2026-09-01T10:15:00.000000+05:45"  # 04:30 UTC, and the window begins at 10:00

    def another(document: dict[str, Any], name: str, chance: random.Random, touched: list[mutations.Path]) -> Any:
        touched.append(("events", 0, "createdAt"))
        return {**document, "events": [{**document["events"][0], "createdAt": put}, *document["events"][1:]]}

    monkeypatch.setattr(mutations, "slip", another)
    assert campaign.judged(tried, 1, "wrong time zone", random.Random(1)).became == "landed"
    put = "2026-09-01T10:15:00.000000+00:00"
    monkeypatch.setitem(tried.whole, "changes", 4)
    assert campaign.judged(tried, 1, "wrong time zone", random.Random(1)).became == "lost"


def test_a_thread_that_goes_with_the_message_that_begins_it_is_no_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tried = campaign.Field(tmp_path, SEEDS["slack"])
    tried.rehearse()
    slip = mutations.slip

    def first(document: dict[str, Any], name: str, chance: random.Random, touched: list[mutations.Path]) -> Any:
        if not document.get("messages"):
            return slip(document, name, chance, touched)
        touched.append(("messages", 0))
        return {**document, "messages": [{"deeper": 1}, *document["messages"][1:]]}

    monkeypatch.setattr(mutations, "slip", first)
    became = set()
    for number in range(6):
        tried.tried.clear()
        became.add(campaign.judged(tried, number, "nested", random.Random(number)).became)
    assert "quarantined" in became and "lost" not in became


# --- what it found, by name


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(raw=b"[" * 200_000), "is no whole JSON"),
        (Answer(raw=b"{}", headers={"content-encoding": "gzip"}), "DecodingError"),
    ],
)
def test_an_answer_nested_too_deeply_or_packed_wrongly_is_unavailable_and_not_a_traceback(answer: Answer, said: str):
    with serve(lambda _: answer) as server, pytest.raises(SourceUnavailable, match=said):
        Web("s", Endpoint("c", "http", server.url), sleep=lambda _: None).ask(Request("/x"))


def test_a_csv_header_longer_than_python_reads_is_quarantined(tmp_path: Path):
    (tmp_path / "a.csv").write_text("[" * 200_000 + "\n")
    (block,) = formats.read(tmp_path / "a.csv", "csv")
    assert block.unreadable["reason"].to_list() == ["not a readable csv file: field larger than field limit (131072)"]


def test_what_a_kind_stumbles_over_says_what_to_do_and_repeats_no_megabyte():
    def found():
        raise KeyError("x" * 10**6)
        yield

    row = SourceRow(name="shop", kind="demo")
    with pytest.raises(SourceRejected, match="aftercast source check shop") as caught:
        list(extraction.told(row, found()))
    assert len(str(caught.value)) < 1000


def test_no_error_of_ours_repeats_a_word_that_nobody_reads():
    said = str(ConfigError(f"signals.yml: unknown signal {'x' * 100_000}; choose from a"))
    assert len(said) < 300 and said.endswith("(100,001 characters) choose from a") and said.startswith("signals.yml: unknown signal xxx")


def test_an_answer_that_makes_an_address_too_long_is_refused_and_not_a_traceback():
    with (
        Web("s", Endpoint("c", "http", "http://service.test"), sleep=lambda _: None) as web,
        pytest.raises(SourceRejected, match="too long"),
    ):
        web.ask(Request("/x", {"cursor": "x" * 100_000}))


def changed(folder: Path, name: str, text: str | bytes) -> str:
    path = folder / "config" / name
    kept = path.read_bytes()
    path.write_bytes(text if isinstance(text, bytes) else kept + text.encode())
    try:
        with pytest.raises(ConfigError) as caught:
            load_deployment(folder / "config")
    finally:
        path.write_bytes(kept)
    assert path.name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["calendar.yml", "slos/demo.yml", "catalog/backstage/all.yaml"])
@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("\n---\na: 2026-02-30\n", "a value cannot be read|single document"),
        (f"\n---\na: {'[' * 3000}", "nested too deeply|single document|not readable YAML"),
        ("\n---\na: &a [*a]\n", "aliases make more|holds itself|single document"),
        (f"\n---\n{config_files.BOMB}", "aliases make more|single document"),
    ],
)
def test_yaml_that_cannot_be_read_names_its_file(configuration: Path, name: str, more: str, said: str):
    assert any(one in changed(configuration, name, more) for one in said.split("|"))


def test_a_catalogue_that_is_no_utf8_or_csv_names_its_file(configuration: Path):
    assert "is not readable CSV" in changed(configuration, "catalog/services.csv", b"service,title\n\xff\xfe,x\n")
    assert "is not readable CSV" in changed(configuration, "catalog/teams.csv", 'x,"' + "y" * 200_000)


def test_a_metric_source_that_is_no_mapping_names_its_document(configuration: Path):
    text = (configuration / "config" / "slos" / "demo.yml").read_text()
    spoilt = yaml.safe_load_all(text)
    documents = list(spoilt)

    def spoil(value: object) -> None:
        for key, below in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
            if key == "metricSource":
                below["spec"] = "a"
            else:
                spoil(below)

    spoil(documents)
    said = changed(configuration, "slos/demo.yml", yaml.safe_dump_all(documents).encode())
    assert "metricSource.spec must be a mapping, found str" in said


def test_an_objective_declared_twice_names_its_document(configuration: Path):
    text = (configuration / "config" / "slos" / "demo.yml").read_text()
    assert "demo.yml document" in changed(configuration, "slos/demo.yml", "\n---\n" + text)


def test_an_entry_of_launchdarkly_that_names_no_flag_is_counted(tmp_path: Path):
    tried = campaign.Field(tmp_path, SEEDS["launchdarkly"])
    tried.rehearse()
    seed = SEEDS["launchdarkly"]
    rule = seed.service()  # type: ignore[misc]

    def nameless(asked):
        answer = rule(asked)
        answer.data["items"][0] |= {"target": "ZZZ"}
        return answer

    object.__setattr__(tried, "seed", type(seed)(**{**seed.__dict__, "service": lambda: nameless}))
    landed, _ = tried.run("", random.Random(1))
    assert landed["changes"].reasons == {"entries that name no flag of an environment": 1}


# --- readers of text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=3),
    max_leaves=8,
)


@given(st.text(max_size=200) | VALUES.map(lambda value: yaml.safe_dump(value, allow_unicode=True)))
def test_any_text_is_yaml_or_says_why_not(text: str):
    try:
        yaml_texts.read(text)
    except yaml_texts.NotYaml as error:
        assert error.reason


@given(st.text(max_size=200) | VALUES.map(json.dumps) | st.sampled_from(["threshold", "mask", "rule"]).map(lambda one: f"{one}: {{a: 1}}"))
def test_any_text_is_a_prescription_or_a_config_error(text: str):
    try:
        prescriptions.parse(text)
    except ConfigError as error:
        assert str(error)


@given(st.text(max_size=200).map(lambda text: f"---\n{text}\n---\n"))
def test_any_front_matter_is_read_or_says_at_which_line_not(text: str):
    try:
        front_matter.read(text)
    except front_matter.Unreadable as error:
        assert error.line >= 1


@given(st.binary(max_size=300))
def test_any_bytes_dropped_as_a_file_are_rows_or_lines_with_a_reason(tmp_path_factory: pytest.TempPathFactory, content: bytes):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    for form in ("csv", "jsonl", "parquet"):
        for block in formats.read(path, form):
            assert block.unreadable["reason"].null_count() == 0


@given(st.text(max_size=120))
def test_any_edit_of_a_quarantine_file_is_read_or_names_the_line(tmp_path_factory: pytest.TempPathFactory, line: str):
    place = deployment(tmp_path_factory.mktemp("edited"))
    path = place.quarantine / "alerts" / "source=shop" / "a.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(line, encoding="utf-8", errors="surrogatepass")
    try:
        list(held(place))
    except LandingError as error:
        assert "line" in str(error)


def test_a_slip_spoils_one_value_and_the_same_seed_the_same_one():
    document = {"a": [{"b": 1}, {"b": 2}], "c": "x"}
    touched: list[mutations.Path] = []
    spoilt = mutations.slip(document, "null", random.Random(3), touched)
    assert spoilt != document and spoilt == mutations.slip(document, "null", random.Random(3)) and len(touched) == 1
    assert document == {"a": [{"b": 1}, {"b": 2}], "c": "x"}
