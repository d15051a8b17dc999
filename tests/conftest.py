"""Shared set-up: every test works in a home of its own, and Airflow (when a test imports it) never leaves a temporary folder."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine must not fail a promise: examples are the same in every run, and slowness is no counterexample.
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

PROJECT = Path(__file__).resolve().parents[1]

# Before any import of Airflow: it reads its home once.
_AIRFLOW_HOME = tempfile.mkdtemp(prefix="aftercast-airflow-")
atexit.register(shutil.rmtree, _AIRFLOW_HOME, ignore_errors=True)
os.environ.update(
    {
        "AIRFLOW_HOME": _AIRFLOW_HOME,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_AIRFLOW_HOME}/airflow.db",
        "DO_NOT_TRACK": "1",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
        "GX_ANALYTICS_ENABLED": "False",
        "OMP_NUM_THREADS": "1",
    }
)
for _name in ("AFTERCAST_HOME", "AFTERCAST_CONFIG", "AFTERCAST_EMBEDDED"):
    os.environ.pop(_name, None)


@pytest.fixture(autouse=True)
def loud() -> Iterator[None]:
    """What a test silences is heard again in the next one."""
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh AFTERCAST_HOME for this test, set in the environment."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("AFTERCAST_HOME", str(folder))
    return folder


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets; tests that need it are skipped with a reason when it is absent."""
    folder = Path(os.environ.get("AFTERCAST_REAL_DATA") or PROJECT.parent / "shared" / "real")
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set AFTERCAST_REAL_DATA")
    return folder
