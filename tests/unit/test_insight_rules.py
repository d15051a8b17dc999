"""What people know of changes, as evidence of a ranker version: how it counts, what it must not do, and how its effect is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from aftercast.ablation import of_detectors, of_rankers
from aftercast.correlation import Correlation, correlate
from aftercast.declarations import DetectorRow, RankerRow, SignalRow
from aftercast.errors import ConfigError
from aftercast.features import CHECKS, RULES
from aftercast.prescriptions import Advice, parse, ranker_with
from aftercast.settings import load_deployment
from tests.unit.correlate_fixture import ONSET, change, incident, inputs

DAYS = 20
AS_OF = ONSET + timedelta(days=DAYS + 1)
NOTED = ONSET + timedelta(days=5, hours=6)
LIVE = RankerRow(version="live", state="live")
KNOWN = "rule: {kinds: [migration], of: [store], hurts: [web], says: known}"
HARMLESS = "rule: {kinds: [deploy], of: [mail], says: harmless}"


def told(text: str) -> Advice:
    return Advice("INC-05:ab", NOTED, parse(text))


def verdict(day: int, subject: tuple[str, str]) -> dict[str, Any]:
    decided = ONSET + timedelta(days=day, hours=20)
    said = {"verdict": "confirm", "origin": "human", "subject_kind": subject[0], "subject_id": subject[1]}
    return {"verdict_id": f"v{day}", "version": 1, "incident_id": f"INC-{day:02d}", "decided_at": decided, **said}


def history(*rankers: RankerRow, advice: tuple[Advice, ...] = (), cause: str = "m", judged: int = DAYS) -> Correlation:
    """Twenty days with an incident at web each: minutes after a release of mail, half an hour after a migration of store."""
    onsets = [ONSET + timedelta(days=day) for day in range(DAYS)]
    rows = [incident(f"INC-{day:02d}", onset=onset) for day, onset in enumerate(onsets)]
    changes = [change(f"d{day:02d}", "mail", onset=onset) for day, onset in enumerate(onsets)]
    changes += [change(f"m{day:02d}", "store", before=10, kind="migration", onset=onset) for day, onset in enumerate(onsets)]
    verdicts = pl.DataFrame([verdict(day, ("change", f"{cause}{day:02d}")) for day in range(judged)])
    given = inputs(incidents=rows, changes=changes, **({"verdicts": verdicts} if judged else {}))
    return correlate(given, AS_OF, rankers or (LIVE,), advice)


def chances(candidates: pl.DataFrame, first: str) -> dict[str, float]:
    rows = candidates.filter(pl.col("candidate_id").str.starts_with(first) & (pl.col("kind") == "change"))
    return dict(rows.select("incident_id", "probability").iter_rows())


@pytest.fixture(scope="module")
def plain() -> Correlation:
    return history()


def test_a_rule_speaks_for_the_changes_it_names_in_incidents_after_it_was_known_and_in_no_other(plain: Correlation):
    live = ranker_with(told(KNOWN), LIVE, version="knows", since=NOTED).model_copy(update={"state": "live"})
    found = history(live)
    before, after = chances(plain.candidates, "m"), chances(found.candidates, "m")
    assert {name for name in after if after[name] > before[name]} == {f"INC-{day:02d}" for day in range(6, DAYS)}
    assert all(after[f"INC-{day:02d}"] == before[f"INC-{day:02d}"] for day in range(6))
    rows = found.evidence.filter(pl.col("check_name") == RULES)
    assert rows.height == DAYS - 6
    assert rows["strength"].unique().to_list() == [0.7]
    assert rows["feature_version"].unique().to_list() == [told(KNOWN).feature]
    assert "migration on store are known to hurt web" in rows["why"][0]


def test_what_is_held_harmless_stays_a_candidate(plain: Correlation):
    live = ranker_with(told(HARMLESS), LIVE, version="knows", since=NOTED).model_copy(update={"state": "live"})
    found = history(live)
    assert chances(found.candidates, "d").keys() == chances(plain.candidates, "d").keys()
    assert 0 < chances(found.candidates, "d")["INC-10"] < chances(plain.candidates, "d")["INC-10"]


def test_the_less_sure_its_author_the_less_a_rule_counts():
    sure, unsure = (
        chances(
            history(
                ranker_with(Advice("I", NOTED, parse(KNOWN), one), LIVE, version="k", since=NOTED).model_copy(update={"state": "live"})
            ).candidates,
            "m",
        )["INC-10"]
        for one in (1.0, 0.3)
    )
    assert unsure < sure


def test_advice_changes_nothing_that_anybody_reads(plain: Correlation):
    advised = history(advice=(told(KNOWN), told(HARMLESS)))
    for name, table in plain.tables().items():
        if name != "insight_effects":
            assert table.equals(getattr(advised, name)), name
    assert advised.insight_effects.height == 2


def test_a_rule_that_is_right_is_worth_a_shadow_and_one_that_is_wrong_is_not():
    (right,) = history(advice=(told(KNOWN),)).insight_effects.to_dicts()
    (wrong,) = history(advice=(told(KNOWN),), cause="d").insight_effects.to_dicts()
    assert (right["verdict"], right["rankings_n"], right["rankings_touched_n"], right["causes_known_n"]) == ("run_in_shadow", 14, 14, 14)
    assert right["compared_from"] == NOTED
    assert right["brier_difference"] < 0
    assert right["brier_difference"] == pytest.approx(right["brier_then"] - right["brier_now"], abs=1e-5)
    assert right["brier_difference_low"] <= right["brier_difference"] <= right["brier_difference_high"]
    assert (wrong["verdict"], wrong["brier_difference"] > 0) == ("keep", True)
    assert right["alarms_now"] is None


def test_a_rule_nobody_can_judge_yet_waits():
    (none,) = history(advice=(told(KNOWN),), judged=0).insight_effects.to_dicts()
    (few,) = history(advice=(told(KNOWN),), judged=8).insight_effects.to_dicts()
    assert (none["verdict"], none["brier_difference"]) == ("not_enough_data", None)
    assert (few["verdict"], few["causes_known_n"]) == ("not_enough_data", 2)
    assert "2 incidents of known cause that it touches, 5 needed" in few["reason"]


def test_a_shadow_that_held_may_go_live_and_is_then_told_against_what_was():
    shadow = ranker_with(told(KNOWN), LIVE, version="knows", since=NOTED)
    (row,) = history(LIVE, shadow, advice=(told(KNOWN),)).insight_effects.to_dicts()
    assert (row["verdict"], row["state"], row["shadow_version"]) == ("promote", "shadow", "knows")
    adopted = shadow.model_copy(update={"state": "live"})
    (live,) = history(LIVE.model_copy(update={"state": "retired"}), adopted, advice=(told(KNOWN),)).insight_effects.to_dicts()
    assert (live["verdict"], live["state"], live["brier_difference"]) == ("adopted", "live", row["brier_difference"])


def test_the_scorecard_tells_what_one_check_is_worth_on_the_same_incidents(plain: Correlation):
    blind = RankerRow(version="blind", state="shadow", since=NOTED, without=("change_before_onset", "base_rate_of_changes"))
    found = history(LIVE, blind)
    both = found.judged_rankings.pivot("ranker_version", index="incident_id", values="brier")
    assert both.height == DAYS
    assert (both["live"] != both["blind"]).any()
    assert found.candidates.equals(plain.candidates)


def test_a_version_says_which_one_learning_signal_tells_it_from_the_live_one():
    rule = ranker_with(told(KNOWN), LIVE, version="knows", since=NOTED)
    blind = RankerRow(version="blind", state="shadow", since=NOTED, without=("saturation",))
    both = rule.model_copy(update={"version": "both", "weights": "learned"})
    learnt = of_rankers([LIVE, rule, blind, both])
    assert learnt["live"].differs_by == ()
    assert learnt["knows"].isolates == f"insight:{told(KNOWN).feature}"
    assert learnt["blind"].differs_by == (f"-check:saturation@{CHECKS['saturation']}",)
    assert learnt["blind"].isolates == f"check:saturation@{CHECKS['saturation']}"
    assert (learnt["both"].isolates, len(learnt["both"].differs_by)) == ("", 2)
    assert len({one.features_version for one in learnt.values()}) == 4


def test_a_signal_defined_otherwise_is_another_feature_and_one_judged_otherwise_is_not():
    signal = SignalRow(name="errors", fact="metric", value="errors", by=("service",))
    louder, coarser = signal.model_copy(update={"sensitivity": 2.0}), signal.model_copy(update={"grain_minutes": 15})
    assert signal.feature_version == louder.feature_version != coarser.feature_version
    live = DetectorRow(version="one", state="live")
    tuned = DetectorRow.model_validate(
        {"version": "two", "state": "shadow", "since": NOTED, "tuning": [{"signal": "errors", "sensitivity": 0.8}]}
    )
    learnt = of_detectors([live, tuned], [signal])
    assert learnt["two"].isolates == "tuning:errors@0.8"
    assert learnt["one"].signals == (f"signal:errors@{signal.feature_version}",)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "rankers.yml",
            "rankers: [{version: a, state: live, without: [saturaton]}]",
            "unknown check 'saturaton'; did you mean 'saturation'",
        ),
        (
            "rankers.yml",
            "rankers: [{version: a, state: live, rules: [{name: r, kinds: [flag], of: [weeb], says: known}]}]",
            "service 'weeb'",
        ),
        (
            "detectors.yml",
            "detectors: [{version: a, state: live, masks: [{name: n, services: [web], signals: [erors], expects: up, country: DE}]}]",
            "mask 'n' of version 'a': signal 'erors' is not declared; did you mean 'errors'",
        ),
        (
            "detectors.yml",
            "detectors: [{version: a, state: live, masks: [{services: [web], signals: [errors], expects: up, country: DE}]}]",
            "needs a name of its own",
        ),
    ],
)
def test_versions_name_only_what_exists(tmp_path: Any, file: str, content: str, message: str):
    (tmp_path / "sources.yml").write_text("history: {start: '2026-09-01', end: '2026-09-02'}\nsources: []\n")
    (tmp_path / "signals.yml").write_text("signals: [{name: errors, fact: metric, value: errors, by: [service]}]\n")
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "services.csv").write_text("service,kind\nweb,service\n")
    (tmp_path / file).write_text(content)
    with pytest.raises(ConfigError, match=file) as refused:
        load_deployment(tmp_path)
    assert message in str(refused.value)
