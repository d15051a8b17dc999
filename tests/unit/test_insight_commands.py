"""`aftercast insights`: what it shows, and that nothing gets live but by a person who says so, on what happened since."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from aftercast import cli, warehouse
from aftercast.analyses import DERIVED
from aftercast.prescriptions import EXAMPLES, parse
from aftercast.settings import Settings, load_deployment

AS_OF = datetime(2026, 10, 20, tzinfo=UTC)
NOTED = datetime(2026, 10, 5, 9, tzinfo=UTC)
DETECTORS = "# ours\ndetectors:\n  - version: one\n    state: live # for now\n"
Placed = tuple[Settings, pytest.MonkeyPatch]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = Settings(home=tmp_path / "home", config=tmp_path / "config")
    (settings.config / "catalog").mkdir(parents=True)
    (settings.config / "sources.yml").write_text("history: {start: '2026-09-01', end: '2026-09-02'}\nsources: []\n")
    signal = "{name: latency_p95_ms, fact: metric, value: latency_p95_ms, by: [service]}"
    (settings.config / "signals.yml").write_text(f"signals: [{signal}]\n")
    (settings.config / "catalog" / "services.csv").write_text("service,kind\npayments,service\nledger-db,store\n")
    (settings.config / "detectors.yml").write_text(DETECTORS)
    settings.published.mkdir(parents=True)
    monkeypatch.setenv("AFTERCAST_HOME", str(settings.home))
    monkeypatch.setenv("AFTERCAST_CONFIG", str(settings.config))
    return settings


def publish(settings: Settings, *verdicts: str) -> None:
    """A mart with a threshold, a mask and a rule of these verdicts, and one that cannot be used."""
    rows = []
    for verdict, (kind, text) in zip(verdicts, EXAMPLES.items(), strict=True):
        prescription = parse(text)
        counted = {"rankings_touched_n": 4, "causes_known_n": 6, "top1_now": 4, "top1_then": 5, "brier_difference": -0.02}
        if kind != "rule":
            counted = {f"{name}_{when}": 3 for name in ("confirmed", "rejected", "incidents_caught") for when in ("now", "then")}
            counted |= {"alarms_now": 9, "alarms_then": 6, "incidents_n": 4, "precision_now": 0.5, "precision_then": 0.75}
            counted |= {"precision_now_low": 0.2, "precision_now_high": 0.8, "precision_then_low": 0.3, "precision_then_high": 0.9}
        told = {"prescription": prescription.written, "prescribes": prescription.sentence(), "feature_version": prescription.version}
        rows.append(
            {
                "insight_id": f"I-{kind}",
                "kind": kind,
                "state": "proposed",
                "verdict": verdict,
                "reason": f"because {kind}",
                **told,
                **counted,
            }
        )
    rows.append({"insight_id": "I-gone", "kind": "", "state": "proposed", "verdict": "unusable", "reason": "signal 'x' is not declared"})
    frame = pl.DataFrame(rows, schema=dict(DERIVED["insight_effects"]), orient="row").with_columns(
        confidence=pl.lit(0.8), recorded_at=pl.lit(NOTED), as_of=pl.lit(AS_OF)
    )
    with warehouse.connect(settings.mart, read_only=False) as connection:
        connection.execute("create schema if not exists marts")
        connection.register("rows", frame.to_arrow())
        connection.execute("create or replace table marts.mart_insight_effects as select * from rows")


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = 0
    try:
        cli.main(["insights", *arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, " ".join((captured.out + captured.err).split())


def detectors(settings: Settings) -> dict[str, str]:
    return {row.version: row.state for row in load_deployment(settings.config).detectors}


def test_the_list_tells_effect_reason_and_what_to_type_next(place: Settings, capsys: pytest.CaptureFixture[str]):
    publish(place, "run_in_shadow", "promote", "keep")
    code, said = run(capsys=capsys)
    assert code == 0, said
    for word in (
        "9 -> 6 alarms",
        "because threshold",
        "insights try I-threshold",
        "insights adopt I-mask",
        "cannot be used",
        "'x' is not declared",
    ):
        assert word in said, word
    assert "try I-rule" not in said


def test_trying_declares_a_shadow_beside_the_live_version_once(place: Settings, capsys: pytest.CaptureFixture[str]):
    publish(place, "run_in_shadow", "run_in_shadow", "run_in_shadow")
    code, said = run("try", "I-mask", "--print", capsys=capsys)
    assert (code, (place.config / "detectors.yml").read_text()) == (0, DETECTORS), said
    code, said = run("try", "I-mask", capsys=capsys)
    assert code == 0, said
    text = (place.config / "detectors.yml").read_text()
    assert text.startswith(DETECTORS)
    live, shadow = load_deployment(place.config).detectors
    assert (live.version, live.state, shadow.state, shadow.since) == ("one", "live", "shadow", AS_OF)
    assert (shadow.masks[0].since, shadow.masks[0].weekly.starts if shadow.masks[0].weekly else "") == (NOTED, "02:00")
    code, said = run("try", "I-mask", capsys=capsys)
    assert (code, "runs in shadow already" in said) == (1, True)
    assert (place.config / "detectors.yml").read_text() == text


def test_adopting_needs_a_shadow_and_what_happened_since_or_a_word(place: Settings, capsys: pytest.CaptureFixture[str]):
    publish(place, "run_in_shadow", "run_in_shadow", "run_in_shadow")
    code, said = run("adopt", "I-threshold", capsys=capsys)
    assert (code, "runs in no shadow yet" in said) == (1, True)
    run("try", "I-threshold", capsys=capsys)
    code, said = run("adopt", "I-threshold", capsys=capsys)
    assert code == 1
    assert "not ready (run_in_shadow): because threshold; adopt it all the same with --anyway" in said
    assert list(detectors(place).values()) == ["live", "shadow"]
    publish(place, "promote", "keep", "keep")
    code, said = run("adopt", "I-threshold", capsys=capsys)
    assert code == 0, said
    assert list(detectors(place).values()) == ["retired", "live"]
    assert "state: retired # for now" in (place.config / "detectors.yml").read_text()
    code, said = run("adopt", "I-threshold", capsys=capsys)
    assert (code, "live already" in said) == (1, True)


def test_a_shadow_of_a_version_that_is_live_no_more_is_declared_anew(place: Settings, capsys: pytest.CaptureFixture[str]):
    publish(place, "promote", "promote", "promote")
    run("try", "I-mask", capsys=capsys)
    run("try", "I-threshold", capsys=capsys)
    run("adopt", "I-threshold", capsys=capsys)
    code, said = run("adopt", "I-mask", capsys=capsys)
    assert (code, "aftercast insights try I-mask declares one that is" in said) == (1, True)
    code, said = run("try", "I-mask", capsys=capsys)
    assert code == 0, said
    assert "is retired: the live version has changed" in said
    rows = load_deployment(place.config).detectors
    assert [row.state for row in rows] == ["retired", "retired", "live", "shadow"]
    assert (len(rows[3].tuning), len(rows[3].masks)) == (1, 1)
    assert run("adopt", "I-mask", capsys=capsys)[0] == 0


def test_a_rule_goes_to_the_rankers_also_without_a_file(place: Settings, capsys: pytest.CaptureFixture[str]):
    publish(place, "keep", "keep", "run_in_shadow")
    code, said = run("try", "I-rule", capsys=capsys)
    assert code == 0, said
    live, shadow = load_deployment(place.config).rankers
    assert (live.state, shadow.state, shadow.rules[0].confidence, shadow.rules[0].since) == ("live", "shadow", 0.8, NOTED)
    assert run("adopt", "I-rule", "--anyway", capsys=capsys)[0] == 0
    assert [row.state for row in load_deployment(place.config).rankers] == ["retired", "live"]


@pytest.mark.parametrize(("named", "message"), [("I-gone", "cannot be used: signal 'x'"), ("I-masc", "did you mean 'I-mask'")])
def test_what_cannot_be_used_or_is_not_there_is_refused(place: Settings, named: str, message: str, capsys: pytest.CaptureFixture[str]):
    publish(place, "keep", "keep", "keep")
    code, said = run("try", named, capsys=capsys)
    assert (code, message in said) == (1, True), said


def test_a_mart_of_an_earlier_version_and_one_without_insights_say_what_to_do(place: Settings, capsys: pytest.CaptureFixture[str]):
    with warehouse.connect(place.mart, read_only=False) as connection:
        connection.execute("create schema marts")
    code, said = run(capsys=capsys)
    assert (code, "built by an earlier version" in said) == (1, True)
    publish(place, "keep", "keep", "keep")
    with warehouse.connect(place.mart, read_only=False) as connection:
        connection.execute("delete from marts.mart_insight_effects")
    code, said = run(capsys=capsys)
    assert (code, "docs/insights.md" in said) == (0, True)
