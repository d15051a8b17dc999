"""Cut a vendor's OpenAPI document down to the operations a source uses: `python -m tests.documents.cut VENDOR DOCUMENT`.

Only facts about the interface stay: paths, parameters, field names, types, what is required. Texts, examples and whatever lies deeper than
a source reads are left out, so that an excerpt is small and can be read. OpenAPI 2 becomes 3.0 on the way.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
DEPTH = 4  # of objects in objects that stays; below, anything goes

PULLS = "/repos/{owner}/{repo}"
OPERATIONS: dict[str, tuple[str, ...]] = {
    "pagerduty": (
        "/incidents",
        "/incidents/{id}",
        "/incidents/{id}/log_entries",
        "/incidents/{id}/notes",
        "/log_entries",
        "/change_events",
    ),
    "github": (
        f"{PULLS}/deployments",
        f"{PULLS}/deployments/{{deployment_id}}/statuses",
        f"{PULLS}/releases",
        f"{PULLS}/pulls",
        f"{PULLS}/actions/workflows/{{workflow_id}}/runs",
        f"{PULLS}/issues",
        f"{PULLS}/issues/{{issue_number}}",
        f"{PULLS}/issues/{{issue_number}}/comments",
        f"{PULLS}/pulls/{{pull_number}}",
    ),
    "launchdarkly": ("/api/v2/auditlog",),
    "unleash": ("/api/admin/search/events",),
    "slack": ("/conversations.list", "/conversations.history", "/conversations.replies"),
    "opsgenie": ("/v2/alerts", "/v2/alerts/{identifier}", "/v2/alerts/{identifier}/logs", "/v1/incidents/", "/v1/incidents"),
}
"""GET operations of each document."""
WRITTEN: dict[str, tuple[tuple[str, str], ...]] = {
    "pagerduty": (("post", "/incidents/{id}/notes"),),
    "github": (
        ("post", f"{PULLS}/issues"),
        ("patch", f"{PULLS}/issues/{{issue_number}}"),
        ("post", f"{PULLS}/issues/{{issue_number}}/comments"),
    ),
}
"""Operations that change something, with the body they take."""
TEXTS, NAMED = ("description", "title", "default", "deprecated"), ("properties", "patternProperties", "$defs")
SCHEMA_KEYS = ("type", "format", "enum", "required", "nullable", "minimum", "maximum", "pattern")


def cut(document: Mapping[str, Any], paths: tuple[str, ...], written: tuple[tuple[str, str], ...] = ()) -> dict[str, Any]:
    """Return the excerpt of an OpenAPI document, as OpenAPI 3.0."""

    def resolved(node: Any) -> Any:
        while isinstance(node, Mapping) and "$ref" in node:
            found: Any = document
            for part in node["$ref"].removeprefix("#/").split("/"):
                found = found[int(part)] if isinstance(found, list) else found[part.replace("~1", "/").replace("~0", "~")]
            node = found
        return node

    def schema(node: Any, depth: int) -> dict[str, Any]:
        node = resolved(node)
        if not isinstance(node, Mapping) or depth < 0:
            return {}
        kept: dict[str, Any] = {key: node[key] for key in SCHEMA_KEYS if key in node}
        if kept.get("format") in ("uuid", "uri", "email"):
            kept.pop("format")
        if kept.get("enum") == ["acknowledgement_log_entry"]:  # PagerDuty's document says acknowledge_log_entry of the same field
            kept.pop("enum")
        if "YYYY" in kept.get("pattern", ""):  # a picture, no pattern
            kept.pop("pattern")
        if isinstance(kept.get("type"), list):  # the way of JSON Schema and OpenAPI 3.1
            kept["nullable"] = "null" in kept["type"]
            kinds = [kind for kind in kept.pop("type") if kind != "null"]
            kept |= {"type": kinds[0]} if len(kinds) == 1 else {"anyOf": [{"type": kind} for kind in kinds]}
        for key in ("allOf", "anyOf", "oneOf"):
            if key in node:
                kept["anyOf" if key == "oneOf" else key] = [schema(one, depth) for one in node[key]]
        if "items" in node:
            items = node["items"]
            kept["items"] = {"anyOf": [schema(one, depth) for one in items]} if isinstance(items, list) else schema(items, depth)
        if "properties" in node:
            kept["properties"] = {name: schema(one, depth - 1) for name, one in node["properties"].items()}
        if not kept.get("required", True) or not isinstance(kept.get("required", []), list):
            kept.pop("required")
        if kept.get("type") == "array" and "items" not in kept:
            kept["items"] = {}
        if kept.get("nullable") and not any(key in kept for key in ("type", "allOf", "anyOf")):
            kept.pop("nullable")
        return kept

    def parameter(node: Any) -> dict[str, Any] | None:
        node = resolved(node)
        if node["in"] not in ("query", "path"):
            return None
        shape = schema(node["schema"] if "schema" in node else {key: node[key] for key in ("type", "items", "enum") if key in node}, 2)
        extra = {key: node[key] for key in ("style", "explode") if key in node}
        return {"name": node["name"], "in": node["in"], "required": bool(node.get("required")), "schema": shape, **extra}

    def answer(responses: Mapping[Any, Any]) -> dict[str, Any]:
        said = resolved(next(one for status, one in responses.items() if str(status) in ("200", "201")))
        found = said["schema"] if "schema" in said else next(iter(said["content"].values()))["schema"]
        return {"200": {"description": "", "content": {"application/json": {"schema": schema(found, DEPTH)}}}}

    listed = {}
    for path in paths:
        if path not in document["paths"]:
            continue
        item = document["paths"][path]
        given = [found for one in [*item.get("parameters", []), *item["get"].get("parameters", [])] if (found := parameter(one))]
        listed[path] = {"get": {"parameters": given, "responses": answer(item["get"]["responses"])}}
    for method, path in written:
        operation = document["paths"][path][method]
        content = next(iter(resolved(operation["requestBody"])["content"].values()))
        body = {"content": {"application/json": {"schema": schema(content["schema"], 2)}}}
        listed[path][method] = {"parameters": [], "requestBody": body, "responses": answer(operation["responses"])}
    info = {"title": document["info"]["title"], "version": str(document["info"]["version"])}
    return {"openapi": "3.0.3", "info": info, "servers": [{"url": "/"}], "paths": listed}


def without_texts(node: Any, *, names: bool = False) -> Any:
    """A JSON schema without descriptions, titles and defaults; below `properties` (`names`) these words are names like any other."""
    if isinstance(node, Mapping):
        kept = {key: one for key, one in node.items() if names or key not in TEXTS}
        return {key: without_texts(one, names=not names and key in NAMED) for key, one in kept.items()}
    return [without_texts(one) for one in node] if isinstance(node, list) else node


def main() -> None:
    vendor, place = sys.argv[1], Path(sys.argv[2])
    if vendor == "compose":
        schema = without_texts(json.loads(place.read_text()))
        (HERE / "compose.json").write_text(json.dumps(schema, sort_keys=True, separators=(",", ":")) + "\n")
        return
    document = yaml.load(place.read_text(), Loader=yaml.CSafeLoader) if place.suffix == ".yaml" else json.loads(place.read_text())
    found = HERE / f"{vendor}.json"
    found.write_text(json.dumps(cut(document, OPERATIONS[vendor], WRITTEN.get(vendor, ())), sort_keys=True, separators=(",", ":")) + "\n")
    sys.stdout.write(f"{found}: {found.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
