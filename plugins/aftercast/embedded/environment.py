"""The environment variables an embedded Airflow runs under; everything it writes stays below AFTERCAST_HOME."""

from __future__ import annotations

import json
import os
import secrets
import socket
from pathlib import Path

from aftercast.settings import PROJECT, Settings

ADMIN = "admin"


def free_port(preferred: int | None = None) -> int:
    """Return a free loopback port, the preferred one when it is free."""
    for candidate in (preferred, 0):
        if candidate is None:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free loopback port")


def _keep_secrets(folder: Path) -> dict[str, str]:
    """Return this home's generated secrets, creating them once, readable by the owner only."""
    path = folder / "secrets.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        made = {
            "jwt": secrets.token_hex(64),
            "key": secrets.token_hex(32),
            "password": secrets.token_urlsafe(9),
        }
        temporary = path.with_suffix(".tmp")
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(made), encoding="utf-8")
        temporary.replace(path)
    kept: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    passwords = folder / "passwords.json"
    passwords.touch(mode=0o600)
    passwords.write_text(json.dumps({ADMIN: kept["password"]}), encoding="utf-8")
    return kept


def admin_password(settings: Settings) -> str:
    """Return the password of the embedded administrator."""
    return _keep_secrets(settings.airflow)["password"]


def airflow_environment(settings: Settings, port: int, *, scheduled: bool) -> dict[str, str]:
    """Return the whole environment for Airflow's processes.

    Args:
        settings: where state and configuration live.
        port: loopback port of the api-server.
        scheduled: whether extract DAGs follow their schedules (`up`) or wait to be triggered (`run`).
    """
    kept = _keep_secrets(settings.airflow)
    base = f"http://127.0.0.1:{port}"
    mine = {
        "AFTERCAST_HOME": str(settings.home),
        "AFTERCAST_CONFIG": str(settings.config),
        "AFTERCAST_EMBEDDED": "" if scheduled else "1",
        "AIRFLOW_HOME": str(settings.airflow),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{base}/execution/",
        "AIRFLOW__CORE__FERNET_KEY": "",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(settings.airflow / "passwords.json"),
        # Five seconds, the default, is too short for several processes on one SQLite file.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{settings.airflow / 'airflow.db'}?timeout=60",
        # The first call to a cold execution app can take longer than the default five seconds, and is not retried.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": base,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": kept["key"],
        "AIRFLOW__API_AUTH__JWT_SECRET": kept["jwt"],
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "20",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "120",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "DO_NOT_TRACK": "1",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
        "GX_ANALYTICS_ENABLED": "False",
        # One BLAS thread per task is faster than two tasks fighting over two cores.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    return {**os.environ, **mine}
