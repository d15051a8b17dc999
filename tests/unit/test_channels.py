"""Messages reach a real mail server and Slack's two doors once; what cannot be asked about is never sent again on a guess."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, Session

from aftercast.acting import deliveries
from aftercast.acting.channels import message
from aftercast.acting.outbox import Outbox, mark_of
from tests.answering import Answer, Server, in_turn, serve
from tests.unit.actions_fixture import MAIL, NOW, SLACK, late, plan, rules

SECRET = "https://hooks.slack.com/services/T000/B000/secretsecretsecret"
WEBHOOK = {"name": "hook", "kind": "slack_webhook", "connection": "hook", "live": True}


@dataclass
class MailBox:
    """What a mail server took, and what it says to the next messages."""

    taken: list[Message] = field(default_factory=list)
    says: list[str] = field(default_factory=list)
    to_recipient: str = ""

    async def handle_RCPT(self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        if self.to_recipient:
            return self.to_recipient
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        says = self.says.pop(0) if self.says else "250 taken"
        if says.startswith(("250", "hang up")):
            self.taken.append(message_from_bytes(envelope.content or b""))
        if says == "hang up":
            server.transport.abort()
        return says


@contextmanager
def mail_server(box: MailBox, monkeypatch: pytest.MonkeyPatch, port: int = 0, **more: Any) -> Iterator[None]:
    if not port:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port, **more)
    controller.start()
    try:
        connect(monkeypatch, port)
        yield
    finally:
        controller.stop()


def connect(monkeypatch: pytest.MonkeyPatch, port: int, **more: Any) -> None:
    extra = {"disable_ssl": True, "disable_tls": True, "from_email": "Aftercast <aftercast@acme.example>"}
    given = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra} | more
    monkeypatch.setenv("AIRFLOW_CONN_POST", json.dumps(given))


def send(folder: Path, channel: dict[str, Any], days: float = 3) -> deliveries.Outcome:
    by = rules(channels=(channel,), nudge={"channel": channel["name"]})
    box = Outbox(folder)
    found = plan(late(days, title="Cap <retries> & wait"), by=by, sent=box.rows())
    outcomes = deliveries.deliver(found.effects, by, box, NOW)
    return outcomes[0] if outcomes else deliveries.Outcome(*box.rows().select("key", "state", "error").row(0))


def test_an_e_mail_reaches_the_team_once_and_says_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    box = MailBox()
    with mail_server(box, monkeypatch):
        assert [send(tmp_path, MAIL).state for _ in range(2)] == ["sent", "sent"]
    (mail,) = box.taken
    assert (mail["To"], mail["From"]) == ("reliability@acme.example", "Aftercast <aftercast@acme.example>")
    assert mail["Subject"] == "Overdue: Cap <retries> & wait"
    assert mail["Message-ID"] == f"<{mark_of('action/A-3/nudge/2026-09-27/0')}@acme.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert "Please do it, move its date with a reason, or drop it." in str(mail.get_payload())


@pytest.mark.parametrize(
    ("says", "state", "taken"),
    [("451 try later", "planned", 1), ("554 no such text", "failed", 1), ("hang up", "unsure", 1)],
)
def test_what_a_mail_server_says_decides_whether_it_is_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says, state, taken):
    box = MailBox(says=[says])
    with mail_server(box, monkeypatch):
        assert send(tmp_path, MAIL).state == state
        assert send(tmp_path, MAIL).state == ("unsure" if state == "unsure" else "sent")
    assert len(box.taken) == taken


@pytest.mark.parametrize(("says", "state"), [("550 no such box", "failed"), ("450 greylisted", "planned")])
def test_a_recipient_that_is_refused_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says, state):
    with mail_server(MailBox(to_recipient=says), monkeypatch):
        assert send(tmp_path, MAIL).state == state


def test_a_mail_server_that_is_not_there_gets_it_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    connect(monkeypatch, 9)
    assert send(tmp_path, MAIL).state == "planned"
    box = MailBox()
    with mail_server(box, monkeypatch):
        assert send(tmp_path, MAIL).state == "sent"
    assert len(box.taken) == 1


def test_a_password_is_used_and_a_wrong_one_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=data.password == b"right-one", handled=False)

    box = MailBox()
    with mail_server(box, monkeypatch, authenticator=check, auth_require_tls=False, auth_required=True):
        port = json.loads(os.environ["AIRFLOW_CONN_POST"])["port"]
        connect(monkeypatch, port, login="bot", password="wrong-one")
        refused = send(tmp_path, MAIL)
        assert refused.state == "failed"
        assert "does not accept login and password of connection 'post'" in str(refused.error)
        assert "wrong-one" not in "".join(path.read_text() for path in tmp_path.glob("*.json"))
        connect(monkeypatch, port, login="bot", password="right-one")
        assert send(tmp_path, MAIL).state == "sent"


def test_a_title_cannot_add_headers():
    mail = message("a@acme.example", {"to": "b@acme.example", "subject": "x\r\nBcc: c@acme.example", "text": "y"}, "m")
    assert mail["Bcc"] is None
    assert mail["Subject"] == "x Bcc: c@acme.example"


@pytest.mark.parametrize(("extra", "reason"), [({}, "has no sender"), (None, "names no host")])
def test_a_mail_connection_that_lacks_something_says_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra, reason):
    connect(monkeypatch, 25, **({"extra": extra} if extra is not None else {"host": ""}))
    assert reason in str(send(tmp_path, MAIL).error)


def slack(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    given = {"conn_type": "slack", "host": server.url, "password": "xoxb-0123456789-abc"}
    monkeypatch.setenv("AIRFLOW_CONN_CHAT", json.dumps(given))


def test_slack_is_told_once_in_the_team_s_channel_and_mentions_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with serve(in_turn(Answer({"ok": True, "channel": "C1", "ts": "1700.42"}))) as server:
        slack(monkeypatch, server)
        assert [send(tmp_path, SLACK).state for _ in range(2)] == ["sent", "sent"]
        (asked,) = server.asked
    assert asked.path == "/chat.postMessage"
    assert asked.headers["authorization"] == "Bearer xoxb-0123456789-abc"
    assert asked.body["channel"] == "#team-money"
    assert asked.body["text"].startswith("Cap &lt;retries&gt; &amp; wait: due 2026-09-27")
    assert Outbox(tmp_path).rows()["reference"].to_list() == ["C1/1700.42"]


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (Answer({"ok": False, "error": "channel_not_found"}), "failed"),
        (Answer({"ok": False, "error": "ratelimited"}), "planned"),
        (Answer({}, status=429, headers={"Retry-After": "30"}), "planned"),
        (Answer({"ok": False, "error": "internal_error"}), "unsure"),
        (Answer({}, status=503), "unsure"),
        (Answer(raw=b'{"ok": tr'), "unsure"),
        (Answer({}), "unsure"),
    ],
)
@pytest.mark.parametrize("kind", ["slack"])
def test_what_slack_answers_decides_whether_it_is_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind, answer, state):
    with serve(in_turn(answer, Answer({"ok": True, "channel": "C1", "ts": "1"}))) as server:
        slack(monkeypatch, server)
        assert send(tmp_path, SLACK).state == state
        again = send(tmp_path, SLACK)
        assert (again.state, len(server.asked)) == (("unsure", 1) if state == "unsure" else ("sent", 2))


@pytest.mark.parametrize(
    ("answer", "state"), [(Answer(raw=b"ok"), "sent"), (Answer(raw=b"no_service", status=404), "failed"), (Answer(status=502), "unsure")]
)
def test_a_webhook_s_address_is_its_secret_and_appears_nowhere(tmp_path: Path, monkeypatch, caplog, capsys, answer, state):
    caplog.set_level(logging.DEBUG, logger="httpx")
    with serve(in_turn(answer)) as server:
        given = {"conn_type": "slackwebhook", "password": SECRET.replace("https://hooks.slack.com", server.url)}
        monkeypatch.setenv("AIRFLOW_CONN_HOOK", json.dumps(given))
        outcome = send(tmp_path, WEBHOOK)
        (asked,) = server.asked
    assert outcome.state == state
    assert asked.path == "/services/T000/B000/secretsecretsecret"
    said = f"{outcome.error} {caplog.text} {capsys.readouterr()} " + "".join(path.read_text() for path in tmp_path.glob("*.json"))
    assert "secretsecretsecret" not in said


def test_a_webhook_without_its_whole_address_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AIRFLOW_CONN_HOOK", json.dumps({"conn_type": "slackwebhook", "password": "T0/B0/x"}))
    assert "the whole URL of the webhook" in str(send(tmp_path, WEBHOOK).error)
