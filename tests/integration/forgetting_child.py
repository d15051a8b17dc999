"""Forget a person in a process of its own that can be killed at any of its effects on files; forks for each order on standard input."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.drills.fuse import Fuse, fork_for_each


def run(order: dict[str, Any]) -> None:
    from aftercast import forgetting
    from aftercast.settings import Settings

    settings = Settings(home=Path(order["home"]), config=Path(order["config"]), store=order["store"])
    fuse = Fuse(order["root"] + "/", order["number"])
    sys.addaudithook(fuse)
    fuse.live = True
    whom = forgetting.person(settings.home, order["values"])
    forgetting.forget(settings, whom, now=datetime.fromisoformat(order["now"]), write=True)
    fuse.returning()
    Path(order["result"]).write_text(json.dumps(fuse.effects))


def main() -> None:
    import duckdb  # noqa: F401
    import polars  # noqa: F401
    import s3fs  # noqa: F401

    import aftercast.forgetting  # noqa: F401

    fork_for_each(run)


if __name__ == "__main__":
    main()
