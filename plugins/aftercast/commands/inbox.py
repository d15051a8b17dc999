"""`aftercast inbox serve`: receive what systems send by HTTP into the inbox folders of sources."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from aftercast.connections import resolve
from aftercast.declarations import SourceRow
from aftercast.errors import ConfigError
from aftercast.privacy import token_key
from aftercast.settings import Settings
from aftercast.sources.receiving import MOST_BYTES, Inbox, Receiver, server
from aftercast.terminal import OneLine, out

app = typer.Typer(no_args_is_help=True, help="Receive what systems send.")

KINDS = ("cdevents", "webhooks")


@app.callback()
def inbox() -> None:
    """Receive what systems send."""


def inboxes(settings: Settings, only: str | None = None) -> dict[str, Inbox]:
    """Return the inboxes of the sources that receive: those of kinds that read inboxes of JSON and have a connection, whose password is
    the secret.

    Raises:
        ConfigError: there is none, or a connection has no password.
    """
    rows: list[SourceRow] = [
        row for row in settings.deployment.sources if row.kind in KINDS and row.connection and only in (None, row.name)
    ]
    if not rows:
        which = f"source {only!r} is none that receives" if only else "no source receives"
        raise ConfigError(
            f"{which}: give a source of kind {' or '.join(KINDS)} a `connection`; its password is the secret that senders share"
        )
    return {
        row.name: Inbox(
            row.name, settings.home / Path(str(row.options.get("inbox"))).expanduser(), resolve(row.name, row.connection).secret()
        )
        for row in rows
    }


@app.command()
def serve(
    source: Annotated[str | None, typer.Argument(help="Only this source. Default: all that receive.")] = None,
    host: Annotated[str, typer.Option(help="Where to listen. Put a proxy with TLS in front of anything but loopback.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes any that is free.")] = 8750,
    most_bytes: Annotated[int, typer.Option(min=1, help="Largest body that is taken.")] = MOST_BYTES,
) -> None:
    """Store what is posted to /inbox/SOURCE or /inbox/SOURCE/HOOK in the inbox of that source, until stopped."""
    settings = Settings.from_environment()
    found = inboxes(settings, source)
    for one in found.values():
        one.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine("%(asctime)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        listening = server(Receiver(found, token_key(settings.home), most_bytes), host, port)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    with listening:
        for name, one in found.items():
            out.print(f"http://{host}:{listening.server_address[1]}/inbox/{name} -> {one.folder}", soft_wrap=True)
        listening.serve_forever()
