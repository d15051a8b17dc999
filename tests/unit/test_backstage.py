"""Backstage's files as a catalogue: what becomes a service, who depends on whom, and what is said of the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from aftercast import backstage
from aftercast.declared import declared_tables
from aftercast.errors import ConfigError
from aftercast.settings import Deployment, load_deployment

HEAD = "apiVersion: backstage.io/v1alpha1\n"
COMPONENT = "kind: Component\nmetadata: {{name: {name}}}\nspec: {{type: service, lifecycle: production, owner: {owner}{more}}}\n"


def component(name: str, more: str = "", owner: str = "team-a") -> str:
    return HEAD + COMPONENT.format(name=name, owner=owner, more=f", {more}" if more else "")


def read(folder: Path, *files: str) -> Deployment:
    place = folder / "catalog" / "backstage" / "apps"
    place.mkdir(parents=True, exist_ok=True)
    (folder / "sources.yml").write_text('history: {start: "2026-09-01", end: "2026-09-08"}\nsources: []\n')
    for number, text in enumerate(files):
        (place / f"{number}-catalog-info.{'yaml' if number % 2 else 'yml'}").write_text(text)
    return load_deployment(folder)


def edges(deployment: Deployment) -> set[tuple[str, str]]:
    return {(row.caller, row.callee) for row in deployment.edges}


def test_components_resources_and_groups_become_services_and_teams(tmp_path: Path):
    shop = """
kind: Component
metadata:
  name: Checkout
  title: The till
  annotations: {aftercast/criticality: critical}
  links: [{url: https://wiki.example/a, title: Dashboard}, {url: https://wiki.example/b, title: Checkout runbook}]
spec: {type: service, lifecycle: production, owner: "group:default/team-a", system: shop}
---
# nothing but a comment
---
apiVersion: backstage.io/v1beta1
kind: Resource
metadata: {name: orders-db, namespace: default}
spec: {type: database, owner: team-a}
---
apiVersion: backstage.io/v1alpha1
kind: Resource
metadata: {name: acquirer, annotations: {aftercast/kind: provider, aftercast/runbook: "https://wiki.example/c"}}
spec: {type: saas, owner: Team-B}
---
apiVersion: backstage.io/v1alpha1
kind: Group
metadata: {name: team-a, annotations: {aftercast/channel: "#team-a"}}
spec: {type: team, profile: {displayName: Team A, email: jane@example.org}, children: [], members: [jane]}
"""
    found = read(tmp_path, HEAD + shop, component("lab", owner="", more="x: 1").replace("production", "experimental"))
    services = {row.service: row for row in found.services}
    assert list(services) == ["checkout", "orders-db", "acquirer", "lab"]
    till = services["checkout"]
    assert (till.kind, till.title, till.team, till.criticality, till.runbook) == (
        *("service", "The till", "team-a", "critical"),
        "https://wiki.example/b",
    )
    assert [services[name].kind for name in ("orders-db", "acquirer")] == ["store", "provider"]
    assert (services["acquirer"].team, services["acquirer"].runbook) == ("team-b", "https://wiki.example/c")
    assert (services["lab"].team, services["lab"].criticality) == ("unowned", "low")
    (team,) = found.teams
    assert (team.team, team.title, team.channel) == ("team-a", "Team A", "#team-a")
    assert found.catalog_notes == ()
    tables = declared_tables(found)
    assert (tables["services"].height, tables["teams"].height) == (4, 1)


def test_dependencies_are_direct_reverse_and_through_apis(tmp_path: Path):
    api = HEAD + "kind: API\nmetadata: {name: payments-api}\nspec: {type: openapi, owner: team-a, definition: {$text: ./openapi.yaml}}\n"
    found = read(
        tmp_path,
        component("web", "dependsOn: ['component:default/checkout', 'resource:orders-db', web], consumesApis: [payments-api]"),
        component(
            "checkout", "dependsOn: ['api:payments-api', 'component:money'], consumesApis: ['api:default/payments-api', refunds-api]"
        ),
        component("payments", "providesApis: [payments-api], consumesApis: [payments-api]"),
        component("orders-db", "dependencyOf: ['component:payments']").replace("Component", "Resource"),
        api,
        HEAD + "kind: Component\nmetadata: {name: money}\nspec: {type: library, lifecycle: production, owner: team-a}\n",
    )
    assert edges(found) == {
        ("web", "checkout"),
        ("web", "orders-db"),
        ("web", "payments"),
        ("checkout", "payments"),
        ("payments", "orders-db"),
    }
    left_out, unprovided = found.catalog_notes
    assert left_out == "1 x component of type library left out"
    assert "component:checkout" in unprovided
    assert "consumes api:refunds-api, which nothing provides" in unprovided


def test_what_is_no_service_is_counted_and_people_stay_in_their_file(tmp_path: Path):
    people = (
        HEAD
        + "kind: User\nmetadata: {name: jane.doe}\nspec: {profile: {displayName: Jane Doe, email: jane@example.org}, memberOf: [team-a]}\n"
    )
    places = HEAD + "kind: Location\nmetadata: {name: all}\nspec: {targets: [./a.yaml]}\n"
    other = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"
    found = read(tmp_path, people, people.replace("jane.doe", "john"), places, other, component("web", owner="user:default/jane.doe"))
    assert [(row.service, row.team) for row in found.services] == [("web", "unowned")]
    assert found.catalog_notes[:3] == ("1 x Deployment of apps/v1 left out", "1 x location left out", "2 x user left out")
    assert "is owned by a user, not by a group: it counts as unowned" in found.catalog_notes[3]
    assert "jane" not in str(found.catalog_notes).lower()


def test_a_row_of_the_csv_counts_and_the_other_is_reported(tmp_path: Path):
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "services.csv").write_text("service,team,criticality\ncheckout,orders,critical\nlegacy,orders,low\n")
    (tmp_path / "catalog" / "teams.csv").write_text("team,title\nteam-a,Ours\n")
    (tmp_path / "catalog" / "dependencies.csv").write_text("caller,callee\nweb,checkout\n")
    group = HEAD + "kind: Group\nmetadata: {name: team-a}\nspec: {type: team, children: []}\n"
    found = read(tmp_path, component("checkout"), component("web", "dependsOn: [checkout, legacy, nothing]"), group)
    assert [(row.service, row.team) for row in found.services] == [("checkout", "orders"), ("legacy", "orders"), ("web", "team-a")]
    assert [(row.caller, row.callee) for row in found.edges] == [("web", "checkout"), ("web", "legacy"), ("web", "nothing")]
    assert [row.title for row in found.teams] == ["Ours"]
    unknown, *own = found.catalog_notes
    assert "depends on component:nothing, which nobody declares" in unknown
    assert own == ["service checkout is also a row of services.csv, which counts", "team team-a is also a row of teams.csv, which counts"]


def test_a_journey_may_name_a_service_of_backstage(tmp_path: Path):
    steps = "{journey: buy, title: Buy, owner_team: team-a, currency: GBP, steps: [{step: pay, services: [checkout]}]}"
    (tmp_path / "journeys.yml").write_text(f"journeys: [{steps}]\n")
    assert read(tmp_path, component("checkout")).journeys[0].steps[0].services == ("checkout",)
    with pytest.raises(ConfigError, match="names service 'checkout'"):
        read(tmp_path, component("chekout"))


def test_a_name_used_twice_is_named_with_both_places(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"1-catalog-info\.yaml document 1: component:web is declared twice, first in .*0-catalog-info"):
        read(tmp_path, component("web"), component("WEB"))


def test_a_resource_with_the_name_of_a_component_is_left_out(tmp_path: Path):
    found = read(tmp_path, component("orders"), component("orders").replace("Component", "Resource"))
    assert [row.kind for row in found.services] == ["service"]
    (note,) = found.catalog_notes
    assert "resource:orders" in note
    assert "has the name of a service" in note


def test_namespaces_other_than_the_default_keep_names_apart(tmp_path: Path):
    other = component("web", "dependsOn: [checkout, 'component:eu/web']").replace("{name: web}", "{name: web, namespace: eu}")
    found = read(tmp_path, component("web"), other, component("checkout"))
    assert {row.service for row in found.services} == {"web", "eu/web", "checkout"}
    assert edges(found) == {("eu/web", "checkout")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is not readable YAML"),
        ("- web\n", "document 1: expected an entity .* found list"),
        (HEAD + "kind: Component\nmetadata: {}\n", "Component has no metadata.name"),
        (component("web", "dependsOn: checkout"), "dependsOn must be a list of names"),
        (component("web", "consumesApis: [1]"), "consumesApis must be a list of names"),
        (HEAD + "kind: Component\nmetadata: {name: web, annotations: {aftercast/criticality: urgent}}\nspec: {}\n", r"document 1 \(web\)"),
        (HEAD + "kind: Component\nmetadata: {name: web, annotations: [x]}\nspec: {}\n", "annotations must be a mapping"),
    ],
)
def test_a_file_that_cannot_be_meant_is_named(tmp_path: Path, text, said):
    with pytest.raises(ConfigError, match=f"0-catalog-info(.|\n)*{said}"):
        read(tmp_path, text)


@pytest.mark.parametrize("deep", ["a: " + "[" * 200_000, "- " * 200_000 + "x"])
def test_a_file_nested_without_end_is_refused_and_the_process_lives(tmp_path: Path, deep):
    (tmp_path / "catalog-info.yaml").write_text(deep)
    code = "import sys; from pathlib import Path; from aftercast import backstage; backstage.read(Path(sys.argv[1]))"
    found = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, capture_output=True, text=True)
    assert found.returncode == 1, f"ended with {found.returncode}"
    assert "catalog-info.yaml is not readable YAML: nested too deeply" in found.stderr


def test_no_folder_declares_nothing(tmp_path: Path):
    assert backstage.read(tmp_path / "backstage") == backstage.Catalogue()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("team-a", ("group", "team-a")),
        ("group:default/Team-A", ("group", "team-a")),
        ("Group:eu/team-a", ("group", "eu/team-a")),
        ("default/team-a", ("group", "team-a")),
        (" user:jane ", ("user", "jane")),
    ],
)
def test_references_are_written_in_many_ways(text, expected):
    assert backstage.reference(text, "group") == expected
