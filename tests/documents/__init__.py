"""Excerpts of vendors' official OpenAPI documents, and servers of the tests held to them.

`follows = documents.followed("github")` at the top of a test module makes every exchange of its tests obey the document. The path and the
parameters a source asks with exist and have the right types. What a test's server answers (200) names known fields of the right types, and
the fields the vendor promises but the test does not care for are filled in from the document: a source reads records as whole as real
ones. So neither the client nor the fixtures rest on memory. A test that answers nonsense on purpose is marked `off_document`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from openapi_schema_validator import OAS30Validator

from tests import answering
from tests.answering import Answer, Asked


class Document:
    """An excerpt of a vendor's document: for each path its query parameters and the shape of its answer."""

    def __init__(self, vendor: str) -> None:
        content = json.loads((Path(__file__).parent / f"{vendor}.json").read_text())
        self.operations = {(path, method.upper()): found for path, item in content["paths"].items() for method, found in item.items()}

    def operation(self, path: str, method: str = "GET") -> Any:
        for (template, known), found in self.operations.items():
            if method == known and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
                return found
        return None

    def problems(self, asked: Asked, answer: Answer, *, prefix: str, elsewhere: frozenset[str], silent: frozenset[str]) -> list[str]:
        """What an exchange does that the document does not know; fills in what the answer lacks."""
        path = asked.path.removeprefix(prefix)
        operation = self.operation(path, asked.method)
        if operation is None:
            return [f"{asked.method} {path} is not in the document"]
        known = {one["name"]: one for one in operation["parameters"] if one["in"] == "query"}
        found = [f"{path}: no parameter {name!r}" for name in sorted(asked.params.keys() - known.keys())]
        missing = {name for name, one in known.items() if one["required"]} - asked.params.keys() - elsewhere
        found += [f"{path}: parameter {name!r} is required" for name in sorted(missing)]
        for name, values in asked.params.items():
            if name in known:
                found += [
                    f"{path}: parameter {name}: {told}" for told in _wrong(known[name]["schema"], _read(known[name]["schema"], values))
                ]
        if taken := operation.get("requestBody"):
            body = taken["content"]["application/json"]["schema"]
            found += [f"{asked.method} {path}: body has no field {name}" for name in unknown(body, asked.body)]
            found += [f"{asked.method} {path}: body: {told}" for told in _wrong(body, asked.body)]
        if answer.status in (200, 201) and answer.raw is None:
            shape = operation["responses"]["200"]["content"]["application/json"]["schema"]
            found += [f"{path}: answer has no field {name}" for name in unknown(shape, answer.data) if name not in silent]
            answer.data = completed(shape, answer.data)
            found += [f"{path}: answer: {told}" for told in _wrong(shape, answer.data)]
        return found


def _read(schema: dict[str, Any], values: list[str]) -> Any:
    """The value of a query parameter as its schema means it."""
    if schema.get("type") == "array":
        return [_read(schema.get("items", {}), [value]) for value in values]
    (value,) = values[:1]
    if schema.get("type") in ("integer", "number"):
        return json.loads(value) if re.fullmatch(r"-?\d+(\.\d+)?", value) else value
    if schema.get("type") == "boolean":
        return {"true": True, "false": False}.get(value, value)
    return value


def _wrong(schema: dict[str, Any], value: Any) -> Iterator[str]:
    """What is wrong with a value; that it is null is not, since vendors are careless in saying where they send null."""
    for error in OAS30Validator(schema).iter_errors(value):
        leaf = error
        while leaf.context:  # of the alternatives the one that failed least
            branches = [
                [one for one in leaf.context if one.schema_path[0] == number] for number in {one.schema_path[0] for one in leaf.context}
            ]
            leaf = min(branches, key=len)[0]
        if leaf.instance is not None:
            yield f"{'/'.join(map(str, leaf.absolute_path))}: {leaf.message[-200:]}"


def completed(schema: dict[str, Any], value: Any) -> Any:
    """A value with what its schema requires and it lacks."""
    for part in _alternatives(schema, value):
        value = completed(part, value)
    if isinstance(value, list):
        return [completed(schema.get("items", {}), one) for one in value]
    if not isinstance(value, dict):
        return value
    known = schema.get("properties", {})
    missing = {name: sample(known.get(name, {})) for name in schema.get("required", []) if name not in value}
    return {name: completed(known.get(name, {}), one) for name, one in value.items()} | missing


def sample(schema: dict[str, Any]) -> Any:
    """The plainest value of a schema."""
    if schema.get("nullable"):
        return None
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("allOf") or schema.get("anyOf"):
        parts = [sample(one) for one in [*schema.get("allOf", []), *schema.get("anyOf", [])[:1]]]
        mappings = [one for one in parts if isinstance(one, dict)]
        return {name: one for part in mappings for name, one in part.items()} if mappings else parts[0]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if kind == "object":
        return {name: sample(schema.get("properties", {}).get(name, {})) for name in schema.get("required", [])}
    plain = {"array": [], "boolean": False, "integer": int(schema.get("minimum", 1)), "number": schema.get("minimum", 1)}
    return plain.get(kind, "2026-01-01T00:00:00Z" if schema.get("format") == "date-time" else "none")


def unknown(schema: dict[str, Any], value: Any, place: str = "") -> Iterator[str]:
    """Fields of a value that its schema does not know."""
    if isinstance(value, list):
        for one in value:
            yield from unknown(schema.get("items", {}), one, f"{place}[]")
    known: dict[str, list[dict[str, Any]]] = {}
    for part in _parts(schema):
        for name, one in part.get("properties", {}).items():
            known.setdefault(name, []).append(one)
    if isinstance(value, dict) and known:
        for name, one in value.items():
            if name not in known:
                yield f"{place}.{name}"
            else:
                yield from min((list(unknown(below, one, f"{place}.{name}")) for below in known[name]), key=len)


def _parts(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [schema, *(part for key in ("allOf", "anyOf") for below in schema.get(key, []) for part in _parts(below))]


def _alternatives(schema: dict[str, Any], value: Any) -> list[dict[str, Any]]:
    """Every part of a schema that holds, and of alternatives the one that fits a value best."""
    fits = sorted(
        schema.get("anyOf", []), key=lambda one: (len(list(unknown(one, value))), len(list(OAS30Validator(one).iter_errors(value))))
    )
    return [*schema.get("allOf", []), *fits[:1]]


@cache
def document(vendor: str) -> Document:
    return Document(vendor)


def followed(
    vendor: str,
    *,
    only: str = ".*",
    prefix: str = "",
    elsewhere: frozenset[str] = frozenset(),
    silent: frozenset[str] = frozenset(),
) -> Any:
    """A fixture that holds the exchanges of a module's tests to a vendor's document.

    Args:
        only: pattern of the paths that are held to it.
        prefix: the part of a path before the document's.
        elsewhere: required parameters that are given in another way, such as a header.
        silent: fields of answers that the document forgets, seen in other texts of the vendor.
    """

    @pytest.fixture(autouse=True)
    def follows(request: pytest.FixtureRequest) -> Iterator[None]:
        found: list[str] = []

        def watch(asked: Asked, answer: Answer) -> None:
            if re.match(only, asked.path):
                found.extend(document(vendor).problems(asked, answer, prefix=prefix, elsewhere=elsewhere, silent=silent))

        if request.node.get_closest_marker("off_document") is None:
            answering.WATCHERS.append(watch)
        try:
            yield
        finally:
            answering.WATCHERS[:] = []
        assert not found, f"not as {vendor} documents it:\n" + "\n".join(sorted(set(found)))

    return follows
