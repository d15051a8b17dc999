"""Every page of docs/sources: its rows are accepted and open with the connections it shows, and no kind lacks a page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from aftercast.declarations import SourceRow
from aftercast.sources import KINDS, open_source
from tests.unit import landing_fixture

PAGES = Path(__file__).parents[2] / "docs" / "sources"
NOT_KINDS = {"catalog"}  # read by the settings, not extracted
WITHOUT_A_PAGE = {"demo", "files"}  # docs/demo_company.md and docs/adding_a_source.md


def rows_of(page: Path) -> list[dict[str, Any]]:
    blocks = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)]
    return [row for block in blocks if isinstance(block, list) for row in block if "kind" in row]


def connections_of(page: Path) -> list[tuple[str, str]]:
    return [
        (name, value)
        for name, value in re.findall(r"^(AIRFLOW_CONN_\w+)='(.*?)'$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    ]


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_the_rows_of_a_page_open_with_its_connections(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = landing_fixture.deployment(tmp_path)
    for name, value in connections_of(page):
        monkeypatch.setenv(name, value)
    rows = rows_of(page)
    assert bool(rows) != (page.stem in NOT_KINDS)
    for row in rows:
        assert open_source(SourceRow.model_validate(row), place) is not None


def test_every_kind_has_a_page():
    shown = {row["kind"] for page in PAGES.glob("*.md") for row in rows_of(page)}
    assert shown >= KINDS.keys() - WITHOUT_A_PAGE
