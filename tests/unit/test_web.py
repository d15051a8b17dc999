"""The HTTP client of sources: it waits as asked, heals what a retry heals, refuses the rest by name, and is not led in circles."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import subprocess
from email.utils import formatdate
from pathlib import Path

import pytest

from aftercast.connections import Endpoint, resolve
from aftercast.errors import ConfigError, SourceRejected, SourceUnavailable
from aftercast.sources.web import Page, Request, Web, records
from tests.answering import Answer, in_turn, serve

NOW = 1_790_000_000.0


def web(url: str, waits: list[float] | None = None, **arguments) -> Web:
    endpoint = Endpoint("orders_api", "http", url, extra=arguments.pop("extra", {}))
    return Web("orders", endpoint, sleep=(waits if waits is not None else []).append, clock=lambda: NOW, **arguments)


def ask(url: str, waits: list[float] | None = None, **arguments) -> Page:
    with web(url, waits, **arguments) as client:
        return client.ask(Request("/api/orders", {"limit": 2}))


@pytest.mark.parametrize(
    ("headers", "waited"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": formatdate(NOW + 42, usegmt=True)}, 42.0),
        ({"ratelimit-reset": "11"}, 11.0),
        ({"X-RateLimit-Reset": str(int(NOW) + 30)}, 30.0),
        ({"X-RateLimit-Period-In-Sec": "60"}, 60.0),
        ({}, 1.0),
    ],
)
@pytest.mark.parametrize("status", [429, 420, 503])
def test_it_waits_as_long_as_the_service_asks(status: int, headers: dict[str, str], waited: float):
    waits: list[float] = []
    with serve(in_turn(Answer(status=status, headers=headers), Answer({"ok": True}))) as server:
        assert ask(server.url, waits).data == {"ok": True}
    assert waits == [waited]


@pytest.mark.parametrize(
    ("headers", "said", "waited"),
    [
        ({"Retry-After": "7"}, "You have triggered an abuse detection mechanism", 7.0),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW) + 30)}, "Enough for now", 30.0),
        ({"X-RateLimit-Remaining": "4990", "X-RateLimit-Reset": str(int(NOW) + 3000)}, "exceeded a secondary rate limit", 60.0),
        ({}, "exceeded a secondary rate limit", 60.0),
    ],
)
def test_a_403_that_tells_of_a_rate_limit_is_a_slow_down_and_no_refusal(headers: dict[str, str], said: str, waited: float):
    waits: list[float] = []
    with serve(in_turn(Answer({"message": said}, status=403, headers=headers), Answer({"ok": True}))) as server:
        assert ask(server.url, waits).data == {"ok": True}
    assert waits == [waited]


def test_a_403_with_an_allowance_left_is_a_refusal():
    left = {"X-RateLimit-Remaining": "4990", "X-RateLimit-Reset": str(int(NOW) + 3000)}
    with serve(in_turn(Answer({"message": "Resource not accessible"}, status=403, headers=left))) as server:
        with pytest.raises(SourceRejected, match=r"403; check login"):
            ask(server.url)
        assert len(server.asked) == 1


def test_a_stumbling_service_is_asked_again_before_its_allowance_begins_anew():
    waits: list[float] = []
    left = {"X-RateLimit-Remaining": "4990", "X-RateLimit-Reset": str(int(NOW) + 3000)}
    with serve(in_turn(Answer(status=502, headers=left), Answer({"ok": True}))) as server:
        assert ask(server.url, waits).data == {"ok": True}
    assert waits == [1.0]


def test_it_keeps_the_pace_of_services_that_count_requests():
    waits: list[float] = []
    moments = iter([NOW, NOW, NOW + 0.25, NOW + 1.0, NOW + 9.0, NOW + 9.0])
    with serve(in_turn(Answer({"ok": True}))) as server:
        client = Web("orders", Endpoint("orders_api", "http", server.url), pace=1.0, sleep=waits.append, clock=lambda: next(moments))
        with client:
            for _ in range(3):
                client.ask(Request("/api/orders"))
    assert waits == [0.75]


def test_it_gives_up_for_now_when_the_service_asks_for_too_much():
    waits: list[float] = []
    with (
        serve(in_turn(Answer(status=429, headers={"Retry-After": "3600"}))) as server,
        pytest.raises(SourceUnavailable, match="answered 429"),
    ):
        ask(server.url, waits)
    assert waits == []
    assert len(server.asked) == 1


def test_it_gives_up_after_bounded_tries_and_says_how_long_it_tried():
    waits: list[float] = []
    with serve(in_turn(Answer(status=500))) as server, pytest.raises(SourceUnavailable, match=r"'orders'.*tried 6 times over 31 s"):
        ask(server.url, waits)
    assert waits == [1, 2, 4, 8, 16]


@pytest.mark.parametrize("raw", [b'{"orders": [1, 2', b"", b"<html>", b'{"value": NaN}'])
def test_a_torn_or_mistyped_body_is_asked_for_again(raw: bytes):
    with serve(in_turn(Answer(raw=raw), Answer({"ok": 1}))) as server:
        assert ask(server.url).data == {"ok": 1}
    with serve(in_turn(Answer(raw=raw))) as server, pytest.raises(SourceUnavailable, match="no whole JSON"):
        ask(server.url)


def test_an_explained_refusal_is_an_answer_where_it_is_expected_and_forms_are_posted():
    asked = Request("/query", form={"query": "up"}, method="POST", accepted=(400, 503))
    explained = Answer({"error": "too much"}, status=503)
    with serve(in_turn(Answer(status=503, raw=b"starting"), explained)) as server, web(server.url) as client:
        assert client.ask(asked).data == {"error": "too much"}
    assert (server.asked[-1].method, server.asked[-1].body, len(server.asked)) == ("POST", "query=up", 2)
    with (
        serve(in_turn(Answer(status=400, raw=b"<html>"))) as server,
        web(server.url) as client,
        pytest.raises(SourceRejected, match="answered 400"),
    ):
        client.ask(asked)


def test_nobody_listening_is_unavailable():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(SourceUnavailable, match="ConnectError"):
        ask(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "check login, password"), (403, "check login, password"), (404, "check the host"), (400, "does not accept"), (302, "redirects")],
)
def test_what_a_retry_cannot_heal_is_refused_at_once_and_holds_no_secret(status: int, advice: str):
    waits: list[float] = []
    answer = Answer({"error": "no such user jane@example.org"}, status=status, headers={"location": "/login"})
    with serve(in_turn(answer)) as server, pytest.raises(SourceRejected, match=advice) as caught:
        ask(server.url, waits, headers={"Authorization": "Bearer s3cret-s3cret"})
    assert waits == []
    assert str(status) in str(caught.value)
    assert "'orders'" in str(caught.value)
    assert server.asked[0].headers["authorization"] == "Bearer s3cret-s3cret"
    assert "s3cret" not in str(caught.value)
    assert "jane" not in str(caught.value)


def test_a_certificate_nobody_signed_is_refused_and_its_own_is_accepted(tmp_path: Path):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *subject], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with serve(in_turn(Answer({"ok": 1})), tls=tls) as server:
        with pytest.raises(SourceRejected, match=r"TLS certificate was not accepted.*'orders_api'"):
            ask(server.url)
        assert ask(server.url, extra={"verify": str(certificate)}).data == {"ok": 1}


def following(page: Page) -> Request | None:
    cursor = page.data.get("next")
    return page.request.with_params(cursor=cursor) if cursor else None


def test_pages_are_followed_to_the_last():
    with (
        serve(in_turn(Answer({"next": "b", "n": 1}), Answer({"next": "c", "n": 2}), Answer({"n": 3}))) as server,
        web(server.url) as client,
    ):
        pages = list(client.walk(Request("/api/orders"), following))
    assert [(page.number, page.data["n"]) for page in pages] == [(1, 1), (2, 2), (3, 3)]
    assert [one.param("cursor") for one in server.asked] == [None, "b", "c"]


def test_a_cursor_that_loops_is_named():
    answers = (Answer({"next": "b", "n": 1}), Answer({"next": "c", "n": 2}), Answer({"next": "b", "n": 3}))
    with serve(in_turn(*answers)) as server, web(server.url) as client, pytest.raises(SourceRejected, match="cursor loops"):
        list(client.walk(Request("/api/orders"), following))


def test_a_page_that_comes_again_under_another_cursor_is_named():
    def rule(asked) -> Answer:
        return Answer({"rows": [1, 2], "next": "more"})

    def numbered(page: Page) -> Request:
        return page.request.with_params(page=page.number + 1)

    with serve(rule) as server, web(server.url) as client, pytest.raises(SourceRejected, match="repeats an earlier page"):
        list(client.walk(Request("/api/orders"), numbered))


def test_too_many_pages_are_named():
    def rule(asked) -> Answer:
        return Answer({"n": int(asked.param("page") or 1)})

    with serve(rule) as server, web(server.url) as client, pytest.raises(SourceRejected, match="more than 5 pages"):
        list(client.walk(Request("/api/orders"), lambda page: page.request.with_params(page=page.number + 1), most=5))


def test_kept_pages_are_redacted_and_private(tmp_path: Path):
    with serve(in_turn(Answer({"by": "jane@example.org"}))) as server:
        ask(server.url, keep=tmp_path / "raw")
    (path,) = (tmp_path / "raw").iterdir()
    assert json.loads(gzip.decompress(path.read_bytes()))["body"] == '{"by": "<email>"}'
    assert path.stat().st_mode & 0o077 == 0


def test_a_body_of_another_shape_is_named():
    page = Page(Request("/x"), {"items": {"a": 1}}, {}, 3, "GET host/x page 3")
    assert records(Page(Request("/x"), {"items": [{"a": 1}]}, {}, 1, "o"), "items", source="orders") == [{"a": 1}]
    with pytest.raises(SourceRejected, match="page 3: expected a list of objects at items, found dict"):
        records(page, "items", source="orders")


def test_a_connection_is_resolved_and_a_missing_one_is_explained(monkeypatch: pytest.MonkeyPatch):
    given = {"conn_type": "http", "host": "10.1.1.1", "port": 8443, "login": "u", "password": "p4ssw0rd", "extra": {"verify": False}}
    monkeypatch.setenv("AIRFLOW_CONN_ORDERS_API", json.dumps(given))
    endpoint = resolve("orders", "orders_api")
    assert (endpoint.base_url, endpoint.login, endpoint.secret()) == ("https://10.1.1.1:8443", "u", "p4ssw0rd")
    assert "p4ssw0rd" not in repr(endpoint)
    with pytest.raises(ConfigError, match="AIRFLOW_CONN_NOWHERE"):
        resolve("orders", "nowhere")
    with pytest.raises(ConfigError, match="needs a connection"):
        resolve("orders", None)
