"""A narrative says what the draft says: each sentence cites, no number or name is new, nothing is called a cause; it is asked for once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercast import connections
from aftercast.acting import narrating
from aftercast.errors import ConfigError, SourceUnavailable
from aftercast.learning import drafts
from aftercast.learning.drafts import narrative
from aftercast.settings import Settings
from tests.unit import landing_fixture
from tests.unit.drafts_fixture import marts

DOCUMENT = """\
---
incident_id: "INC-1"
status: draft
---

# INC-1: Payments timing out [E1]

## Summary

“Payments timing out” (sev2) hit payments; customers were hit for 55 min [E1].
It cost EUR 7.10k (95% interval 3.88k to 10.8k) [E1].
The likeliest candidate is provider Cardway, 99% [E2].

## Impact

| journey | lost revenue | evidence |
|---|--:|---|
| shop | EUR 964 | [E3] |

## Lessons learned

<!-- 77 things, yours to write -->

## Evidence

- [E1] `from marts.mart_incidents where incident_id = 'INC-1'`
- [E2] `from marts.mart_incident_candidates where incident_id = 'INC-1' and rank = '1'`
- [E3] `from marts.mart_incident_impact where incident_id = 'INC-1' and journey = 'shop'`
"""
TRUE = "Customers could not pay for 55 min [E1]."


def why(sentence: str) -> str:
    told = narrative.checked(sentence, DOCUMENT)
    assert len(told.kept) + len(told.left_out) == 1, told
    return told.left_out[0][1] if told.left_out else ""


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        (TRUE, ""),
        ("It cost EUR 7.10k, somewhere from 3.88k to 10.8k [E1].", ""),
        ("The likeliest candidate is Cardway at 99% [E2], and shop lost EUR 964 [E3].", ""),
        ("Customers could not pay for 55 min.", "cites no evidence"),
        ("Customers could not pay [E9].", "cites E9, which the draft does not have"),
        ("Customers could not pay for 56 min [E1].", "the number 56 does not stand beside what it cites"),
        ("It cost EUR 964 [E1].", "the number 964 does not stand beside what it cites"),
        ("It took 77 steps [E1].", "the number 77 does not stand beside what it cites"),
        ("Payments failed because of Cardway [E2].", "calls something a cause (because)"),
        ("This was caused by Cardway [E2].", "calls something a cause (caused)"),
        ("The on-call Maria Keller took it [E1].", "the draft knows no on-call"),
        ("It was Maria who noticed [E1].", "the draft knows no Maria"),
        ("It hit orders-db as well [E1].", "the draft knows no orders-db"),
    ],
)
def test_a_sentence_stays_only_when_the_draft_bears_it_out(sentence: str, reason: str):
    assert why(sentence) == reason


@given(number=st.integers(0, 10**9))
def test_no_number_gets_in_that_does_not_stand_beside_its_citation(number: int):
    beside = {"55", "7.10", "95", "3.88", "10.8", "2"}
    assert (why(f"It was {number} of them [E1].") == "") == (str(number) in beside)


def test_the_narrative_stands_behind_the_summary_and_the_document_still_holds():
    told = narrative.checked(f"{TRUE} Nobody knows why it took 3 hours [E1].", DOCUMENT)
    text = narrative.inserted(DOCUMENT, told, "openai:some-model-4")
    assert text.index("## Summary") < text.index("## Narrative") < text.index("## Impact")
    assert TRUE in text
    assert "3 hours" not in text
    assert "what could not be checked was left out" in text
    frames = marts()
    real = drafts.draft(frames, "INC-1")
    assert real is not None
    title = next(line for line in real.text.splitlines() if line.startswith("# "))
    kept = narrative.checked(title.lstrip("# ") + ".", real.text)
    assert not drafts.problems(narrative.inserted(real.text, kept, "m"), frames)


def test_nothing_checked_nothing_told():
    assert narrative.inserted(DOCUMENT, narrative.checked("It broke.", DOCUMENT), "m") == DOCUMENT


def test_a_model_sees_the_draft_without_comments_front_matter_and_queries():
    shown = narrative.material(DOCUMENT)
    assert "incident_id" not in shown
    assert "marts." not in shown
    assert "77" not in shown
    assert "[E3]" in shown


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    settings = landing_fixture.deployment(tmp_path)
    (settings.config / "postmortems.yml").write_text("narrative: {connection: llm, model: 'openai:m'}\n", encoding="utf-8")
    return settings


def test_a_draft_is_retold_once_and_reads_the_same_ever_after(place: Settings, monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []

    def model(*_: object) -> object:
        return lambda prompt: asked.append(prompt) or f"{TRUE} Later told differently {len(asked)}."

    monkeypatch.setattr(connections, "language_model", model)
    first = narrating.narrated(place, "INC-1", DOCUMENT)
    assert first == narrating.narrated(place, "INC-1", DOCUMENT)
    assert len(asked) == 1
    assert TRUE in first
    narrating.narrated(place, "INC-1", DOCUMENT.replace("55 min", "56 min"))
    assert len(asked) == 2


def test_a_model_that_does_not_answer_costs_no_draft(place: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    def model(*_: object) -> object:
        def ask(_: str) -> str:
            raise SourceUnavailable("no answer")

        return ask

    monkeypatch.setattr(connections, "language_model", model)
    assert narrating.narrated(place, "INC-1", DOCUMENT) == DOCUMENT
    assert "INC-1 is drafted without a narrative: no answer" in caplog.text
    assert not (place.home / "narratives").exists()


def test_no_model_is_asked_unless_one_is_declared(tmp_path: Path):
    assert narrating.narrated(landing_fixture.deployment(tmp_path), "INC-1", DOCUMENT) == DOCUMENT


def test_a_declared_model_without_its_library_says_what_to_install(place: Settings):
    with pytest.raises(ConfigError, match=r"`narrative` needs Airflow's common AI provider.*sync --extra narrative"):
        narrating.narrated(place, "INC-1", DOCUMENT)
