"""`aftercast forget`: take a person out of everything that this deployment keeps."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from aftercast.settings import Settings
from aftercast.terminal import out


def forget(
    values: Annotated[list[str], typer.Argument(help="Names, addresses, accounts or tokens of one person, each in quotes.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it. Without it, say only where the person is found.")] = False,
) -> None:
    """Forget a person everywhere below AFTERCAST_HOME; first shows what would be done."""
    from aftercast import forgetting
    from aftercast.embedded import driver

    settings = Settings.from_environment()
    whom = forgetting.person(settings.home, values)
    if yes:
        with driver.only_one(settings):
            places = forgetting.forget(settings, whom, now=datetime.now(UTC), write=True)
    else:
        places = forgetting.forget(settings, whom, now=datetime.now(UTC), write=False)
    for place in places:
        out.print(f"{place.path}: {place.what}", markup=False, soft_wrap=True)
    by_hand = [place for place in places if place.what.startswith(forgetting.BY_HAND)]
    if not places:
        out.print("found nowhere" + ("; should a source tell of this person, it will be without a token of their own" if yes else ""))
    elif not yes:
        out.print(f"{len(places)} places; nothing was changed. `--yes` does it; pause the DAGs of a running Airflow first", soft_wrap=True)
    else:
        out.print(
            f"{len(places) - len(by_hand)} places done; `aftercast run` (or the schedule) refreshes the mart without them", soft_wrap=True
        )
    if by_hand:
        out.print(f"{len(by_hand)} to be changed by hand: people edit these, or they cannot be changed safely", soft_wrap=True)
    if found := forgetting.in_configuration(settings, whom):
        out.print(f"the configuration names the person too; change it by hand: {', '.join(found)}", markup=False, soft_wrap=True)
