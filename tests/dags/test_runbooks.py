"""Every DAG has a runbook that its page in Airflow leads to; its facts are those of the DAG, and what it quotes is what the code says."""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any

import pytest

from aftercast import errors
from aftercast.settings import PROJECT
from tests.dags.test_pipeline_snapshot import generator

HEADINGS = ["When it is red", "The first five minutes", "Run again, backfill", "What is safe", "Which data are affected"]
FOLDER = PROJECT / "docs" / "runbooks"
PAGES = sorted(path.stem for path in FOLDER.glob("*.md"))
CODE = "\n".join(path.read_text(encoding="utf-8") for path in sorted((PROJECT / "plugins").rglob("*.py")))


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    return generator()


@pytest.fixture(scope="module")
def dags(pages: ModuleType) -> dict[str, Any]:
    return pages.every_dag()


def test_each_dag_has_a_runbook_and_leads_to_it(pages: ModuleType, dags: dict[str, Any]):
    assert len(dags) >= 9
    assert {pages.runbook_of(dag_id) for dag_id in dags} == set(PAGES)
    for dag_id, dag in dags.items():
        assert f"docs/runbooks/{pages.runbook_of(dag_id)}.md" in dag.doc_md, dag_id


@pytest.mark.parametrize("name", PAGES)
def test_its_facts_are_those_of_the_dag(name: str, pages: ModuleType, dags: dict[str, Any]):
    assert pages.runbook_page(name, dags) == (FOLDER / f"{name}.md").read_text(encoding="utf-8"), "run `make docs`"


@pytest.mark.parametrize("name", PAGES)
def test_it_answers_what_an_operator_asks_and_quotes_what_the_code_says(name: str, dags: dict[str, Any]):
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    table = text.split("## When it is red")[1].split("##")[0]
    rows = [row for row in table.splitlines() if row.startswith("| ")][1:]
    assert len(rows) >= 3
    named = set(re.findall(r"`([A-Z][a-z]\w+)`", table))
    assert {kind for kind in named if not hasattr(errors, kind)} == set()
    quoted = re.findall(r'"([^"]+)"', "\n".join(row.split(" | ")[0] for row in rows))
    assert [words for words in quoted if words not in CODE] == []
    commands = set(re.findall(r"`aftercast (\w+)", text))
    help_text = (PROJECT / "plugins" / "aftercast" / "cli.py").read_text(encoding="utf-8")
    assert [word for word in commands if not re.search(rf"\b{word}\b", help_text)] == []
