"""TLS with real servers and a certificate authority of our own: refused without it, accepted with it, and a certificate for ourselves."""

from __future__ import annotations

import json
import socket
import ssl
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller

from aftercast.acting.channels import message, open_channel
from aftercast.connections import Endpoint
from aftercast.declarations import ChannelRow
from aftercast.errors import ConfigError, NotSent, SourceRejected, SourceUnavailable
from aftercast.sources import web
from tests.answering import Answer, in_turn, serve
from tests.certificates import make
from tests.unit.test_channels import MailBox


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("certificates"))


def server_side(certificates: Path, *, asks: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    if asks:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates / "ca.pem")
    return context


def get(url: str, **extra: object) -> object:
    with web.Web("orders", Endpoint("orders_api", "http", url, extra=extra), sleep=lambda _: None) as client:
        return client.ask(web.Request("/")).data


def test_http_a_server_is_believed_by_its_authority_only(certificates: Path):
    with serve(in_turn(Answer({"ok": 1})), tls=server_side(certificates)) as server:
        for extra in ({}, {"verify": str(certificates / "other.pem")}, {"verify": True}, {"verify": "true"}):
            with pytest.raises(SourceRejected, match=r"TLS certificate was not accepted.*'orders_api'"):
                get(server.url, **extra)
        assert server.asked == []
        assert get(server.url, verify=str(certificates / "ca.pem")) == {"ok": 1}


def test_http_a_certificate_for_another_host_is_refused(certificates: Path):
    ca = str(certificates / "ca.pem")
    refused = pytest.raises(SourceRejected, match="TLS certificate was not accepted")
    with serve(in_turn(Answer({"ok": 1})), tls=server_side(certificates)) as server, refused:
        get(server.url.replace("127.0.0.1", "localhost"), verify=ca)


def test_http_not_checking_is_possible_and_said(certificates: Path, caplog: pytest.LogCaptureFixture):
    with serve(in_turn(Answer({"ok": 1})), tls=server_side(certificates)) as server:
        assert get(server.url, verify=False) == {"ok": 1}
        assert "orders_api: the certificate of the other side is not checked" in caplog.text
        assert get(server.url, verify="false") == {"ok": 1}


def test_http_we_identify_ourselves_by_a_certificate(certificates: Path):
    ca, cert, key = (str(certificates / name) for name in ("ca.pem", "client.pem", "client.key"))
    with serve(in_turn(Answer({"ok": 1})), tls=server_side(certificates, asks=True)) as server:
        with pytest.raises((SourceRejected, SourceUnavailable)):
            get(server.url, verify=ca)
        assert get(server.url, verify=ca, cert=cert, key=key) == {"ok": 1}


@pytest.mark.parametrize("extra", [{"verify": "/no/such/ca.pem"}, {"cert": "/no/such/cert.pem"}])
def test_a_file_that_is_not_there_is_named(extra: dict[str, str]):
    with pytest.raises(ConfigError, match=r"connection 'orders_api'.*no PEM file"):
        get("https://127.0.0.1:9", **extra)


@pytest.mark.parametrize("wraps", [True, False])
def test_mail_a_server_is_believed_by_its_authority_only(certificates: Path, monkeypatch: pytest.MonkeyPatch, wraps: bool):
    box, context = MailBox(), server_side(certificates)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tls = {"ssl_context": context} if wraps else {"tls_context": context, "require_starttls": True}
    controller = Controller(box, hostname="127.0.0.1", port=port, **tls)
    if wraps:
        unchecked = ssl.create_default_context()
        unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE

        def trigger() -> None:
            with socket.create_connection(("127.0.0.1", port)) as plain, unchecked.wrap_socket(plain) as wrapped:
                wrapped.recv(1)

        monkeypatch.setattr(controller, "_trigger_server", trigger)  # its own asks for a certificate that everybody knows
    controller.start()
    payload = {"to": "team@acme.example", "subject": "Overdue", "text": "x"}

    def send(**extra: object) -> str:
        given = {"from_email": "a@acme.example", "disable_ssl": not wraps, **extra}
        connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": given}
        monkeypatch.setenv("AIRFLOW_CONN_POST", json.dumps(connection))
        return open_channel(ChannelRow(name="mail", kind="email", connection="post", to="team@acme.example"))(payload, "aftercast-1")

    try:
        with pytest.raises(NotSent, match="SSLCertVerificationError"):
            send()
        assert box.taken == []
        assert send(verify=str(certificates / "ca.pem")) == "<aftercast-1@acme.example>"
        assert len(box.taken) == 1
        with pytest.raises(ConfigError, match="checked servers only"):
            send(verify=False)
    finally:
        controller.stop()


def test_a_line_break_cannot_add_headers():
    mail = message("a@acme.example", {"to": "b@acme.example", "subject": "x\r\nBcc: c@acme.example\n\ny", "text": "y"}, "m")
    assert mail["Bcc"] is None
    with pytest.raises(ValueError, match=r"linefeed|newline|carriage"):
        message("a@acme.example", {"to": "b@acme.example\r\nBcc: c@acme.example", "subject": "x", "text": "y"}, "m")
