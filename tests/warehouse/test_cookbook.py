"""Every question of docs/cookbook.md is answered by the SQL below it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aftercast import publishing, warehouse
from aftercast.settings import PROJECT, Settings

PAGE = (PROJECT / "docs" / "cookbook.md").read_text(encoding="utf-8")
QUESTIONS = [(title.strip(), sql) for title, sql in re.findall(r"^### (.+?)\n(?:(?!^### ).*\n)*?```sql\n([\s\S]*?)```", PAGE, re.M)]


@pytest.fixture(scope="module")
def mart(company: Settings) -> Path:
    publishing.publish(company, version="cookbook")
    return company.mart


def test_there_are_twenty_numbered_questions_and_every_block_belongs_to_one():
    numbers = [int(title.split(".")[0]) for title, _ in QUESTIONS if title[0].isdigit()]
    assert numbers == list(range(1, 21))
    assert len(QUESTIONS) == PAGE.count("```sql") == PAGE.count("\n### ")


@pytest.mark.parametrize(("title", "sql"), QUESTIONS, ids=[title for title, _ in QUESTIONS])
def test_a_question_is_answered_with_rows_and_runs_on_an_empty_warehouse(title: str, sql: str, mart: Path, nothing: Settings):
    rows = warehouse.query(mart, sql)
    assert rows.height, title
    assert all(rows[name].null_count() < rows.height or "_n" in name for name in rows.columns[:2]), f"{title}: what it is about is missing"
    if "marts.search(" not in sql:  # made when publishing, and nothing is published before something landed
        assert warehouse.query(nothing.warehouse, sql).columns == rows.columns


def test_answers_name_published_marts_only():
    assert not re.findall(r"(?:from|join)\s+(?!marts\.)(?:star|staging|landing)\.", PAGE)
