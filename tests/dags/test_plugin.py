"""The plugin as Airflow loads it: registered once, next to nothing imported, nothing of the package taken for a plugin."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.conftest import PROJECT

LOOK = """
import json, sys
from airflow import plugins_manager
plugins, errors = plugins_manager._get_plugins()
ours = [plugin for plugin in plugins if plugin.name == "aftercast"]
print(json.dumps({
    "errors": {str(file): str(error) for file, error in errors.items()},
    "n": len(ours),
    "apps": [(app["url_prefix"], callable(app["app"])) for app in ours[0].fastapi_apps],
    "views": ours[0].external_views,
    "hooks": sorted(
        name for one in plugins if one.name == "aftercast_watch" for hooks in one.listeners for name in dir(hooks) if name[:3] == "on_"
    ),
    "heavy": sorted({"polars", "duckdb", "aftercast", "aftercast.page"} & set(sys.modules)),
}))
"""


def test_airflow_registers_the_page_and_imports_none_of_it():
    environment = {**os.environ, "AIRFLOW__API__BASE_URL": "https://airflow.example/ops"}
    done = subprocess.run(
        [sys.executable, "-c", LOOK], env=environment, cwd=PROJECT, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["errors"] == {}
    assert (found["n"], found["apps"]) == (1, [["/aftercast", True]])
    (view,) = found["views"]
    assert (view["href"], view["url_route"], view["destination"]) == ("/ops/aftercast/", "aftercast", "nav")
    assert found["hooks"] == ["on_task_instance_failed", "on_task_instance_running", "on_task_instance_success"]
    # A plugin that runs Polars where Airflow forks its tasks would hang every one of them.
    assert found["heavy"] == []
