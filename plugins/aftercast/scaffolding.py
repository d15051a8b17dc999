"""Start a source: its row in sources.yml, and for a new kind a module and a test that pass at once.

Files that people write keep every word: a row is put after the last one, a kind into the list of kinds. What would be overwritten is
refused.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from pydantic_core import PydanticUndefined

from aftercast.declarations import Row, SourceRow
from aftercast.entities import ENTITIES
from aftercast.errors import ConfigError
from aftercast.settings import PROJECT, load_deployment
from aftercast.sources import KINDS

TEMPLATES = Path(__file__).parent / "templates"
NAME = re.compile(r"^[a-z][a-z0-9_]*$")


def _named(what: str, name: str) -> None:
    if not NAME.match(name):
        raise ConfigError(f"{what} {name!r}: small letters, digits and _ only, beginning with a letter")


def options_of(kind: str) -> type[Row] | None:
    """Return the model a kind checks its options with; None when it has none."""
    module = import_module(KINDS[kind])
    models = {name: one for name, one in vars(module).items() if inspect.isclass(one) and issubclass(one, Row)}
    ours = [one for name, one in models.items() if name.endswith("Options") and one.__module__ == module.__name__]
    return models.get("Options") or (ours[0] if ours else None)


def _value(annotation: Any) -> tuple[str, str]:
    """A value that stands for a required option, and what is meant, as YAML shows them."""
    text = str(annotation)
    if annotation is str:
        return '""', "text"
    if annotation in (int, float):
        return "1", "a number"
    rows = [one for one in getattr(annotation, "__args__", ()) if inspect.isclass(one) and issubclass(one, Row)]
    if rows:
        return "[]", "a list of rows with " + ", ".join(rows[0].model_fields)
    return "[]", "a list" if "tuple" in text or "list" in text else text


def row_text(kind: str, name: str, indent: str = "  ") -> str:
    """Return the row of a source: what must be filled in is empty, what may be said is a comment."""
    model = options_of(kind)
    module = inspect.getsource(import_module(KINDS[kind]))
    lines = [f"- name: {name}", f"  kind: {kind}", '  schedule: "0 * * * *"', "  owner: unowned"]
    if "connection" in module:
        lines.append(f"  connection: {name} # AIRFLOW_CONN_{name.upper()}, or Admin > Connections in Airflow")
    fields = SourceRow.model_fields
    lines += [f"  # {key}: {fields[key].default}" for key in ("overlap_minutes", "max_window_days", "reconcile_days")]
    options = {} if model is None else {field.alias or key: field for key, field in model.model_fields.items()}
    required = {key: field for key, field in options.items() if field.is_required()}
    optional = {key: field.default for key, field in options.items() if key not in required and field.default is not PydanticUndefined}
    lines += ["  options:"] if required else ["  # options:"] if optional else []
    for key, field in required.items():
        value, meaning = _value(field.annotation)
        lines.append(f"    {key}: {value} # required: {meaning}")
    lines += [f"  #   {key}: {_shown(default)}".rstrip() for key, default in optional.items()]
    return "".join(f"{indent}{line}\n" for line in lines)


def _shown(default: Any) -> str:
    if default is None:
        return ""
    if isinstance(default, Row):
        default = default.model_dump(mode="json", exclude_none=True)
    if isinstance(default, tuple):
        default = list(default)
    return yaml.safe_dump(default, default_flow_style=True, width=10_000).strip().removesuffix("...").strip()


def add_row(folder: Path, kind: str, name: str) -> str:
    """Add a source to `sources.yml` of a configuration folder, behind the last one; everything else stays as it is. Returns the row.

    Raises:
        ConfigError: the name is taken or not a name, or the file is not written as a list we can add to.
    """
    _named("source", name)
    deployment = load_deployment(folder)
    if name in {source.name for source in deployment.sources}:
        raise ConfigError(
            f"{folder / 'sources.yml'} already declares a source {name!r}; give another name: aftercast source add {kind} NAME"
        )
    path = folder / "sources.yml"
    text = path.read_text(encoding="utf-8")
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode), "load_deployment has read it"
    key, value = next((key, value) for key, value in root.value if key.value == "sources")
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    if not isinstance(value, yaml.SequenceNode) or (value.flow_style and value.value):
        raise ConfigError(f"{path}: `sources` is written in brackets; write it as a list of rows that begin with `- name:` to add to it")
    if value.value:
        row = row_text(kind, name, " " * value.start_mark.column)
        at = max(_last_line(value), value.start_mark.line) + 1
    else:
        row = row_text(kind, name)
        lines[key.start_mark.line] = re.sub(r"\[\s*\]", "", lines[key.start_mark.line], count=1).rstrip() + "\n"
        at = key.start_mark.line + 1
    changed = "".join([*lines[:at], row, *lines[at:]])
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(changed, encoding="utf-8")
    temporary.replace(path)
    return row


def _last_line(node: yaml.Node) -> int:
    """The last line a node is written on; comments and blanks after it do not count."""
    if isinstance(node, yaml.ScalarNode) or getattr(node, "flow_style", False):
        return int(node.end_mark.line) - (node.end_mark.column == 0 and node.end_mark.line > node.start_mark.line)
    inner = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
    return max((_last_line(part) for part in inner), default=int(node.start_mark.line))


def add_kind(kind: str, project: Path = PROJECT) -> list[Path]:
    """Write the module of a new kind and its test from the templates, and list it in KINDS. Returns the files.

    Raises:
        ConfigError: the kind exists, or its name is no name or a library's.
    """
    _named("kind", kind)
    package = project / "plugins" / "aftercast" / "sources"
    module, test, kinds = package / f"{kind}.py", project / "tests" / "unit" / f"test_source_{kind}.py", package / "__init__.py"
    if kind in KINDS or module.exists() or test.exists():
        raise ConfigError(f"kind {kind!r} exists: see {module}")
    if importlib.util.find_spec(kind) is not None:
        raise ConfigError(f"kind {kind!r} is named like an installed library; take another name, such as {kind}_records")
    if not kinds.exists():
        raise ConfigError(f"{package} is not there: a new kind is written into a checkout of the project")
    text = kinds.read_text(encoding="utf-8")
    start = text.index("KINDS: dict[str, str] = {\n")
    end = text.index("}\n", start)
    title = "".join(part.capitalize() for part in kind.split("_"))
    for source, target in (("source_kind.py.txt", module), ("source_test.py.txt", test)):
        template = (TEMPLATES / source).read_text(encoding="utf-8")
        target.write_text(template.replace("NewKind", title).replace("new_kind", kind), encoding="utf-8")
    kinds.write_text(f'{text[:end]}    "{kind}": "aftercast.sources.{kind}",\n{text[end:]}', encoding="utf-8")
    return [module, test, kinds]


def entities_hint() -> str:
    """Return the entities a kind may land, for people."""
    return ", ".join(sorted(ENTITIES))
