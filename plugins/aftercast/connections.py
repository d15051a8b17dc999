"""Airflow connection ids as endpoints: where a service answers and how to identify. No secret is ever part of a message.

Inside a task Airflow resolves the id through its secrets backends and database; outside, through the same environment variables
(`AIRFLOW_CONN_<ID>` as JSON or URI).
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aftercast.errors import ConfigError, SourceUnavailable

if TYPE_CHECKING:
    from sqlalchemy import Engine

log = logging.getLogger(__name__)

DEFAULT_SCHEME = "https"
SCHEMES = ("http", "https")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A resolved connection.

    Attributes:
        connection: its id, for messages.
        kind: Airflow's connection type.
        base_url: scheme, host and port of an HTTP service, without a slash at the end; '' without a host.
        login, password: as stored; not part of `repr`.
        uri: the whole connection as a URI, secrets included; not part of `repr`.
        extra: other settings of the connection, such as `verify` (false, or the path of a CA file), `cert` and `key`.
    """

    connection: str
    kind: str
    base_url: str
    login: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    uri: str = field(default="", repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def tls(self, *, always_checked: bool = False) -> ssl.SSLContext:
        """Return how the other side is believed: its certificate is checked by the CA that `verify` of the extra names, or the usual ones.

        `verify: false` checks nothing (refused where `always_checked`). `cert` and `key` (paths of PEM files; `key` may be inside `cert`)
        are what we identify ourselves with.

        Raises:
            ConfigError: a file is missing or is no such file, or nothing is to be checked where it must be.
        """
        verify, cert = self.extra.get("verify", True), self.extra.get("cert")
        if isinstance(verify, str) and verify.strip().lower() in ("true", "false"):
            verify = verify.strip().lower() == "true"
        if verify is False and always_checked:
            raise ConfigError(f"connection {self.connection!r}: mail goes to checked servers only; give `verify` the path of the CA file")
        try:
            context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
            if cert:
                context.load_cert_chain(str(cert), self.extra.get("key"))
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(
                f"connection {self.connection!r}: `verify`, `cert` or `key` of its extra is no PEM file that we can read ({error})"
            ) from error
        if verify is False:
            log.warning("connection %s: the certificate of the other side is not checked (verify: false)", self.connection)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def secret(self) -> str:
        """Return the password.

        Raises:
            ConfigError: the connection has none.
        """
        if not self.password:
            raise ConfigError(f"connection {self.connection!r} has no password; the access token of the service belongs there")
        return self.password


def resolve(source: str, connection: str | None) -> Endpoint:
    """Return the endpoint a source's connection id names.

    Raises:
        ConfigError: the source declares none, or Airflow knows none of that id.
    """
    if not connection:
        raise ConfigError(f"source {source!r} needs a connection; add `connection: <id>` to its row in sources.yml")
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        found = Connection.get(connection)
    except AirflowNotFoundException as error:
        raise ConfigError(
            f"source {source!r}: Airflow has no connection {connection!r}; set AIRFLOW_CONN_{connection.upper()} (JSON or URI) "
            f"or add it under Admin > Connections"
        ) from error
    return Endpoint(
        connection=connection,
        kind=found.conn_type,
        base_url=_base_url(found.host, found.port, found.schema),
        login=found.login or None,
        password=found.password or None,
        uri=found.get_uri(),
        extra=found.extra_dejson,
    )


def pagerduty(source: str, connection: str | None) -> tuple[Endpoint, dict[str, str]]:
    """Return where PagerDuty's REST API answers, and how the client of Airflow's hook identifies itself there.

    Asking is left to `sources.web`: that client waits without bound when told to slow down, and ends a list at 10,000 with a warning only.

    Raises:
        ConfigError: as for `resolve`, or the connection has no token.
    """
    endpoint = resolve(source, connection)
    from airflow.providers.pagerduty.hooks.pagerduty import PagerdutyHook

    with PagerdutyHook(token=endpoint.secret()).client() as client:
        sent = {**client.headers, **client.prepare_headers("GET")}
        headers = {name: value for name, value in sent.items() if name in ("accept", "authorization")}
        return replace(endpoint, base_url=endpoint.base_url or client.url), headers


def github(source: str, connection: str | None) -> tuple[Endpoint, dict[str, str]]:
    """Return where GitHub's REST API answers, and how the client of Airflow's hook identifies itself there: by a token, or as an app.

    Asking is left to `sources.web`: that client sleeps until an allowance begins anew, up to an hour, follows pages without a guard and
    keeps none.

    Raises:
        ConfigError: as for `resolve`, or neither a token nor an app is given.
        SourceUnavailable: an app could not be exchanged for a token.
    """
    endpoint = resolve(source, connection)
    from airflow.providers.github.hooks.github import GithubHook
    from github import GithubException

    try:
        requester = GithubHook(github_conn_id=endpoint.connection).get_conn().requester
        token = getattr(requester.auth, "token", None)
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(f"source {source!r}: connection {connection!r} does not say who we are to GitHub ({error})") from error
    except (GithubException, OSError) as error:
        raise SourceUnavailable(f"source {source!r}: GitHub gave the app of connection {connection!r} no token ({error})") from error
    headers = {"authorization": f"Bearer {token}", "accept": "application/vnd.github+json", "x-github-api-version": "2022-11-28"}
    return replace(endpoint, base_url=requester.base_url.rstrip("/")), headers


def language_model(declared: str, connection: str, model: str | None, instructions: str, timeout: float) -> Callable[[str], str]:
    """Return what asks a language model through Airflow's common AI provider: text in, text out, one attempt of at most `timeout` seconds.

    Raises:
        ConfigError: the provider is not installed, or the connection is missing or unfit.
        SourceUnavailable: (when asked) the model did not answer.
    """
    try:
        from airflow.providers.common.ai.hooks.pydantic_ai import PydanticAIHook
        from pydantic_ai.exceptions import AgentRunError, UserError
    except ImportError as error:
        raise ConfigError(
            f"{declared}: `narrative` needs Airflow's common AI provider; install it with `.tools/uv/bin/uv sync --extra narrative`"
        ) from error
    resolve(declared, connection)
    try:
        agent = PydanticAIHook(llm_conn_id=connection, model_id=model).create_agent(output_type=str, instructions=instructions)
    except (ValueError, UserError, ImportError) as error:
        raise ConfigError(f"{declared}: connection {connection!r} gives no language model ({error})") from error

    def ask(prompt: str) -> str:
        try:
            return str(agent.run_sync(prompt, model_settings={"timeout": timeout, "temperature": 0.0}).output)
        except (AgentRunError, OSError) as error:
            raise SourceUnavailable(f"{declared}: the model of connection {connection!r} did not answer ({error})") from error

    return ask


def slack(source: str, connection: str | None) -> tuple[Endpoint, dict[str, str]]:
    """Return where Slack's Web API answers, and how the client of Airflow's hook identifies itself there.

    Asking is left to `sources.web`: that client gives up at the first 429, and follows a cursor that loops for ever.

    Raises:
        ConfigError: as for `resolve`, or the connection has no token.
    """
    endpoint = resolve(source, connection)
    endpoint.secret()
    from airflow.providers.slack.hooks.slack import SlackHook

    client = SlackHook(slack_conn_id=endpoint.connection).client
    headers = {"Authorization": f"Bearer {client.token}"}
    return replace(endpoint, base_url=endpoint.base_url or client.base_url.rstrip("/")), headers


def sql(source: str, connection: str | None) -> Engine:
    """Return an SQLAlchemy engine for a connection to a database; nothing is connected yet.

    The hook of the connection's type builds it; a type that has no hook here is taken as the name of an SQLAlchemy dialect, such as
    `sqlite` (its file is the host).

    Raises:
        ConfigError: as for `resolve`, or the connection is not one of a database, or its driver is not installed.
    """
    endpoint = resolve(source, connection)
    import sqlalchemy
    from airflow.sdk import BaseHook
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError
    from sqlalchemy.pool import NullPool

    hook = None
    with suppress(Exception):  # whatever a hook that is not there, or not whole, stumbles over
        hook = BaseHook.get_hook(endpoint.connection)
    try:
        if hook is not None and hasattr(hook, "get_sqlalchemy_engine"):
            own = {"creator": hook.get_conn} if endpoint.kind == "postgres" else {}  # its engine forgets `sslmode` and its like
            engine: Engine = hook.get_sqlalchemy_engine(engine_kwargs={"poolclass": NullPool, **own})
            return engine
        parts = sqlalchemy.make_url(endpoint.uri).set(drivername=endpoint.kind)
        if endpoint.kind == "sqlite":
            parts = sqlalchemy.URL.create("sqlite", database=unquote(parts.host or ""))
        if hook is None:
            return sqlalchemy.create_engine(parts, poolclass=NullPool)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise ConfigError(f"source {source!r}: connection {connection!r} of type {endpoint.kind!r} cannot be used ({error})") from error
    raise ConfigError(f"source {source!r}: connection {connection!r} is of type {endpoint.kind!r}, which is no database")


def _base_url(host: str | None, port: int | None, schema: str | None) -> str:
    if not host:
        return ""
    if "://" in host:
        return host.rstrip("/")
    scheme = schema if schema in SCHEMES else DEFAULT_SCHEME
    return f"{scheme}://{host}{f':{port}' if port else ''}"
