"""docs/extending.md is followed to the letter in a copy of the project: what it appends, writes and types, and what it says is printed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from aftercast.settings import PROJECT

PAGE = PROJECT / "docs" / "extending.md"
BLOCK = re.compile(r"^```(?P<info>[^\n]+)\n(?P<body>[\s\S]*?)^```$", re.M)
KEPT = ("config", "dags", "dbt_project", "docs", "examples", "expectations", "plugins", "pyproject.toml")


@dataclass(frozen=True)
class Block:
    what: str  # append | write | console
    where: str
    body: str


def blocks() -> list[Block]:
    found = []
    for match in BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        words = match["info"].split()
        assert words == ["console"] or (len(words) == 3 and words[1] in ("append", "write")), f"a block nobody follows: {match['info']}"
        found.append(Block(words[1] if len(words) == 3 else "console", words[-1], match["body"]))
    return found


def commands(block: Block) -> list[tuple[str, list[str]]]:
    """What is typed, and which pieces of text must then be seen."""
    parts = re.split(r"^\$ ", block.body, flags=re.M)[1:]
    return [(lines[0], [line.strip() for line in lines[1:] if line.strip()]) for lines in (part.splitlines() for part in parts)]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project whose demo company has four days, so that a run is short."""
    folder = tmp_path_factory.mktemp("guides") / "project"
    folder.mkdir()
    for name in KEPT:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*_cache", "*.pyc"))
        else:
            shutil.copy2(source, folder / name)
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "aftercast").symlink_to(Path(sys.executable).with_name("aftercast"))
    rows = folder / "config" / "sources.yml"
    rows.write_text(rows.read_text().replace("start: 2026-09-21T00:00Z", "start: 2026-11-12T00:00Z"))
    return folder


def type_in(copy: Path, command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "AFTERCAST"))}
    environment |= {"PYTHONPATH": str(copy / "plugins"), "COLUMNS": "200", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    # The environment of the tests stands in for the one that make would set up.
    typed = ".venv/bin/aftercast run" if command == "make run" else command
    done = subprocess.run(typed, shell=True, cwd=copy, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"$ {command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_the_page_has_five_guides_with_something_to_do_in_each():
    text = PAGE.read_text(encoding="utf-8")
    guides = re.split(r"^## \d\. ", text, flags=re.M)[1:]
    assert len(guides) == 5
    assert all(BLOCK.search(guide) for guide in guides)


@pytest.mark.slow
def test_the_guides_work_as_they_are_written(copy: Path):
    typed = {}
    for block in blocks():
        path = copy / block.where
        if block.what == "append":
            before = path.read_text(encoding="utf-8")
            path.write_text(before + ("" if before.endswith("\n") else "\n") + block.body, encoding="utf-8")
        elif block.what == "write":
            assert not path.exists(), f"{block.where} is there already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.body, encoding="utf-8")
        else:
            for command, expected in commands(block):
                typed[command] = printed = type_in(copy, command)
                missing = [line for line in expected if line not in printed]
                assert not missing, f"$ {command}\nprinted no {missing}:\n{printed[-3000:]}"
    # What the page says in words.
    check, coverage = (
        next(text for command, text in typed.items() if word in command) for word in ("source check", "mart_source_coverage")
    )
    assert "missing successes" in check
    assert coverage.split()[-3:] == ["6", "5", "1"]
    evenings = type_in(copy, ".venv/bin/aftercast build mart_journey_evenings --rows 100")
    assert "market" in evenings
