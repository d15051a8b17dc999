"""The receiver: proofs of the secret, whole lines, once, without personal data."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from aftercast import cli
from aftercast.commands import inbox
from aftercast.errors import ConfigError
from aftercast.settings import Settings
from aftercast.sources.receiving import Inbox, Receiver, is_known, server
from tests.unit.inbox_fixture import KEY, SECRET, Inboxed, signature
from tests.unit.tracker_fixture import utc

BODY = b'{"deployment": 1}'
BASIC = base64.b64encode(f"prometheus:{SECRET}".encode()).decode()


@pytest.fixture
def inboxed(tmp_path: Path) -> Inboxed:
    return Inboxed(tmp_path, "webhooks", "changes")


def lines(inboxed: Inboxed) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(inboxed.folder.rglob("*.jsonl")) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {SECRET}"},
        {"authorization": f"Basic {BASIC}"},
        {"x-gitlab-token": SECRET},
        {"x-webhook-token": SECRET},
        {"x-hub-signature-256": f"sha256={signature(BODY)}"},
        {"x-pagerduty-signature": f"v1={signature(BODY, 'older')},v1={signature(BODY)}"},
    ],
)
def test_a_sender_proves_the_secret_as_its_system_does(headers: dict[str, str]):
    assert is_known(headers, BODY, SECRET)
    assert not is_known(headers, BODY, "another")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer "},
        {"authorization": "Basic nonsense"},
        {"x-hub-signature-256": ""},
        {"x-hub-signature-256": f"sha256={signature(b'other')}"},
        {"x-pagerduty-signature": "v1=,"},
        {"x-gitlab-token": "söcret"},
    ],
)
def test_without_the_secret_nothing_is_stored(inboxed: Inboxed, headers: dict[str, str]):
    status, _ = inboxed.receiver.receive("/inbox/events", headers, BODY)
    assert (status, lines(inboxed)) == (401, [])


def test_what_is_stored_bears_both_times_and_its_hook(inboxed: Inboxed):
    sent = {"date": "Tue, 01 Sep 2026 10:03:00 GMT", "x_github_event": "push", "x_github_delivery": "d-1", "cookie": "c00kie"}
    assert inboxed.post({"a": 1}, 5, "github", **sent) == (202, {"id": "d-1", "duplicate": False})
    (line,) = lines(inboxed)
    assert (line["id"], line["hook"], line["body"]) == ("d-1", "github", {"a": 1})
    assert (line["received_at"], line["sent_at"]) == (utc(5).isoformat(), utc(3).isoformat())
    assert line["headers"] == {"x-github-event": "push"}
    (path,) = inboxed.folder.iterdir()
    assert path.name == "received-2026-09-01.jsonl"
    assert path.stat().st_mode & 0o077 == 0


def test_nothing_personal_reaches_the_disk(inboxed: Inboxed):
    body = {
        "text": "ask jane.doe@acme.test from 10.1.2.3",
        "sender": {"login": "octocat", "id": 5, "type": "User", "url": "https://api.test/users/octocat"},
        "commits": [{"author": {"name": "Jane Doe", "email": "jane.doe@acme.test"}, "message": "password=hunter22 out"}],
        "repository": {"full_name": "acme/cart"},
        "created_by": "Jane Doe",
        "config": {"client_secret": "swordfish", "apiKey": "swordfish"},
    }
    inboxed.post(body)
    (line,) = lines(inboxed)
    stored = json.dumps(line)
    assert not any(word in stored for word in ("jane", "Jane", "octocat", "10.1.2.3", "hunter22", "swordfish"))
    assert line["body"]["repository"]["full_name"] == "acme/cart"
    assert line["body"]["sender"]["type"] == "User"
    assert line["body"]["created_by"] == line["body"]["commits"][0]["author"]["name"], "one person stays one token"


def test_what_only_looks_personal_is_kept(inboxed: Inboxed):
    body = {"version": "10.2.3.4", "artifactId": "pkg:npm/cart@1.0.0-beta.rc", "run_id": "4111111111111111", "sha": "0" * 40}
    inboxed.post(body | {"note": "10.2.3.4", "user_id": "jane@acme.test"})
    (line,) = lines(inboxed)
    assert line["body"] == body | {"note": "<ip>", "user_id": "<email>"}


def test_a_delivery_that_comes_again_is_taken_and_not_stored_again(inboxed: Inboxed):
    inboxed.post({"a": 1}, x_github_delivery="d-1")
    assert inboxed.post({"a": 1}, x_github_delivery="d-1") == (202, {"id": "d-1", "duplicate": True})
    assert len(lines(inboxed)) == 1
    inboxed.receiver = Receiver({"events": Inbox("events", inboxed.folder, SECRET)}, KEY, clock=lambda: inboxed.now)
    assert inboxed.post({"a": 1}, 24 * 60, x_github_delivery="d-1")[1]["duplicate"], "also the day after, by another process"
    assert not inboxed.post({"a": 1}, 3 * 24 * 60, x_github_delivery="d-1")[1]["duplicate"]


def test_without_an_id_the_event_or_the_body_tells_deliveries_apart(inboxed: Inboxed):
    for body in ({"context": {"id": "e-1"}}, {"specversion": "1.0", "id": "e-2"}, {"a": 1}, {"a": 1}, {"a": 2}):
        inboxed.post(body)
    ids = [line["id"] for line in lines(inboxed)]
    assert ids[:2] == ["e-1", "e-2"]
    assert len(set(ids)) == len(ids) == 4


def test_a_torn_line_is_ended_before_the_next(inboxed: Inboxed):
    inboxed.drop("received-2026-09-01.jsonl", '{"id": "to')
    inboxed.post({"a": 1})
    torn, whole = (inboxed.folder / "received-2026-09-01.jsonl").read_text().splitlines()
    assert (torn, json.loads(whole)["body"]) == ('{"id": "to', {"a": 1})


def test_a_full_disk_asks_to_send_again_and_leaves_no_half_line(inboxed: Inboxed, monkeypatch: pytest.MonkeyPatch):
    inboxed.post({"a": 1})
    before = (inboxed.folder / "received-2026-09-01.jsonl").read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:7]))
    assert inboxed.post({"a": 2})[0] == 503
    monkeypatch.undo()
    assert (inboxed.folder / "received-2026-09-01.jsonl").read_bytes() == before
    assert not inboxed.post({"a": 2})[1]["duplicate"]


@pytest.mark.parametrize("body", [b"", b"{", b"payload=%7B%7D", b"\xff\xfe", b"[" * 5_000])
def test_what_is_no_json_is_refused(inboxed: Inboxed, body: bytes):
    assert inboxed.post(body)[0] == 400
    assert lines(inboxed) == []


@pytest.mark.parametrize("path", ["/", "/inbox", "/inbox/other", "/elsewhere/events", "/inbox/events/../../etc", "/inbox/events/a/b"])
def test_only_declared_inboxes_are_there(inboxed: Inboxed, path: str):
    assert inboxed.receiver.receive(path, {"authorization": f"Bearer {SECRET}"}, b"{}")[0] == 404


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, body, {"Authorization": f"Bearer {SECRET}", **headers})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_it_answers_over_http_and_reads_no_body_that_is_too_large(inboxed: Inboxed):
    receiver = Receiver({"events": inboxed.inbox}, KEY, most_bytes=100)
    with server(receiver, "127.0.0.1", 0) as listening:
        threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        port = listening.server_address[1]
        assert ask(port, "GET", "/health") == (200, {"status": "ok"})
        assert ask(port, "GET", "/inbox/events")[0] == 405
        status, answer = ask(port, "POST", "/inbox/events/ci", b'{"a": 1}')
        assert (status, answer["duplicate"]) == (202, False)
        assert ask(port, "POST", "/inbox/events", b'{"a": "' + b"x" * 100 + b'"}')[0] == 413
        assert ask(port, "POST", "/inbox/other", b"{}")[0] == 404
        with socket.create_connection(("127.0.0.1", port), timeout=5) as raw:
            raw.sendall(b"POST /inbox/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert b" 411 " in raw.recv(200)
        listening.shutdown()
    assert len(lines(inboxed)) == 1


def test_many_senders_at_once_leave_whole_lines(inboxed: Inboxed):
    def send(number: int) -> None:
        for step in range(20):
            headers = {"authorization": f"Bearer {SECRET}", "x-request-id": f"{number % 4}-{step}"}
            assert inboxed.receiver.receive("/inbox/events", headers, json.dumps({"n": step}).encode())[0] == 202

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(inboxed)) == 80


def test_sources_with_a_connection_receive_and_others_do_not(inboxed: Inboxed, monkeypatch: pytest.MonkeyPatch):
    rows = """
  - {name: hooks, kind: webhooks, connection: hooks, options: {inbox: inbox/hooks, rules: []}}
  - {name: dropped, kind: cdevents, options: {inbox: inbox/dropped}}"""
    (inboxed.place.config / "sources.yml").write_text(f'history: {{start: "2026-09-01", end: "2026-09-08"}}\nsources:{rows}\n')
    settings = Settings(home=inboxed.place.home, config=inboxed.place.config)
    monkeypatch.setenv("AIRFLOW_CONN_HOOKS", json.dumps({"conn_type": "http", "password": SECRET}))
    found = inbox.inboxes(settings)
    assert {name: (one.folder, one.secret) for name, one in found.items()} == {"hooks": (settings.home / "inbox/hooks", SECRET)}
    assert SECRET not in repr(found)
    with pytest.raises(ConfigError, match="'dropped' is none that receives"):
        inbox.inboxes(settings, "dropped")
    monkeypatch.setenv("AIRFLOW_CONN_HOOKS", json.dumps({"conn_type": "http"}))
    with pytest.raises(ConfigError, match="has no password"):
        inbox.inboxes(settings)


def test_the_command_is_there():
    shown = CliRunner().invoke(cli.app, ["inbox", "serve", "--help"]).output
    assert "127.0.0.1" in shown
