"""Versioned shapes of what others rely on: what a source may land, and what the published mart holds.

`landing.json` and `marts.json` are written by `python -m contracts` from `entities.py` and the dbt contracts. Every entity and mart has a
version `major.minor`, its shape, the shape of the version before, and a fingerprint of every version there was. Additive changes (a new
optional column, another allowed value) raise the minor number, breaking ones (a column gone or of another type, another key, a column that
must be filled now, a value no longer allowed) the major one; both need a line in CHANGELOG.md that names table and version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
FILES = {"landing": HERE / "landing.json", "marts": HERE / "marts.json"}
Shape = dict[str, Any]


def landing_shapes() -> dict[str, Shape]:
    """The landing entities as they are now."""
    from aftercast.entities import ENTITIES

    return {
        name: {
            "columns": {column: str(kind) for column, kind in entity.columns.items()},
            "key": list(entity.key),
            "required": sorted(entity.must_have),
            "choices": {column: sorted(values) for column, values in sorted(entity.choices.items())},
        }
        for name, entity in sorted(ENTITIES.items())
    }


def mart_shapes() -> dict[str, Shape]:
    """The published marts as their dbt contracts say now."""
    content = yaml.safe_load((PROJECT / "dbt_project" / "models" / "marts" / "_marts.yml").read_text(encoding="utf-8"))
    found = {}
    for model in content["models"]:
        grains = [test["unique_grain"]["arguments"]["columns"] for test in model.get("data_tests", []) if "unique_grain" in test]
        found[model["name"]] = {
            "columns": {column["name"]: column["data_type"] for column in model["columns"]},
            "key": list(grains[0]) if grains else [],
        }
    return dict(sorted(found.items()))


def shapes() -> dict[str, dict[str, Shape]]:
    return {"landing": landing_shapes(), "marts": mart_shapes()}


def recorded(kind: str) -> dict[str, Any]:
    """What the checked-in file says; nothing when there is none yet."""
    path = FILES[kind]
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def fingerprint(shape: Shape) -> str:
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:12]


def changes(old: Shape, new: Shape) -> tuple[list[str], list[str]]:
    """What a change adds, and what it breaks, in words."""
    added, broken = [], []
    before, after = old["columns"], new["columns"]
    filled, must = set(old.get("required", ())), set(new.get("required", ()))
    for column in [*before, *(one for one in after if one not in before)]:
        if column not in after:
            broken.append(f"column {column} is gone")
        elif column not in before:
            (broken if column in must else added).append(f"column {column} is new{' and must be filled' if column in must else ''}")
        elif before[column] != after[column]:
            broken.append(f"column {column} is {after[column]}, was {before[column]}")
        elif column in must - filled:
            broken.append(f"column {column} must be filled now")
        elif column in filled - must:
            added.append(f"column {column} may be empty now")
    if old["key"] != new["key"]:
        broken.append(f"the key is {', '.join(new['key'])}, was {', '.join(old['key'])}")
    allowed, still = old.get("choices", {}), new.get("choices", {})
    for column in sorted({*allowed, *still}):
        if column not in before:
            continue
        if column not in still:
            added.append(f"{column} may hold any value now")
        elif column not in allowed:
            broken.append(f"{column} may hold only {', '.join(still[column])} now")
        else:
            broken += [f"{column} may not be {value} any more" for value in sorted(set(allowed[column]) - set(still[column]))]
            added += [f"{column} may also be {value}" for value in sorted(set(still[column]) - set(allowed[column]))]
    if not added and not broken and old != new:
        added.append("its columns are in another order")
    return added, broken


def numbers(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return int(major), int(minor)


def raised(version: str, *, breaking: bool) -> str:
    major, minor = numbers(version)
    return f"{major + 1}.0" if breaking else f"{major}.{minor + 1}"


def problems(now: Mapping[str, Mapping[str, Shape]], known: Mapping[str, Mapping[str, Any]], changelog: str) -> list[str]:
    """What is wrong with the checked-in contracts, each with what to do about it."""
    found = []
    for kind, tables in now.items():
        for name in sorted(known[kind].keys() - tables.keys()):
            found.append(
                f"{kind}/{name} is gone, which breaks everybody who reads it: run `python -m contracts` and say so in CHANGELOG.md"
            )
        for name, shape in tables.items():
            entry = known[kind].get(name)
            if entry is None:
                found.append(f"{kind}/{name} has no contract: run `python -m contracts` and commit contracts/{kind}.json")
                continue
            if entry["shape"] != shape:
                added, broken = changes(entry["shape"], shape)
                next_ = raised(entry["version"], breaking=bool(broken))
                word = "breaking" if broken else "additive"
                found.append(
                    f"{kind}/{name} changed ({word}: {'; '.join(broken + added)}): run `python -m contracts`, which makes it {next_}, "
                    f"and add a line with `{kind}/{name} {next_}` to CHANGELOG.md that says what readers must do"
                )
                continue
            found += _of_history(f"{kind}/{name}", entry, changelog)
    return found


def _of_history(where: str, entry: Mapping[str, Any], changelog: str) -> list[str]:
    version, history, found = entry["version"], entry["history"], []
    if history.get(version) != fingerprint(entry["shape"]):
        found.append(f"{where}: its shape was edited under version {version}; restore contracts/ from git and run `python -m contracts`")
    if list(history)[-1] != version or sorted(history, key=numbers) != list(history):
        found.append(
            f"{where}: the versions of its history do not rise to {version}; restore contracts/ from git and run `python -m contracts`"
        )
    if entry["before"] is not None and len(history) > 1:
        _, broken = changes(entry["before"], entry["shape"])
        previous = list(history)[-2]
        if broken and numbers(version)[0] == numbers(previous)[0]:
            found.append(
                f"{where}: {previous} to {version} breaks readers ({'; '.join(broken)}); it must be {raised(previous, breaking=True)}"
            )
    if version != "1.0" and f"{where} {version}" not in changelog:
        found.append(f"{where}: CHANGELOG.md has no line with `{where} {version}`; say there what readers must do")
    return found


def updated(now: Mapping[str, Shape], known: Mapping[str, Any]) -> dict[str, Any]:
    """The contracts with a new version of everything that changed; what is gone goes."""
    result = {}
    for name, shape in now.items():
        entry = known.get(name)
        if entry is None:
            result[name] = {"version": "1.0", "shape": shape, "before": None, "history": {"1.0": fingerprint(shape)}}
        elif entry["shape"] == shape:
            result[name] = entry
        else:
            _, broken = changes(entry["shape"], shape)
            version = raised(entry["version"], breaking=bool(broken))
            history = {**entry["history"], version: fingerprint(shape)}
            result[name] = {"version": version, "shape": shape, "before": entry["shape"], "history": history}
    return result
