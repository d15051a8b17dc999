"""Put Aftercast's page into Airflow's UI: an entry under Browse, and the application behind it.

Airflow imports this file in every component and every task, so it imports next to nothing: the page is built at its first request, in the
api-server. Airflow mounts applications of plugins without authentication, so the guard below stands before every route: who may read the
DAG `refresh_warehouse`, which makes the mart, may read the page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

PREFIX = "/aftercast"
GUARDED_BY = "refresh_warehouse"


def build() -> Any:
    """Return the page with Airflow's own authentication and authorisation before every route."""
    from datetime import UTC, datetime

    from airflow.api_fastapi.core_api.security import requires_access_dag

    from aftercast import watching
    from aftercast.page import Beside, application
    from aftercast.settings import Settings

    def now() -> datetime:
        return datetime.now(UTC)

    def beside() -> Beside:
        from aftercast import reporting

        settings = Settings.from_environment()
        catalogue = settings.home / "catalogue" / "index.html"
        return Beside(
            catalogue if catalogue.exists() else None,
            reporting.latest_report(settings),
            reporting.notices(settings),
        )

    return application(
        lambda: Settings.from_environment().mart,
        [requires_access_dag("GET", param_dag_id=GUARDED_BY)],
        now,
        beside,
        within=lambda: Settings.from_environment().deployment.pipeline.freshness.within,
        metrics=lambda: watching.text(watching.measure(Settings.from_environment(), now())),
    )


class Late:
    """An application that is built when it is first asked."""

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build, self._app, self._alone = build, None, asyncio.Lock()

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        if self._app is None:
            async with self._alone:
                # In a thread: the api-server goes on answering others meanwhile.
                self._app = self._app or await asyncio.to_thread(self._build)
        await self._app(scope, receive, send)


class AftercastPlugin(AirflowPlugin):
    """The page in the navigation."""

    name = "aftercast"
    fastapi_apps = [{"app": Late(build), "url_prefix": PREFIX, "name": "aftercast"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Incidents",
            "href": urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/") + f"{PREFIX}/",
            "destination": "nav",
            "category": "browse",
            "url_route": "aftercast",
        }
    ]
