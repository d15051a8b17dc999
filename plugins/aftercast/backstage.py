"""Backstage's catalogue files as rows of ours: components, resources, APIs and groups become services, dependencies and teams.

What runs is a service: components and resources. An API is how two of them meet, so who consumes it depends on who provides it. Systems,
domains, locations, templates and users are left out and counted; people never leave their file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from aftercast import yaml_texts
from aftercast.errors import ConfigError

API = "backstage.io/"
NOT_RUNNING = frozenset({"library", "documentation", "template"})
ANNOTATED = "aftercast/"
Ref = tuple[str, str]  # kind and name, in lower case; names outside the namespace `default` bear theirs


@dataclass(frozen=True, slots=True)
class Thing:
    """One entity of a file."""

    ref: Ref
    where: str
    metadata: Mapping[str, Any]
    spec: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.ref[1]

    def annotation(self, name: str) -> Any:
        return (self.metadata.get("annotations") or {}).get(name)

    def refs(self, key: str, default: str) -> list[Ref]:
        """What a list of the spec names.

        Raises:
            ConfigError: it is no list of texts.
        """
        given = self.spec.get(key) or []
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            raise ConfigError(f"{self.where}: spec.{key} must be a list of names such as component:payments")
        return [reference(one, default) for one in given]


@dataclass(slots=True)
class Catalogue:
    """Rows as `services.csv`, `dependencies.csv` and `teams.csv` would have them, where each came from, and what was left out."""

    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    teams: dict[str, dict[str, Any]] = field(default_factory=dict)
    where: dict[Ref, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unknown: list[tuple[str, str]] = field(default_factory=list)  # names that no file declares, and who names them


def reference(text: str, default: str) -> Ref:
    """Return what `[kind:][namespace/]name` names; kinds and names have no letter case."""
    kind, _, rest = text.strip().lower().rpartition(":")
    namespace, _, name = rest.rpartition("/")
    return kind or default, f"{namespace}/{name}" if namespace not in ("", "default") else name


def read(folder: Path) -> Catalogue:
    """Return what the YAML files below a folder declare; nothing when there is no such folder.

    Raises:
        ConfigError: a file is not readable YAML, an entity has no name or is declared twice, or one of its keys is of another type.
    """
    things: dict[Ref, Thing] = {}
    left_out: Counter[str] = Counter()
    for path in sorted(one for one in folder.rglob("*") if one.suffix in (".yaml", ".yml") and one.is_file()):
        for thing in _things(path, left_out):
            if thing.ref in things:
                raise ConfigError(f"{thing.where}: {':'.join(thing.ref)} is declared twice, first in {things[thing.ref].where}")
            things[thing.ref] = thing
    found = Catalogue()
    for thing in things.values():
        _declare(thing, found, left_out)
    _connect(things, found)
    found.notes[:0] = [f"{count} x {what} left out" for what, count in sorted(left_out.items())]
    return found


def _things(path: Path, left_out: Counter[str]) -> Iterator[Thing]:
    try:
        documents = yaml_texts.read_all(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except ValueError as error:
        raise ConfigError(f"{path} is not readable YAML: {error}") from error
    for number, one in enumerate(documents, start=1):
        where = f"{path} document {number}"
        if one is None:
            continue
        if not isinstance(one, dict) or not isinstance(one.get("kind"), str):
            raise ConfigError(f"{where}: expected an entity with apiVersion, kind, metadata and spec, found {type(one).__name__}")
        if not str(one.get("apiVersion")).startswith(API):
            left_out[f"{one['kind']} of {one.get('apiVersion')}"] += 1
            continue
        metadata, spec = one.get("metadata") or {}, one.get("spec") or {}
        if not isinstance(metadata, dict) or not isinstance(spec, dict) or not isinstance(metadata.get("name"), str):
            raise ConfigError(f"{where}: {one['kind']} has no metadata.name, or its spec is no mapping")
        if not isinstance(metadata.get("annotations") or {}, dict):
            raise ConfigError(f"{where}: metadata.annotations must be a mapping")
        name = f"{metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else metadata["name"]
        yield Thing(reference(name, one["kind"].lower()), where, metadata, spec)


def _declare(thing: Thing, found: Catalogue, left_out: Counter[str]) -> None:
    """Make a row of what is a service or a team."""
    kind, kind_of = thing.ref[0], str(thing.spec.get("type") or "").lower()
    title = thing.metadata.get("title")
    if kind == "group":
        profile = thing.spec.get("profile")
        title = (profile.get("displayName") if isinstance(profile, dict) else None) or title
        found.teams[thing.name] = {"team": thing.name, "title": title, "channel": thing.annotation(f"{ANNOTATED}channel")}
        found.where[thing.ref] = thing.where
    elif kind not in ("component", "resource"):
        if kind != "api":
            left_out[kind] += 1
    elif kind == "component" and kind_of in NOT_RUNNING:
        left_out[f"component of type {kind_of}"] += 1
    elif thing.name in found.services:
        other = next(place for (_, name), place in found.where.items() if name == thing.name)
        found.notes.append(f"{_named(thing)} has the name of a service ({other}) and was left out; rename one")
    else:
        found.services[thing.name] = {
            "service": thing.name,
            "kind": thing.annotation(f"{ANNOTATED}kind") or ("store" if kind == "resource" else "service"),
            "title": title,
            "team": _owner(thing, found),
            "criticality": thing.annotation(f"{ANNOTATED}criticality") or _criticality(thing),
            "runbook": _runbook(thing),
        }
        found.where[thing.ref] = thing.where


def _named(thing: Thing) -> str:
    return f"{':'.join(thing.ref)} ({thing.where})"


def _owner(thing: Thing, found: Catalogue) -> str:
    """The team that owns a thing; a person is no team, and is not named."""
    given = thing.spec.get("owner")
    if not isinstance(given, str) or not given.strip():
        return "unowned"
    kind, name = reference(given, "group")
    if kind != "group":
        found.notes.append(f"{_named(thing)} is owned by a {kind}, not by a group: it counts as unowned")
        return "unowned"
    return name


def _criticality(thing: Thing) -> str:
    return "low" if str(thing.spec.get("lifecycle") or "").lower() in ("experimental", "deprecated") else "medium"


def _runbook(thing: Thing) -> str | None:
    """The annotation, else the first link that says it is one."""
    if annotated := thing.annotation(f"{ANNOTATED}runbook"):
        return str(annotated)
    links = thing.metadata.get("links") or []
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("url") and "runbook" in f"{link.get('type')} {link.get('title')}".lower():
            return str(link["url"])
    return None


def _runs(ref: Ref, things: Mapping[Ref, Thing], found: Catalogue) -> bool:
    """Whether something is a service; what no file declares may be one all the same."""
    return ref in found.where or (ref not in things and ref[0] in ("component", "resource"))


def _connect(things: Mapping[Ref, Thing], found: Catalogue) -> None:
    """Make dependencies of what services depend on, and of APIs between who consumes and who provides them."""
    providers: dict[Ref, list[str]] = {}
    for thing in things.values():
        if thing.ref in found.where:
            for api in thing.refs("providesApis", "api"):
                providers.setdefault(api, []).append(thing.name)
    edges: dict[tuple[str, str], None] = {}
    for thing in things.values():
        if thing.ref[0] not in ("component", "resource") or thing.ref not in found.where:
            continue
        for ref in thing.refs("dependsOn", "component"):
            callees = providers.get(ref, []) if ref[0] == "api" else [ref[1]] if _runs(ref, things, found) else []
            edges |= {(thing.name, callee): None for callee in callees}
            found.unknown += [] if ref in things else [(ref[1], f"{_named(thing)} depends on {':'.join(ref)}")]
        for ref in thing.refs("dependencyOf", "component"):
            edges |= {(ref[1], thing.name): None} if _runs(ref, things, found) else {}
            found.unknown += [] if ref in things else [(ref[1], f"{_named(thing)} is a dependency of {':'.join(ref)}")]
        for api in thing.refs("consumesApis", "api"):
            if api not in providers:
                found.notes.append(f"{_named(thing)} consumes {':'.join(api)}, which nothing provides")
            edges |= {(thing.name, provider): None for provider in providers.get(api, [])}
    found.edges = [(caller, callee) for caller, callee in edges if caller != callee]
