"""The page as a web application: every route behind the guards it is given, every answer made from the mart as it is at that moment."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from aftercast.errors import WarehouseError
from aftercast.page import incident, incidents, objectives, reading, rendering, start, trust

log = logging.getLogger(__name__)

# Nothing from elsewhere, no inline script or style, and only Airflow itself may frame the page.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
NO_RUN: dict[str, Any] = dict.fromkeys(reading.MARTS["mart_run"])
SEPARATE = {"Cache-Control": "private, max-age=86400", "X-Content-Type-Options": "nosniff"}
DENIED = {
    401: ("Sign in first", "This page shows what Airflow users may see. Sign in to Airflow and come back."),
    403: ("Not for this user", "The page is for users who may read the DAG refresh_warehouse. An administrator of Airflow can allow it."),
}

# dbt's documentation is one page with its scripts inside; it runs apart from Airflow: no origin, no cookies, no requests.
CATALOGUE = HEADERS | {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:; font-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox allow-scripts"
    ),
}

Answer = Callable[[reading.Mart, Request], dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Beside:
    """What lies beside the mart.

    Attributes:
        catalogue: the page of tables and lineage, if somebody wrote it.
        report: the newest weekly report, if there is one.
        withheld: of the notices in the place of reports, the headline and the lines of what failed.
    """

    catalogue: Path | None = None
    report: Path | None = None
    withheld: Sequence[tuple[str, Sequence[str]]] = ()


def application(
    mart: Callable[[], Path],
    guards: Sequence[Callable[..., Any]],
    clock: Callable[[], datetime],
    beside: Callable[[], Beside] = Beside,
    *,
    within: Callable[[], timedelta] = lambda: trust.USUAL,
    metrics: Callable[[], str] | None = None,
) -> FastAPI:
    """Return the page, to be mounted.

    Args:
        mart: where the published mart lies.
        guards: FastAPI dependencies that refuse whoever may not read; they stand before every route.
        clock: what time it is, to call old data stale.
        within: how old the mart may be.
        metrics: returns what `/metrics` says, as text that Prometheus reads; None: there is no such route.
        beside: what lies beside the mart at this moment.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(guard) for guard in guards])
    version = hashlib.sha256((rendering.style() + rendering.script()).encode()).hexdigest()[:12]

    def page(request: Request, name: str, status: int = 200, **context: Any) -> HTMLResponse:
        base = request.scope.get("root_path", "")
        shared: dict[str, Any] = {
            "base": base,
            "airflow": base.rsplit("/", 1)[0],
            "version": version,
            "here": name,
            "banners": [],
            "run": NO_RUN,
        }
        return HTMLResponse(rendering.html(name, **(shared | context)), status, headers=HEADERS)

    def answered(request: Request, name: str, answer: Answer) -> HTMLResponse:
        path = mart()
        if not path.exists():
            return page(request, "empty", withheld=beside().withheld)
        try:
            with reading.opened(path) as opened:
                run = opened.row("select * from mart_run limit 1") or NO_RUN
                found = answer(opened, request)
                if found is None:
                    return page(request, "missing", 404, run=run)
                banners = trust.banners(run, opened, clock(), within())
                absent = tuple(opened.absent)
        except WarehouseError:
            log.exception("the published mart cannot be read")
            return page(request, "unreadable", 503)
        return page(request, name, run=run, banners=banners, absent=absent, **found)

    @app.get("/")
    def list_of_incidents(request: Request) -> Response:
        return answered(request, "incidents", lambda mart, request: incidents.listed(mart, incidents.asked(request.query_params)))

    @app.get("/start")
    def first_page(request: Request) -> Response:
        def answer(mart: reading.Mart, _: Request) -> dict[str, Any]:
            run = mart.row("select company from mart_run limit 1") or NO_RUN
            return start.begun(mart, run["company"]) | {"report": beside().report}

        return answered(request, "start", answer)

    @app.get("/incidents")
    def again(request: Request) -> Response:
        return RedirectResponse(f"{request.scope.get('root_path', '')}/")

    @app.get("/incidents/{incident_id:path}")
    def one_incident(request: Request, incident_id: str) -> Response:
        return answered(request, "incident", lambda mart, _: incident.found(mart, incident_id))

    @app.get("/journeys")
    def journeys(request: Request) -> Response:
        def answer(mart: reading.Mart, _: Request) -> dict[str, Any]:
            return {
                "journeys": objectives.journeys(mart),
                "objectives": objectives.objectives(mart),
                "burning": objectives.burning(mart),
            }

        return answered(request, "journeys", answer)

    @app.get("/health")
    def data_health(request: Request) -> Response:
        return answered(request, "health", lambda mart, _: trust.health(mart) | {"catalogue": beside().catalogue})

    @app.get("/catalogue")
    def tables_and_lineage(request: Request) -> Response:
        written = beside().catalogue
        return FileResponse(written, media_type="text/html", headers=CATALOGUE) if written else page(request, "uncatalogued", 404)

    if metrics is not None:

        @app.get("/metrics")
        def measured(request: Request) -> Response:
            return PlainTextResponse(metrics(), media_type="text/plain; version=0.0.4", headers=HEADERS)

    @app.get("/page.css")
    def style() -> Response:
        return PlainTextResponse(rendering.style(), media_type="text/css", headers=SEPARATE)

    @app.get("/page.js")
    def script() -> Response:
        return PlainTextResponse(rendering.script(), media_type="text/javascript", headers=SEPARATE)

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> Response:
        if "text/html" not in request.headers.get("accept", ""):
            return PlainTextResponse(str(error.detail), error.status_code)
        if error.status_code not in DENIED:
            return page(request, "missing", error.status_code)
        title, text = DENIED[error.status_code]
        return page(request, "denied", error.status_code, title=title, text=text, code=error.status_code)

    return app
