"""Channels: short messages to a team, through Slack's Web API, an incoming webhook of Slack, or e-mail.

None of them can be asked later whether a message arrived. So a message whose sending broke off is not sent again on a guess (see `outbox`).
What is raised tells the outbox what is known: SourceRejected (refused, nothing arrived), NotSent (cannot have arrived), SourceUnavailable
(not known).
"""

from __future__ import annotations

import logging
import smtplib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from email.message import EmailMessage
from urllib.parse import urlsplit

from aftercast.connections import Endpoint, resolve, slack
from aftercast.declarations import ChannelRow
from aftercast.errors import ConfigError, NotSent, SourceRejected, SourceUnavailable
from aftercast.sources.web import Request, Web

Payload = Mapping[str, object]
Send = Callable[[Payload, str], str]
Write = Callable[[str, Payload, str], EmailMessage]

TIMEOUT = 30.0
# What Slack answers where it has posted nothing, and may post later.
LATER = ("ratelimited", "rate_limited", "service_unavailable")
UNKNOWN = ("fatal_error", "internal_error", "request_timeout")


def open_channel(row: ChannelRow, write: Write | None = None) -> Send:
    """Return what sends a payload (`to`, `subject`, `text`, for Slack also `blocks`) with a mark and returns a reference.

    `write` makes an e-mail of sender, payload and mark; None: `message`, plain text.

    Raises:
        ConfigError: the connection does not fit.
    """
    name = f"channel {row.name}"
    if row.kind == "slack":
        endpoint, headers = slack(name, row.connection)
        return lambda payload, mark: _post(name, endpoint, headers, payload)
    endpoint = resolve(name, row.connection)
    if row.kind == "slack_webhook":
        url = endpoint.secret()
        if "://" not in url:
            raise ConfigError(f"{name}: the password of connection {row.connection!r} is the whole URL of the webhook, from https:// on")
        return lambda payload, mark: _post_to_webhook(name, endpoint, url, payload, mark)
    if not endpoint.base_url:
        raise ConfigError(f"{name}: connection {row.connection!r} names no host; give that of the SMTP server")
    if "@" not in str(endpoint.extra.get("from_email") or ""):
        raise ConfigError(f'{name}: connection {row.connection!r} has no sender; add "from_email" to its extra')
    return lambda payload, mark: _mail(name, endpoint, payload, mark, write or message)


def _post(name: str, endpoint: Endpoint, headers: Mapping[str, str], payload: Payload) -> str:
    body = {"channel": payload["to"], **_said(payload), "unfurl_links": False}
    with Web(name, endpoint, headers=headers, timeout=TIMEOUT) as web:
        page = web.ask(Request("/chat.postMessage", body=body, method="POST", once=True))
    said = page.data if isinstance(page.data, dict) else {}
    if said.get("ok") is True:
        return f"{said.get('channel')}/{said.get('ts')}"
    error = str(said.get("error") or "")
    if not error or error in UNKNOWN:
        raise SourceUnavailable(f"{name}: Slack answered {error or 'without saying whether it posted'}")
    if error in LATER:
        raise NotSent(f"{name}: Slack answered {error}; the next run tries again")
    raise SourceRejected(f"{name}: Slack posted nothing to {payload['to']}: {error}; check the channel and the rights of the app")


def _post_to_webhook(name: str, endpoint: Endpoint, url: str, payload: Payload, mark: str) -> str:
    with Web(name, replace(endpoint, base_url=""), timeout=TIMEOUT) as web, _no_address_in_the_log():
        web.ask(Request(url, body=_said(payload), method="POST", once=True, secret=True))
    return f"webhook/{mark}"


@contextmanager
def _no_address_in_the_log() -> Iterator[None]:
    """The HTTP library logs whole addresses; that of a webhook is its secret."""
    logger = logging.getLogger("httpx")
    logger.addFilter(_nothing)
    try:
        yield
    finally:
        logger.removeFilter(_nothing)


def _nothing(_: logging.LogRecord) -> bool:
    return False


def _said(payload: Payload) -> dict[str, object]:
    """What is said: a text that Slack takes literally, or blocks with the text that notifications show, both written for Slack already."""
    if payload.get("blocks"):
        return {"text": payload["text"], "blocks": payload["blocks"]}
    return {"text": _escaped(str(payload["text"]))}


def _escaped(text: str) -> str:
    """A text as Slack takes it: nothing in it is read as a mention of people or as a link with other words."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def message(sender: str, payload: Payload, mark: str) -> EmailMessage:
    """Return the e-mail; its Message-ID is the mark, so that a reader who got it twice would see it once."""
    mail = EmailMessage()
    mail["From"], mail["To"] = sender, str(payload["to"])
    mail["Subject"] = " ".join(str(payload["subject"]).split())
    mail["Message-ID"] = f"<{mark}@{sender.rpartition('@')[2].rstrip('>')}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(str(payload["text"]))
    return mail


def _mail(name: str, endpoint: Endpoint, payload: Payload, mark: str, write: Write) -> str:
    extra, place = endpoint.extra, urlsplit(endpoint.base_url)
    wraps, starts = not extra.get("disable_ssl", False), not extra.get("disable_tls", False)
    try:
        mail = write(str(extra["from_email"]), payload, mark)
    except (ValueError, TypeError) as error:  # a line break in an address, or one that is none
        raise SourceRejected(
            f"{name}: no mail can be written from `from_email` of connection {endpoint.connection!r} to {payload['to']!a} ({error}); "
            "correct the address that is wrong"
        ) from error
    port = place.port or (465 if wraps else 587 if starts else 25)
    context = endpoint.tls(always_checked=True)
    try:
        server = (
            smtplib.SMTP_SSL(place.hostname or "", port, timeout=TIMEOUT, context=context)
            if wraps
            else smtplib.SMTP(place.hostname or "", port, timeout=TIMEOUT)
        )
    except (OSError, smtplib.SMTPException) as error:
        raise NotSent(
            f"{name}: no connection to mail server {place.hostname}:{port} of connection {endpoint.connection!r} "
            f"({type(error).__name__}); the next run tries again"
        ) from error
    try:
        try:
            if not wraps and starts:
                server.starttls(context=context)
            if endpoint.login:
                server.login(endpoint.login, endpoint.password or "")
        except smtplib.SMTPAuthenticationError as error:
            raise SourceRejected(f"{name}: the server does not accept login and password of connection {endpoint.connection!r}") from error
        except (OSError, smtplib.SMTPException) as error:
            raise NotSent(
                f"{name}: mail server {place.hostname}:{port} of connection {endpoint.connection!r} did not get ready "
                f"({type(error).__name__}); the next run tries again"
            ) from error
        try:
            server.send_message(mail)
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused, smtplib.SMTPDataError, smtplib.SMTPNotSupportedError) as error:
            raise _refused(f"{name}: mail server {place.hostname}:{port} of connection {endpoint.connection!r}", error) from error
        except (OSError, smtplib.SMTPException) as error:
            raise SourceUnavailable(f"{name}: {place.hostname} broke off while taking the message ({type(error).__name__})") from error
    finally:
        server.close()  # not quit: a goodbye that fails says nothing about the message
    return str(mail["Message-ID"])


def _refused(who: str, error: smtplib.SMTPException) -> SourceRejected | NotSent:
    """What a refusal means: for now (4xx) or for good."""
    codes = (
        [code for code, _ in error.recipients.values()]
        if isinstance(error, smtplib.SMTPRecipientsRefused)
        else [getattr(error, "smtp_code", 500)]
    )
    if all(400 <= code < 500 for code in codes):
        return NotSent(f"{who} does not take the message now ({codes[0]}); the next run tries again")
    return SourceRejected(f"{who} refused the message ({codes[0]}); check the address and the sender")
