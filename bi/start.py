"""Start Superset over the published mart: environment, metadata, accounts, dashboards, web server. Run by `make bi`; Ctrl-C stops it.

Everything it writes lies below `AFTERCAST_HOME/bi`. Starting again brings the dashboards up to date and keeps what people made.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
from pathlib import Path

import bundle

from aftercast.errors import AftercastError, ConfigError
from aftercast.settings import Settings

HERE = Path(__file__).resolve().parent


def _secret(path: Path) -> None:
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(24))


def _call(environment: dict[str, str], log: Path, *command: str) -> None:
    with log.open("a") as file:
        if subprocess.run(command, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False).returncode:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
            raise ConfigError(f"{Path(command[0]).name} {' '.join(command[1:3])} failed; {log} says\n{tail}")


def prepare(settings: Settings, binaries: Path) -> tuple[dict[str, str], Path]:
    """Bring metadata, accounts and dashboards up to date; return the environment Superset runs in and its home."""
    home = settings.home / "bi"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in ("secret_key", "admin_password", "reader_password"):
        _secret(home / name)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHONPATH", "VIRTUAL_ENV"))}
    environment |= {
        "AFTERCAST_BI_HOME": str(home),
        "SUPERSET_CONFIG_PATH": str(HERE / "superset_config.py"),
        "FLASK_APP": "superset",
        "SCARF_ANALYTICS": "false",
    }
    superset, log = str(binaries / "superset"), home / "setup.log"
    print("• metadata and roles", flush=True)
    _call(environment, log, superset, "db", "upgrade")
    _call(environment, log, superset, "init")
    _call(environment, log, str(binaries / "python"), str(HERE / "accounts.py"))
    charts = bundle.write(settings.mart, home / "dashboards.zip")
    print(f"• {charts} charts", flush=True)
    _call(environment, log, superset, "import-dashboards", "-p", str(home / "dashboards.zip"), "-u", "admin")
    return environment, home


def main() -> None:
    """Prepare and serve."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--binaries", type=Path, default=HERE.parent / ".venv-bi" / "bin")
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, default=8088)
    given = options.parse_args()
    try:
        settings = Settings.from_environment()
        if not settings.mart.exists():
            raise ConfigError(f"{settings.mart} does not exist yet; `make run` publishes it")
        environment, home = prepare(settings, given.binaries)
    except AftercastError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print(
        f"Superset on http://{given.host}:{given.port}/superset/dashboard/reliability/  (users reader and admin, passwords in {home})",
        flush=True,
    )
    serve = [
        "--no-control-socket",
        "-w",
        "1",
        "--threads",
        "8",
        "--timeout",
        "120",
        "-b",
        f"{given.host}:{given.port}",
        "superset.app:create_app()",
    ]
    os.execve(given.binaries / "gunicorn", ["gunicorn", *serve], environment)


if __name__ == "__main__":
    main()
