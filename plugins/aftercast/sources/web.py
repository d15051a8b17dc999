"""One thin HTTP client for every source that speaks JSON over HTTP: polite, bounded, and clear about what went wrong.

It waits as long as a service asks (`Retry-After`, rate-limit headers), tries again what a retry can heal (connection, 429, 5xx, a torn
body), and refuses what it cannot (credentials, certificates, other 4xx, bodies that are not what they should be). Pages are followed by
`walk`, which stops at a page or a cursor that comes again. Whole pages can be kept, without persons and secrets, for later questions.
"""

from __future__ import annotations

import email.utils
import gc
import gzip
import hashlib
import json
import logging
import math
import re
import secrets
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import httpx

from aftercast.connections import Endpoint
from aftercast.errors import ConfigError, NotSent, SourceRejected, SourceUnavailable
from aftercast.privacy import protect_document, redact

log = logging.getLogger(__name__)

Parameters = Mapping[str, str | int | float | list[str]]

TRIES = 6
LONGEST_WAIT = 300.0  # seconds in all for one request; a service that asks for more is tried by the next run
FIRST_WAIT = 1.0
MOST_PAGES = 100_000
SLOW_DOWN = (420, 429)
REMAINING = ("ratelimit-remaining", "x-ratelimit-remaining", "x-rate-limit-remaining")
LEAST_WAIT = 60.0  # seconds, when a refusal says that a rate is limited and not for how long
RESETS = ("ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset", "x-ratelimit-reset-requests", "x-ratelimit-period-in-sec")
_NAME_OF_HEADER, _HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"), re.compile(r"[!-~](?:[ -~]*[!-~])?|")
SHOWN = 200  # characters of a refusal that a message repeats


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked: a path below the base URL (or a whole URL on the same host), its parameters, and a JSON body or a form for POST.

    The bodies of `accepted` statuses are answers like any other: services that explain their errors in JSON are read, not guessed at.

    With `once` the request changes something and is asked once only: NotSent where it cannot have arrived, SourceUnavailable where that
    is not known; the caller finds out before it asks again. An answer without JSON is its text then. A path that is `secret` is not shown.
    """

    path: str
    params: Parameters = field(default_factory=dict)
    body: Any = None
    method: str = "GET"
    form: Parameters = field(default_factory=dict)
    accepted: tuple[int, ...] = ()
    once: bool = False
    secret: bool = False

    def with_params(self, **params: str | int | float) -> Request:
        """Return the request with some parameters replaced."""
        return replace(self, params={**self.params, **params})


@dataclass(frozen=True, slots=True)
class Page:
    """What was answered. `origin` names the page in messages and holds no secret."""

    request: Request
    data: Any
    headers: Mapping[str, str]
    number: int
    origin: str
    status: int = 200


def _left(response: httpx.Response) -> set[str]:
    """What is left of the allowances a service tells of."""
    return {response.headers[name].strip() for name in REMAINING if name in response.headers}


def _is_slow_down(response: httpx.Response) -> bool:
    """Whether a service asks to slow down. Some say so with 403, and mean it where they say for how long, or that nothing is left."""
    if response.status_code != httpx.codes.FORBIDDEN:
        return response.status_code in SLOW_DOWN
    return "retry-after" in response.headers or "0" in _left(response) or "rate limit" in response.text[:1000].lower()


def _wait_asked(response: httpx.Response, now: float) -> float | None:
    """Return how many seconds a service asks to wait; None when it does not say.

    When an allowance begins anew is no answer while some of it is left.
    """
    given = response.headers.get("retry-after")
    if given:
        if given.replace(".", "", 1).isdigit():
            return float(given)
        moment = email.utils.parsedate_to_datetime(given) if "," in given else None
        return max(moment.timestamp() - now, 0.0) if moment else None
    left = _left(response)
    if left and "0" not in left:
        return LEAST_WAIT if _is_slow_down(response) else None
    for name in RESETS:
        reset = response.headers.get(name, "")
        if reset.replace(".", "", 1).isdigit():
            return max(float(reset) - now, 0.0) if float(reset) > 1e9 else float(reset)  # an epoch, or seconds
    return LEAST_WAIT if response.status_code == httpx.codes.FORBIDDEN else None


def _headers(endpoint: Endpoint, headers: Mapping[str, str]) -> dict[str, str]:
    """Headers as they can be sent. A line break in one would begin another, and a library that refuses it repeats the secret in its words.

    Raises:
        ConfigError: a name or a value holds something else than visible ASCII, naming the connection and never the value.
    """
    for name, value in headers.items():
        if not _NAME_OF_HEADER.fullmatch(name) or not _HEADER.fullmatch(value):
            raise ConfigError(
                f"connection {endpoint.connection!r}: its password, or a header of its extra, cannot be sent as the header {name[:40]!a}: "
                "it holds a line break, a space at an end or a letter outside of ASCII (often the last newline of a file); store it without"
            )
    return dict(headers)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


def _parse(content: bytes) -> Any:
    """Read JSON. The collector of cycles rests meanwhile: JSON has none, and looking for them makes a large page ten times slower."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return json.loads(content, parse_constant=_no_number)
    finally:
        if collects:
            gc.enable()


class Web:
    """A service a source talks to.

    Args:
        source: name of the source, for messages.
        endpoint: where and with which certificates (`Endpoint.tls`).
        headers: sent with every request; secrets belong here and appear in no message.
        auth: login and password for basic authentication.
        keep: folder for the pages as received (without persons and secrets, readable by the owner only); None keeps none.
        pace: least seconds from one request to the next, for services that count.
        sleep, clock: replaced in tests.
    """

    def __init__(
        self,
        source: str,
        endpoint: Endpoint,
        *,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float = 60.0,
        keep: Path | None = None,
        pace: float = 0.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        own = endpoint.extra.get("verify", True) not in (True, "true") or endpoint.extra.get("cert")
        context = endpoint.tls() if own else True  # the client's own bundle of CAs
        try:
            self._client = httpx.Client(
                base_url=endpoint.base_url,
                headers=_headers(endpoint, headers or {}),
                auth=auth,
                timeout=timeout,
                verify=context,
                follow_redirects=False,
            )
        except httpx.InvalidURL as error:
            raise ConfigError(f"{source}: the host of connection {endpoint.connection!r} fits no URL ({error}); correct it") from error
        self._source, self._connection, self._keep = source, endpoint.connection, keep
        self._sleep, self._clock = sleep, clock
        self._pace, self._asked_at = pace, -math.inf
        self._kept, self._key = 0, secrets.token_bytes(32)

    def __enter__(self) -> Web:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, request: Request, *, number: int = 1) -> Page:
        """Return one page.

        Raises:
            SourceUnavailable: no usable answer within the tries and waits a request is given; a retry may help.
            SourceRejected: credentials, certificate or request are refused, or the body is no JSON; a retry will not help.
        """
        origin = f"{request.method} {self._shown(request)} page {number}"
        waited, problem = 0.0, ""
        for attempt in range(TRIES):
            pause: float | None = None
            self._keep_pace()
            try:
                response = self._client.request(
                    request.method,
                    request.path,
                    params=dict(request.params) or None,
                    json=request.body,
                    data=dict(request.form) or None,
                )
            except httpx.InvalidURL as error:
                raise SourceRejected(
                    f"source {self._source!r}: {origin} cannot be asked for ({error}); what an answer or an option names fits no URL"
                ) from error
            except (httpx.TransportError, httpx.DecodingError) as error:  # the second: a body packed otherwise than its header says
                self._refuse_certificate(error, origin)
                problem = f"{type(error).__name__}: {error}"
                if request.once:
                    self._give_up(origin, problem, nothing_sent=isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)), cause=error)
            else:
                accepted = response.is_success or response.status_code in request.accepted
                if request.once and not accepted and (_is_slow_down(response) or response.status_code >= 500):
                    self._give_up(origin, f"answered {response.status_code}", nothing_sent=_is_slow_down(response))
                if not accepted and (_is_slow_down(response) or response.status_code >= 500):
                    problem = f"answered {response.status_code}"
                    pause = _wait_asked(response, self._clock())
                elif not accepted:
                    raise self._refused(response, origin)
                else:
                    try:
                        data = _parse(response.content)
                    except (ValueError, RecursionError) as error:
                        if request.once and accepted:
                            return Page(request, response.text, {}, number, origin, response.status_code)
                        if response.is_client_error:
                            raise self._refused(response, origin) from error
                        problem = f"answered {response.status_code}: body of {len(response.content)} bytes is no whole JSON ({error})"
                    else:
                        self._store(data, origin)
                        return Page(
                            request,
                            data,
                            {name.lower(): value for name, value in response.headers.items()},
                            number,
                            origin,
                            response.status_code,
                        )
            pause = FIRST_WAIT * 2**attempt if pause is None else pause
            if attempt + 1 == TRIES or waited + pause > LONGEST_WAIT:
                break
            log.info("source %s: %s %s; trying again in %.0f s", self._source, origin, problem, pause)
            self._sleep(pause)
            waited += pause
        raise SourceUnavailable(
            f"source {self._source!r}: {origin} {problem}, tried {attempt + 1} times over {waited:.0f} s; the next run asks again"
        )

    def walk(self, first: Request, following: Callable[[Page], Request | None], *, most: int = MOST_PAGES) -> Iterator[Page]:
        """Yield pages from the first until `following` names no other.

        Raises:
            SourceRejected: a request or a page comes a second time, or there are more than `most` pages.
            SourceUnavailable: as for `ask`.
        """
        request: Request | None = first
        asked: set[str] = set()
        seen: set[str] = set()
        number = 0
        while request is not None:
            number += 1
            asking = [request.method, request.path, dict(request.params), dict(request.form), request.body]
            question = json.dumps(asking, sort_keys=True, default=str)
            if question in asked:
                raise SourceRejected(
                    f"source {self._source!r}: the cursor loops: {self._shown(request)} was already asked as an earlier page"
                )
            if number > most:
                raise SourceRejected(f"source {self._source!r}: more than {most:,} pages from {self._shown(first)}; narrow the window")
            asked.add(question)
            page = self.ask(request, number=number)
            content = hashlib.sha256(json.dumps(page.data, sort_keys=True).encode()).hexdigest()
            request = following(page)
            if content in seen and request is not None:
                raise SourceRejected(f"source {self._source!r}: {page.origin} repeats an earlier page; its paging cannot be trusted")
            seen.add(content)
            yield page

    def _give_up(self, origin: str, problem: str, *, nothing_sent: bool, cause: Exception | None = None) -> NoReturn:
        """End a request that must not be repeated as it is."""
        if nothing_sent:
            raise NotSent(f"{self._source}: {origin} {problem}; nothing was sent, the next run tries again") from cause
        raise SourceUnavailable(f"{self._source}: {origin} {problem}; whether it was done is not known yet") from cause

    def _keep_pace(self) -> None:
        if self._pace:
            early = self._asked_at + self._pace - self._clock()
            if early > 0:
                self._sleep(early)
            self._asked_at = self._clock()

    def _shown(self, request: Request) -> str:
        if request.secret:
            return str(self._client.base_url.host or "the address of the connection")
        return f"{self._client.base_url.host}{request.path if request.path.startswith('/') else '/' + request.path}".split("?", maxsplit=1)[
            0
        ]

    def _refuse_certificate(self, error: Exception, origin: str) -> None:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLError):
                raise SourceRejected(
                    f"source {self._source!r}: {origin}: the TLS certificate was not accepted ({cause.reason or cause}); give the path of "
                    f"its CA as `verify` in the extra of connection {self._connection!r}"
                ) from error
            cause = cause.__cause__ or cause.__context__

    def _refused(self, response: httpx.Response, origin: str) -> SourceRejected:
        status, said = response.status_code, redact(" ".join(response.text.split())[:SHOWN])
        if status in (401, 403):
            advice = f"check login, password and rights of connection {self._connection!r}"
        elif status == 404:
            advice = f"check the host of connection {self._connection!r} and the options of the source"
        elif response.is_redirect:
            advice = f"it redirects; check scheme and host of connection {self._connection!r}"
        else:
            advice = "the service does not accept this request"
        return SourceRejected(f"source {self._source!r}: {origin} answered {status}; {advice}{f' ({said})' if said else ''}")

    def _store(self, data: Any, origin: str) -> None:
        """Keep a page without persons and secrets. Its tokens are of this extract alone: nobody needs to find a person there again."""
        if self._keep is None:
            return
        self._keep.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._kept += 1
        path = self._keep / f"{self._kept:05d}.json.gz"
        path.touch(mode=0o600)
        try:
            body = json.dumps(protect_document(data, self._key), ensure_ascii=False)
        except RecursionError:
            body = "(nested too deeply to be kept)"
        text = json.dumps({"origin": origin, "body": body}, ensure_ascii=False)
        path.write_bytes(gzip.compress(text.encode(errors="replace"), mtime=0))


def signed_in(source: str, endpoint: Endpoint, *, keep: Path | None = None, timeout: float = 60.0) -> Web:
    """Return a client that identifies itself as monitoring servers and the proxies in front of them expect.

    Login and password are sent as basic authentication, a password alone as a bearer token; `headers` in the extra of the connection (the
    tenant, for example) are sent with every request.
    """
    headers = {str(name): str(value) for name, value in dict(endpoint.extra.get("headers") or {}).items()}
    if endpoint.login:
        return Web(source, endpoint, headers=headers, auth=(endpoint.login, endpoint.password or ""), timeout=timeout, keep=keep)
    if endpoint.password:
        headers["Authorization"] = f"Bearer {endpoint.password}"
    return Web(source, endpoint, headers=headers, timeout=timeout, keep=keep)


def records(page: Page, *keys: str, source: str) -> list[dict[str, Any]]:
    """Return the list of objects at a path of keys in a page (no key: the page itself).

    Raises:
        SourceRejected: there is none, naming what was found instead.
    """
    found = page.data
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        where = ".".join(keys) or "the page"
        raise SourceRejected(f"source {source!r}: {page.origin}: expected a list of objects at {where}, found {type(found).__name__}")
    return found
