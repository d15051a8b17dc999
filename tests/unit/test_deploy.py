"""The files that deploy many machines: whole, pinned, documented, and about the queues that the DAGs name."""

from __future__ import annotations

import json
import re
import tomllib
from importlib import import_module
from typing import Any

import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag
from openapi_schema_validator import OAS31Validator

from aftercast.assets import ANYWHERE, WAREHOUSE_QUEUE, WRITER_POOL
from aftercast.settings import PROJECT

COMPOSE = (PROJECT / "docker-compose.yml").read_text()
STACK: dict[str, Any] = yaml.safe_load(COMPOSE)
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
HELM = PROJECT / "deploy" / "helm"
VALUES: dict[str, Any] = yaml.safe_load((HELM / "values.yaml").read_text())
KEEPER, _ = yaml.safe_load_all((HELM / "warehouse-worker.yaml").read_text())
CONTAINER: dict[str, Any] = KEEPER["spec"]["template"]["spec"]["containers"][0]
SCHEMA: dict[str, Any] = json.loads((PROJECT / "tests" / "documents" / "compose.json").read_text())


def served(command: list[str]) -> set[str]:
    return set(command[command.index("--queues") + 1].split(",")) if "--queues" in command else set()


def test_every_queue_of_the_dags_is_served_and_no_other():
    bag = DagBag(dag_folder=PROJECT / "dags")
    assert bag.import_errors == {}
    wanted = {task.queue for dag in bag.dags.values() for task in dag.tasks}
    assert wanted == {ANYWHERE, WAREHOUSE_QUEUE}
    by_service = {name: served(list(one.get("command", []))) for name, one in SERVICES.items()}
    assert set().union(*by_service.values()) == wanted
    assert [name for name, queues in by_service.items() if WAREHOUSE_QUEUE in queues] == ["worker-warehouse"]
    assert served(CONTAINER["command"]) == {WAREHOUSE_QUEUE}
    assert KEEPER["spec"]["replicas"] == 1


def test_what_touches_warehouse_outbox_or_postmortems_runs_where_they_are():
    bag = DagBag(dag_folder=PROJECT / "dags")
    assert bag.dags
    for name, dag in bag.dags.items():
        for task in dag.tasks:
            anywhere = name.startswith("extract__") or task.task_id.startswith("reconcile__")
            assert anywhere or task.queue == WAREHOUSE_QUEUE, f"{name}.{task.task_id}"
    files = [path for path in (PROJECT / "dags").glob("*.py") if path.name != "extract_sources.py"]
    assert len(files) >= 7
    assert [path.name for path in files if "**ON_WAREHOUSE" not in path.read_text() and "=ON_WAREHOUSE" not in path.read_text()] == []


def wrong(stack: dict[str, Any]) -> list[str]:
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in OAS31Validator(SCHEMA).iter_errors(stack)]


@pytest.mark.parametrize("file", ["docker-compose.yml", "deploy/one-machine.yml"])
def test_what_compose_is_given_is_of_its_specification(file: str):
    assert wrong(yaml.safe_load((PROJECT / file).read_text())) == []


@pytest.mark.parametrize(
    ("service", "where"),
    [
        ({"comand": ["x"]}, "services.x: "),
        ({"ports": [{"publish": 1}]}, "services.x.ports.0: "),
        ({"depends_on": {"y": {"condition": "healthy"}}}, "services.x.depends_on: "),
        ({"restart": True}, "services.x.restart: "),
        ({"image": 3}, "services.x.image: "),
    ],
)
def test_the_specification_sees_what_compose_would_refuse(service: dict[str, Any], where: str):
    found = wrong({"services": {"x": service}})
    assert [one for one in found if one.startswith(where)], found


def test_services_depend_on_what_is_there():
    assert len(SERVICES) >= 11
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES, f"{name} depends on {other}"
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other]
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in STACK["volumes"], f"{name} mounts {volume}"


def test_every_image_is_pinned():
    images = {service["image"] for service in SERVICES.values()} | {CONTAINER["image"]}
    built = re.findall(r"^FROM (\S+)", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    assert len(images) >= 4
    assert len(built) == 1
    for image in [*images, *built]:
        assert re.search(r":(RELEASE\.)?[0-9]", image), image


def test_every_secret_comes_from_outside_and_is_explained():
    text = (PROJECT / "deploy" / "env.example").read_text()
    explained = set(re.findall(r"^([A-Z0-9_]+)=$", text, re.MULTILINE))
    used = set(re.findall(r"\$\{([A-Z0-9_]+)", COMPOSE))
    assert used == explained
    assert len(used) == 8
    assert not re.search(r"\$\{[A-Z0-9_]+(?!:\?|[A-Z0-9_])", COMPOSE), "a secret that is not given must stop the start"
    assert ".env" in (PROJECT / ".gitignore").read_text().splitlines()
    assert ".env" in (PROJECT / ".dockerignore").read_text().splitlines()


@pytest.mark.parametrize("name", [name for name, one in SERVICES.items() if "build" in one])
def test_every_component_has_what_all_of_them_need(name: str):
    environment = SERVICES[name]["environment"]
    for wanted in ("AFTERCAST_STORE", "AFTERCAST_TOKEN_KEY", "AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__CORE__EXECUTION_API_SERVER_URL"):
        assert environment[wanted]
    assert environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"].startswith("http://api-server:8080/")


def test_only_the_reader_shares_a_disk():
    mounted = [(volume.split(":")[0], name) for name, one in SERVICES.items() for volume in one.get("volumes", [])]
    shared = {volume for volume, _ in mounted if [one for one, _ in mounted].count(volume) > 1}
    assert shared == {"api"}
    assert {name for volume, name in mounted if volume == "api"} == {"api-server", "reader"}


def test_the_one_writer_pool_is_made():
    assert f"airflow pools set {WRITER_POOL} 1 " in COMPOSE


def test_the_warehouse_worker_uses_the_names_that_the_chart_is_given():
    named = {VALUES["data"][name] for name in ("metadataSecretName", "resultBackendSecretName", "brokerUrlSecretName")}
    named |= {VALUES[name] for name in ("fernetKeySecretName", "jwtSecretName", "apiSecretKeySecretName")} | {"aftercast"}
    refs = {one["valueFrom"]["secretKeyRef"]["name"] for one in CONTAINER["env"] if "valueFrom" in one}
    refs |= {one["secretRef"]["name"] for one in CONTAINER["envFrom"]}
    assert refs == named
    assert "secretRef:\n      name: aftercast" in (HELM / "values.yaml").read_text()
    assert VALUES["airflowVersion"] in (PROJECT / "pyproject.toml").read_text()
    assert CONTAINER["image"] == f"{VALUES['defaultAirflowRepository']}:{VALUES['defaultAirflowTag']}"
    store = next(one["value"] for one in VALUES["env"] if one["name"] == "AFTERCAST_STORE")
    assert [one["value"] for one in CONTAINER["env"] if one["name"] == "AFTERCAST_STORE"] == [store]


def test_the_chart_calls_nothing_that_the_image_does_not_have():
    parts = [VALUES["scheduler"], VALUES["triggerer"], VALUES["dagProcessor"], VALUES["workers"]["celery"]]
    commands = [part["livenessProbe"]["command"] for part in parts] + [VALUES["scheduler"]["startupProbe"]["command"]]
    assert {command[0] for command in commands} == {"airflow", "sh"}
    assert "entrypoint" not in str(commands)
    assert not any(part["logGroomerSidecar"]["enabled"] for part in parts)
    compose = [one["healthcheck"]["test"][1:] for one in SERVICES.values() if "jobs" in one.get("healthcheck", {}).get("test", [])]
    assert sorted(command for command in commands[:3]) == sorted(compose)
    assert not VALUES["createUserJob"]["enabled"]
    assert not VALUES["pgbouncer"]["enabled"]
    module, name = VALUES["config"]["core"]["auth_manager"].rsplit(".", 1)
    assert hasattr(import_module(module), name)
    installed = {one["name"] for one in tomllib.loads((PROJECT / "uv.lock").read_text())["package"]}
    assert "apache-airflow-providers-fab" not in installed, "then the chart's own auth manager would do"
    assert "statsd" not in installed or VALUES["statsd"]["enabled"]
