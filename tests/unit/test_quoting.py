"""Names, values and ids inside queries and addresses stay what they are, whatever is in them; nothing else puts one there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercast.connections import Endpoint
from aftercast.errors import SourceRejected
from aftercast.settings import PROJECT
from aftercast.sources.loki import Selection
from aftercast.sources.prometheus.fired import AlertOptions
from aftercast.sources.prometheus.queries import Query, questions
from aftercast.sources.quoting import attribute_name, folders, label_name, literal, narrowed, segment
from aftercast.sources.tempo import Options as TempoOptions
from aftercast.sources.web import Request, Web
from tests.answering import Answer, in_turn, serve

PACKAGE = PROJECT / "plugins" / "aftercast"
HOSTILE = ('"} or vector(1) or {x="', "a\\", '\\"', "{}", "a\nb", "a`b", "'", "$step", "# no comment", "\u2028", "a\x00b", "日本 é")
START = datetime(2026, 9, 1, tzinfo=UTC)


def read_string(text: str, at: int = 0) -> tuple[str, int]:
    """Read a string as Go does (strconv.Unquote), which PromQL, LogQL and TraceQL use; return it and where it ends."""
    assert text[at] == '"'
    found, at = [], at + 1
    short = {"\\": "\\", '"': '"', "n": "\n", "r": "\r", "t": "\t"}
    while text[at] != '"':
        assert text[at] != "\n", "a raw line break ends no string"
        if text[at] != "\\":
            found.append(text[at])
            at += 1
        elif text[at + 1] in short:
            found.append(short[text[at + 1]])
            at += 2
        elif text[at + 1] == "x":
            found.append(chr(int(text[at + 2 : at + 4], 16)))
            at += 4
        else:
            assert text[at + 1] == "U"
            found.append(chr(int(text[at + 2 : at + 10], 16)))
            at += 10
    return "".join(found), at + 1


def matchers(selector: str) -> dict[str, str]:
    """The matchers of a selector of plain names and quoted values, or an error where it is not whole."""
    found, at = {}, selector.index("{") + 1
    while selector[at] != "}":
        name = re.compile(r'(\w+|"(?:[^"\\]|\\.)*")=').match(selector, at)
        assert name, selector[at:]
        value, at = read_string(selector, name.end())
        found[read_string(name[1])[0] if name[1].startswith('"') else name[1]] = value
        at += 2 if selector[at : at + 2] == ", " else 0
    assert selector[at:] == "}"
    return found


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_value_comes_back_as_it_was(value: str):
    assert read_string(literal(value)) == (value, len(literal(value)))
    assert "\n" not in literal(value)


@given(st.dictionaries(st.text(min_size=1), st.text(min_size=1), min_size=1), st.text(min_size=1))
def test_a_selector_is_narrowed_to_these_labels_and_no_more(only: dict[str, str], given_value: str):
    given_label = "given_by_the_engineer"
    selector = narrowed(f"up{{{given_label}={literal(given_value)}}}", only)
    assert matchers(selector) == {given_label: given_value, **only}
    assert matchers(narrowed("up", only)) == only


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values_are_values_in_every_query_that_is_built(value: str):
    rows = [
        Query(metric="m", counter="c{a='}'}", of="d", only={"job": value}),
        Query(metric="m", buckets="b", quantiles=(0.5,), only={"job": value}),
    ]
    built = [question.promql for question in questions(rows, step=60, labels=Query(metric="m", counter="c").labels or _labels())]
    built += [AlertOptions(selector='alertname!="Watchdog"', only={"job": value}).promql]
    built += [Selection(selector='{env=`}`} | json | level="x"', only={"job": value}).logql]
    for query, times in zip(built, (2, 1, 2, 1), strict=True):
        assert query.count(f"job={literal(value)}") == times
    assert built[-1] == f'{{env=`}}`, job={literal(value)}}} | json | level="x"'


def _labels():
    from aftercast.sources.labels import Labels

    return Labels()


@pytest.mark.parametrize("value", ["$step", '"$step"'])
def test_a_value_is_no_place_for_the_step(value: str):
    (question,) = questions([Query(metric="m", counter="c", only={"job": value})], step=60, labels=_labels())
    assert literal(value) in question.promql


@pytest.mark.parametrize("name", ["a b", 'a) or vector(1) or sum by (b"', "a-b", "", "1a", "a\n"])
def test_a_name_that_is_no_plain_name_is_quoted(name: str):
    assert read_string(label_name(name))[0] == name
    from aftercast.sources.labels import Labels

    (question,) = questions([Query(metric="m", counter="c")], step=60, labels=Labels(service=name))
    assert question.promql == f"sum by ({literal(name)}, environment, region) (increase(c[60s]))"


@pytest.mark.parametrize("name", ["resource.service.name", ".team", 'span."a b"', "name", "span:duration", "parent.span.x", "event.x.y"])
def test_attributes_of_traceql_are_taken(name: str):
    assert attribute_name(name) == name
    assert TempoOptions.model_validate({"labels": {"service": name}}).labels.service == name


@pytest.mark.parametrize(
    "name", ["resource.x) by (y", "a + b", 'resource."x', "resource.", "", "a\nb", "resource.x} | rate() by (resource.y"]
)
def test_what_traceql_would_read_as_more_is_refused_where_it_is_declared(name: str):
    with pytest.raises(ValueError, match="no one attribute of TraceQL"):
        TempoOptions.model_validate({"labels": {"service": name}})


@pytest.mark.parametrize(
    "rows", [{"query": "up", "only": {"a": "b"}}, {"counter": "up{a='b'", "only": {"a": "b"}}, {"counter": "up", "only": {"a": ""}}]
)
def test_what_cannot_be_narrowed_is_refused_where_it_is_declared(rows: dict):
    with pytest.raises(ValueError, match=r"`only` narrows|no closing brace|at least 1 character"):
        Query.model_validate({"metric": "m", **rows})


def test_streams_without_any_selector_are_refused():
    with pytest.raises(ValueError, match="which streams"):
        Selection()
    assert Selection(only={"app": "shop"}).logql == '{app="shop"}'


# Addresses


def ask(url: str, path: str) -> None:
    with Web("orders", Endpoint("orders_api", "http", url), sleep=lambda _: None) as web:
        web.ask(Request(path))


@pytest.mark.parametrize(
    "id_",
    [
        "../../admin",
        "1/../2",
        "a?state=open",
        "a#b",
        "a%2fb",
        "a%252fb",
        "a b",
        "a\r\nX-Evil: 1",
        "é",
        "\x00",
        "..%2f",
        ".x",
        "//evil.test",
    ],
)
def test_an_id_is_one_segment_of_the_path_on_the_way_to_a_real_server(id_: str):
    with serve(in_turn(Answer([]))) as server:
        ask(server.url, f"/incidents/{segment(id_)}/notes")
        (asked,) = server.asked
    assert "x-evil" not in asked.headers
    assert asked.params == {}
    first, second, third, *rest = [*urlsplit(asked.path).path.split("/")[1:], ""]
    assert (first, unquote(second), third, rest) == ("incidents", id_, "notes", [""])


@pytest.mark.parametrize("id_", ["", ".", ".."])
def test_an_id_that_names_another_folder_is_refused(id_: str):
    with pytest.raises(SourceRejected, match="another address"):
        segment(id_)
    with pytest.raises(SourceRejected, match="another address"):
        folders(f"acme/{id_}")
    assert folders("acme/shop") == "acme/shop"


ALLOWED = {
    "self.api", "API", "self.path", "self.issues", "path", "_api", "number",
    "segment", "folders", "_path",
}  # fmt: skip
"""What else may stand in an address: parts of it that are ours, and what goes through `segment` itself."""


def paths_put_together() -> Iterator[tuple[str, str]]:
    """Every value that is put into an address of an API, and where: `/…` texts with something in them, and texts added to one."""
    for path in (*(PACKAGE / "sources").rglob("*.py"), *(PACKAGE / "acting").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Request" and node.args:
                yield from ((one, f"{path.name}:{node.lineno}") for one in _values(node.args[0]))
            if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant) and str(node.values[0].value).startswith("/"):
                yield from ((one, f"{path.name}:{node.lineno}") for one in _values(node))


def _values(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.JoinedStr):
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                called = part.value.func if isinstance(part.value, ast.Call) else None
                yield getattr(called, "id", getattr(called, "attr", ast.unparse(part.value)))
    if isinstance(node, ast.BinOp):
        yield from (*_values(node.left), *_values(node.right))
        yield from (getattr(one.func, "id", "") for one in (node.left, node.right) if isinstance(one, ast.Call))


def test_every_value_in_an_address_goes_through_one_function():
    found = list(paths_put_together())
    assert len(found) > 25
    assert sum(value in ("segment", "folders") for value, _ in found) > 12
    assert [(value, where) for value, where in found if value not in ALLOWED] == []
