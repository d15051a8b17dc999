"""What others wrote stays text where it leaves the house or is written down: headers, mail, chat, tickets, logs, lines of JSON."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import polars as pl
import pytest

from aftercast import terminal
from aftercast.acting import audit
from aftercast.acting.channels import open_channel
from aftercast.acting.trackers.github_tickets import literal
from aftercast.acting.writebacks import place_of
from aftercast.connections import Endpoint
from aftercast.declarations import ChannelRow, WriteBackRow
from aftercast.errors import ConfigError, SourceRejected
from aftercast.landing.quarantine import held
from aftercast.reporting import letters
from aftercast.sources.web import Request, Web, signed_in
from tests.answering import Answer, in_turn, serve
from tests.unit import landing_fixture
from tests.unit.test_channels import MailBox, connect, mail_server

SECRET = "glpat-sosecretsosecret"
# Everything that some reader takes for the end of a line, and what steers a terminal.
LINES = "a\nb\rc\r\nd\x0be\x0cf\x1cg\x1dh\x1ei\x85j\u2028k\u2029l"
STEERS = "\x1b[2J\x1b]0;x\x07\x9b31m\u202e"


# Headers of HTTP


@pytest.mark.parametrize("sign", ["\n", "\r\nX-Evil: 1", "\r", "\x00", " ", "ä", "\u2028", "\x7f"])
def test_a_secret_that_fits_no_header_is_said_without_it_and_nothing_is_sent(sign: str):
    with serve(in_turn(Answer([]))) as server:
        for endpoint in (
            Endpoint("orders_api", "http", server.url, password=SECRET + sign),
            Endpoint("orders_api", "http", server.url, extra={"headers": {"X-Scope-OrgID": SECRET + sign}}),
            Endpoint("orders_api", "http", server.url, extra={"headers": {f"X-Scope{sign}": SECRET}}),
        ):
            with (
                pytest.raises(ConfigError, match=r"connection 'orders_api'.*cannot be sent as the header") as caught,
                signed_in("orders", endpoint) as web,
            ):
                web.ask(Request("/"))
            assert SECRET not in f"{caught.value}"
            assert caught.value.__cause__ is None
        assert server.asked == []


@pytest.mark.parametrize("host", ["https://127.0.0.1\r\nX-Evil: 1", "https://127.0.0.1:9x", "https://a\x00b", "https://[::1"])
def test_a_host_that_is_none_is_said(host: str):
    with pytest.raises(ConfigError, match="host of connection 'orders_api' fits no URL"):
        Web("orders", Endpoint("orders_api", "http", host))


# Mail


@pytest.mark.parametrize(
    ("sender", "to", "said"),
    [
        ("a@acme.example\r\nBcc: spy@evil.test", "team@acme.example", "connection 'post'"),
        ("a@acme.example", "team@acme.example\nBcc: spy@evil.test", "Bcc"),
        ("a@acme.example", "team@acme.example>\r\nRCPT TO:<spy@evil.test", "RCPT"),
    ],
)
def test_an_address_that_adds_a_line_is_refused_and_no_mail_server_sees_it(monkeypatch, sender: str, to: str, said: str):
    box = MailBox()
    with mail_server(box, monkeypatch):
        port = json.loads(__import__("os").environ["AIRFLOW_CONN_POST"])["port"]
        connect(monkeypatch, port, extra={"disable_ssl": True, "disable_tls": True, "from_email": sender})
        send = open_channel(ChannelRow(name="mail", kind="email", connection="post", to="team@acme.example"))
        with pytest.raises(SourceRejected, match=said):
            send({"to": to, "subject": "x", "text": "y"}, "aftercast-1")
    assert box.taken == []


@pytest.mark.parametrize("subject", ["x\r\nBcc: spy@evil.test\r\n\r\nbody", f"x{LINES}\r\nTo: spy@evil.test", "x" * 3000, "\x00\x1b[2J"])
def test_a_real_mail_server_gets_one_recipient_and_the_headers_we_wrote(monkeypatch, subject: str):
    box = MailBox()
    with mail_server(box, monkeypatch):
        send = open_channel(ChannelRow(name="mail", kind="email", connection="post", to="team@acme.example"))
        send({"to": "team@acme.example", "subject": subject, "text": f"a\r\n.\r\nMAIL FROM:<x@evil.test>\n{LINES}"}, "aftercast-1")
    (mail,) = box.taken
    assert sorted(mail.keys()) == sorted(
        ["From", "To", "Subject", "Message-ID", "Auto-Submitted", "Content-Type", "Content-Transfer-Encoding", "MIME-Version", "X-Peer"]
    ) or sorted(mail.keys()) == sorted(
        ["From", "To", "Subject", "Message-ID", "Auto-Submitted", "Content-Type", "Content-Transfer-Encoding", "MIME-Version"]
    )
    assert mail["To"] == "team@acme.example"


# Chat and tickets

CALLS = "<!channel> <!here> <@U012> <https://evil.test|the runbook> & <!subteam^S1>"


def test_slack_reads_no_call_and_no_link_in_any_message(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_CHAT", "")
    with serve(in_turn(Answer({"ok": True, "channel": "C1", "ts": "1"}))) as server:
        monkeypatch.setenv("AIRFLOW_CONN_CHAT", json.dumps({"conn_type": "slack", "host": server.url, "password": "xoxb-0123456789-abc"}))
        monkeypatch.setenv("AIRFLOW_CONN_HOOK", json.dumps({"conn_type": "slackwebhook", "password": f"{server.url}/services/x"}))
        open_channel(ChannelRow(name="chat", kind="slack", connection="chat"))({"to": "#team", "text": CALLS}, "m")
        open_channel(ChannelRow(name="hook", kind="slack_webhook", connection="hook"))({"text": CALLS}, "m")
        place_of(WriteBackRow(channel="slack", connection="chat", room="C1"), "PT1").send({"text": CALLS}, "m")
        assert len(server.asked) == 3
        for asked in server.asked:
            assert "<" not in asked.body["text"], asked.body
            assert "&lt;!channel&gt;" in asked.body["text"]


def test_a_post_of_a_report_calls_nobody_whatever_its_words(monkeypatch):
    assert letters._mrkdwn(CALLS).count("<") == 0


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("ask @acme/everyone", "ask @<!-- -->acme/everyone"),
        ("![x](https://evil.test/pixel)", r"!\[x\](https://evil.test/pixel)"),
        ("[the runbook](https://evil.test)", r"\[the runbook\](https://evil.test)"),
        ("<img src=x> <!-- hidden", r"\<img src=x> \<!-- hidden"),
        ("```\nnot code\n```", "\\`\\`\\`\nnot code\n\\`\\`\\`"),
        ("a\\[b", r"a\\\[b"),
        ("https://acme.example/incidents/A_1?x=y#z", "https://acme.example/incidents/A_1?x=y#z"),
    ],
)
def test_words_in_an_issue_of_github_are_shown_and_not_obeyed(words: str, shown: str):
    assert literal(words) == shown


# Logs and lines


def test_a_line_of_the_log_is_ours_alone():
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "stored %s", (f"a\n2026-09-01 00:00:00 inbox pay: stored b{STEERS}",), None)
    said = terminal.OneLine("%(asctime)s %(message)s").format(record)
    assert len(said.splitlines()) == 1
    assert not set(said) & set("\x1b\x07\x9b\u202e\n\r")


def test_a_receiver_that_listens_logs_in_single_lines():
    text = (Path(terminal.__file__).parent / "commands" / "inbox.py").read_text()
    assert "OneLine(" in text
    assert "format=" not in text


def test_words_add_no_line_to_the_audit_log(tmp_path: Path):
    forged = '{"event_id": "e2", "at": "2026-09-01T00:00:00+00:00", "who": "aftercast", "what": "approved"}'
    events = [{"event_id": "e1", "at": "2026-09-01T00:00:00+00:00", "who": "aftercast", "what": f"{LINES}\n{forged}{STEERS}"}]
    assert audit.append(tmp_path, events) == 1
    assert audit.append(tmp_path, events) == 0
    assert [row["what"] for row in audit.rows(tmp_path)] == [f"{LINES}\n{forged}{STEERS}"]
    assert audit.problems(tmp_path) == []


def test_a_refused_row_stays_one_row_of_quarantine_whatever_ends_its_lines(tmp_path: Path):
    place = landing_fixture.deployment(tmp_path)
    window = landing_fixture.hours(0, 1)
    frame = landing_fixture.in_window(window).with_columns(pl.lit(LINES).alias("unit"), pl.lit("no number").alias("value"))
    landing_fixture.land(place, window, landing_fixture.batch(frame))
    (one,) = held(place)
    assert len(one.rows) == frame.height > 0
    assert {json.loads(row["raw"])["unit"] if isinstance(row["raw"], str) else row["raw"]["unit"] for row in one.rows} == {LINES}
