"""A real PostgreSQL that speaks TLS: believed by its own CA and its name only, and what to do when it is not."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aftercast.errors import SourceRejected
from tests.certificates import make
from tests.integration.test_postgres import KPIS, PASSWORD, SCHEMA, START, Postgres, connect, extract, hours, kpis, row, started
from tests.unit.landing_fixture import deployment, landed


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def server(tmp_path_factory, certificates: Path) -> Iterator[Postgres]:
    folder = tmp_path_factory.mktemp("postgres_tls")
    for name in ("server.pem", "server.key", "ca.pem"):
        shutil.copy(certificates / name, folder / name)
        (folder / name).chmod(0o600)
        if os.geteuid() == 0:
            os.chown(folder / name, pwd.getpwnam("postgres").pw_uid, -1)
    files = {"ssl_cert_file": "server.pem", "ssl_key_file": "server.key", "ssl_ca_file": "ca.pem"}
    options = ["-c", "ssl=on", *(part for option, name in files.items() for part in ("-c", f"{option}={folder / name}"))]
    with started(folder, *options) as server:
        server.run(SCHEMA)
        server.order(START)
        yield server


@pytest.fixture
def place(tmp_path):
    return deployment(tmp_path)


def tls(monkeypatch, server: Postgres, certificates: Path, **given: Any) -> None:
    host = given.pop("host", "127.0.0.1")
    named = {name: str(certificates / file) for name, file in given.items() if name != "sslmode"}
    connect(monkeypatch, server, host=host, extra={"sslmode": given.get("sslmode", "verify-full"), **named})


def test_a_server_of_our_own_authority_and_name_is_believed_and_talks_in_secret(server, place, certificates, monkeypatch):
    tls(monkeypatch, server, certificates, sslrootcert="ca.pem")
    extract(place, row(KPIS), hours(0, 1))
    assert kpis(place) == [(0, "DE", 1, 1, 1000)]
    is_secret = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
    query = {**KPIS, "sql": KPIS["sql"].replace("where", f"where ({is_secret}) and")}  # type: ignore[attr-defined]
    extract(place, row(query), hours(0, 1))
    assert kpis(place) == [(0, "DE", 1, 1, 1000)]


def test_we_identify_ourselves_by_a_certificate_where_the_connection_names_one(server, place, certificates, monkeypatch):
    for name in ("client.key",):
        (certificates / name).chmod(0o600)
    tls(monkeypatch, server, certificates, sslrootcert="ca.pem", sslcert="client.pem", sslkey="client.key")
    told = "(select client_dn from pg_stat_ssl where pid = pg_backend_pid()) = '/CN=client'"
    extract(place, row({**KPIS, "sql": KPIS["sql"].replace("where", f"where {told} and")}), hours(0, 1))  # type: ignore[attr-defined]
    assert len(kpis(place)) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sslrootcert": "other.pem"}, "certificate verify failed"),
        ({"sslrootcert": "not_there.pem"}, "root certificate file .* does not exist"),
        ({"sslrootcert": "ca.pem", "host": "localhost"}, "does not match host name"),
        ({"sslrootcert": "ca.pem", "sslcert": "client.pem", "sslkey": "not_there.key"}, "private key file|certificate present"),
    ],
)
def test_a_server_that_cannot_be_trusted_is_refused_and_says_what_to_check(server, place, certificates, monkeypatch, given, said):
    tls(monkeypatch, server, certificates, **given)
    with pytest.raises(SourceRejected, match=said) as caught:
        extract(place, row(KPIS), hours(0, 1))
    assert "extra of connection 'shop_db' check `sslrootcert`" in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert landed(place, "journey_kpis").is_empty()


def test_what_the_driver_does_by_default_checks_no_certificate(server, place, certificates, monkeypatch):
    """The reason why docs/security.md asks for `verify-full`."""
    connect(monkeypatch, server, extra={})
    extract(place, row(KPIS), hours(0, 1))
    assert len(kpis(place)) == 1


def test_a_server_without_tls_is_refused_where_tls_is_asked_for(tmp_path_factory, place, certificates, monkeypatch):
    with started(tmp_path_factory.mktemp("postgres_plain")) as plain:
        tls(monkeypatch, plain, certificates, sslrootcert="ca.pem")
        with pytest.raises(SourceRejected, match=r"does not support SSL.*connection 'shop_db'"):
            extract(place, row(KPIS), hours(0, 1))
