"""The committed pages of the pipeline are what the code says; `make docs` writes them again."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

from aftercast.settings import PROJECT


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", PROJECT / "docs" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["dags.md", "data_dictionary.md"])
def test_the_generated_page_is_up_to_date(page: str):
    written = (PROJECT / "docs" / page).read_text()
    assert generator().PAGES[page]() == written, "run `make docs` and review the difference"
    assert written.count("\n|") > 10
