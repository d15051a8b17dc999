"""`aftercast store`: what machines share through the object store, and who keeps the warehouse (docs/deploying.md)."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from aftercast import landing, sharing, store
from aftercast.errors import AftercastError, ConfigError
from aftercast.settings import Settings
from aftercast.terminal import out

app = typer.Typer(help="What machines share through the object store of AFTERCAST_STORE.", no_args_is_help=True)


def _shop(settings: Settings) -> store.Store:
    found = store.of(settings)
    if found is None:
        raise ConfigError("AFTERCAST_STORE is not set: this is a deployment of one machine (docs/deploying.md)")
    return found


@app.command()
def status() -> None:
    """Show what lies in the store, and which home keeps the warehouse."""
    settings = Settings.from_environment()
    shop = _shop(settings)
    holder, here = store.claimed_by(shop), store.home_id(settings)
    out.print(f"[bold]{shop.url}[/]", soft_wrap=True)
    out.print(f"  warehouse kept by {holder or 'nobody yet'}{' (this home)' if holder == here else ''}", soft_wrap=True)
    for source in shop.sources():
        out.print(f"  source {source}: {len(shop.listing(f'sources/{source}'))} files")
    for prefix in ("state", "published/versions"):
        out.print(f"  {prefix}: {len(shop.listing(prefix))} files")


@app.command()
def push() -> None:
    """Copy what one machine has landed, made and sent to the store, as the truth; for a home that becomes one of many."""
    settings = Settings.from_environment()
    store.hold(settings)
    changed = landing.hand_over_all(settings) + _shop(settings).push(store.state_area(settings), deletes=False)
    if settings.mart.exists():
        sharing.share(settings)
    out.print(f"{changed} files changed in {settings.store}", soft_wrap=True)


@app.command()
def fetch(
    every: Annotated[int | None, typer.Option(help="Do so again after so many seconds, until stopped.", min=1)] = None,
) -> None:
    """Bring the published mart to a machine that only reads, and point its readers at it."""
    settings = Settings.from_environment()
    while True:
        try:
            new = sharing.fetch(settings)
            if new or every is None:
                out.print(f"{new.name} fetched" if new else "the mart here is the newest", soft_wrap=True)
        except AftercastError as error:
            if every is None:
                raise
            out.print(str(error), markup=False, soft_wrap=True)
        if every is None:
            return
        time.sleep(every)


@app.command()
def claim() -> None:
    """Make this home the one that keeps warehouse, outbox and audit, after the one that did is gone for good."""
    settings = Settings.from_environment()
    before = store.claimed_by(_shop(settings))
    came = store.claim(settings)
    out.print(f"{came} files of outbox, audit, postmortems and reports came; {before or 'nobody'} kept them before.", soft_wrap=True)
    out.print("The next refresh fetches the landing and builds the warehouse again: trigger refresh_warehouse", soft_wrap=True)
