"""Two warehouses, each built once for all tests: a small company, and a deployment where nothing has landed yet."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from aftercast import transform, warehouse
from aftercast.settings import Settings
from tests.warehouse import world

Query = Callable[[str], pl.DataFrame]
SELECTORS = ("stage", "star", "marts")


@pytest.fixture(scope="session")
def company(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = world.open_settings(tmp_path_factory.mktemp("company"))
    world.write_company(settings)
    for selector in SELECTORS:
        transform.build(settings, selector)
    return settings


@pytest.fixture(scope="session")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = world.open_settings(tmp_path_factory.mktemp("nothing"))
    for selector in SELECTORS:
        transform.build(settings, selector)
    return settings


@pytest.fixture(scope="session")
def ask(company: Settings) -> Query:
    """Query the company's warehouse."""
    return lambda sql: warehouse.query(company.warehouse, sql)
