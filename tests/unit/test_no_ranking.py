"""Nobody is ranked: no mart, question, dashboard, recipe, metric or report names, groups or orders people, and none could."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from aftercast import disclosure, questions
from aftercast.entities import ENTITIES
from aftercast.errors import ConfigError
from aftercast.privacy import PERSON_COLUMNS
from aftercast.settings import PROJECT

DBT = PROJECT / "dbt_project"
NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
# Where a token may be read: to count the people of an incident, which is published as a number.
COUNTED = {"stg_incident_events.sql", "int_incidents__response.sql"}


def marts() -> dict[str, list[dict[str, str]]]:
    content = yaml.safe_load((DBT / "models/marts/_marts.yml").read_text(encoding="utf-8"))
    return {model["name"]: model["columns"] for model in content["models"]}


def persons(sql: str) -> list[str]:
    """Names in SQL that look like a person; what stands in quotes or comments is no name."""
    bare = re.sub(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/|\{#.*?#\}", " ", sql, flags=re.DOTALL)
    return [name for name in NAME.findall(bare) if disclosure.names_person(name)]


def asked() -> Iterator[tuple[str, str]]:
    """Every SQL that this project shows or offers to people."""
    for question in questions.all_questions():
        yield question.title, question.sql
    for page in (PROJECT / "docs").rglob("*.md"):
        for number, block in enumerate(re.findall(r"```sql[^\n]*\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)):
            yield f"{page.name} {number}", block
    for path in (PROJECT / "plugins" / "aftercast").rglob("*.sql"):
        yield path.name, path.read_text(encoding="utf-8")
    for path in (DBT / "models").rglob("*.sql"):
        if path.name not in COUNTED:
            yield path.name, path.read_text(encoding="utf-8")


def test_no_published_column_is_a_person():
    columns = {f"{mart}.{column['name']}": column["data_type"] for mart, given in marts().items() for column in given}
    assert len(columns) > 1000
    assert not [name for name in columns if disclosure.names_person(name.partition(".")[2])]


def test_every_published_column_of_text_has_a_class():
    classes = disclosure.read()
    columns = [(mart, column["name"], column["data_type"].upper()) for mart, given in marts().items() for column in given]
    assert classes.unclassified(columns) == [], "give these a class in expectations/published_columns.yml"


def test_a_column_named_like_a_person_cannot_be_opened(tmp_path: Path):
    path = tmp_path / "classes.yml"
    for column in ("author", "author_token", "mart_response.assignee", "user_name", "responders", "email"):
        for name in sorted(disclosure.OPEN):
            path.write_text(f"{name}: [{column}]\n")
            with pytest.raises(ConfigError, match="no mart may rank people"):
                disclosure.read(path)
    path.write_text("keep: [owner_team, reporting, responders_n]\nperson: [author_token]\n")
    assert disclosure.read(path).classes["author_token"] == "person"
    assert disclosure.names_person("authors_n") is False


def test_no_question_recipe_or_model_names_people():
    found = dict(asked())
    assert len(found) > 100
    assert {name: persons(sql) for name, sql in found.items() if persons(sql)} == {}


def test_where_people_are_counted_the_count_is_of_an_incident():
    sql = (DBT / "models/intermediate/incidents/int_incidents__response.sql").read_text(encoding="utf-8")
    said = re.sub(r"\s+", " ", sql)
    assert "group by events.incident_id, events.author_token" in said  # one row a person and incident, inside
    last = said.rpartition("select")[2]
    assert persons(last) == []
    assert "group by" in said.rpartition(" from ")[2] and "author_token" not in said.rpartition("group by")[2]
    readers = [path.name for path in DBT.rglob("*.sql") if "author_token" in path.read_text() or "actor_token" in path.read_text()]
    assert set(readers) <= COUNTED


def test_no_metric_and_no_dashboard_counts_by_people():
    for path in (DBT / "models/semantic/_semantic.yml", PROJECT / "bi/dashboards.yml"):
        text = path.read_text(encoding="utf-8")
        values = [str(value) for value in leaves(yaml.safe_load(text))]
        assert len(values) > 50
        assert [value for value in values if NAME.fullmatch(value) and disclosure.names_person(value)] == []
        assert [value for value in values if " by " in value and persons(value)] == []


def leaves(value: object) -> Iterator[object]:
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from leaves(one)
    if isinstance(value, dict):
        yield from value
    if not isinstance(value, dict | list):
        yield value


def test_no_report_page_or_letter_shows_a_person():
    templates = list((PROJECT / "plugins/aftercast").rglob("*.j2"))
    assert len(templates) > 10
    for path in templates:
        expressions = re.findall(r"\{\{(.*?)\}\}|\{%(.*?)%\}", path.read_text(encoding="utf-8"), re.DOTALL)
        assert [found for pair in expressions for found in persons(" ".join(pair))] == [], path.name


def test_every_column_that_holds_a_person_is_a_token():
    """What lands about people are tokens: a column named like a person is one of those that are tokenised."""
    named = {column for entity in ENTITIES.values() for column in entity.columns if disclosure.names_person(column)}
    assert named == set(PERSON_COLUMNS)
