"""Putting one call together and sending it: the only place where a credential is used in clear."""

import json
import re
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from urllib.parse import quote, quote_plus

from django.conf import settings

from approvals.binding import Form
from crash_points import Point, crash_point
from platforms import client
from platforms.client import PlatformResponse
from platforms.coverage import Coverage
from platforms.credentials import Auth, apply
from platforms.vault import VaultError

_SHORTEST_REDACTED = 8  # shorter ones turn up in answers by chance
_ESCAPE = re.compile("%[0-9A-F]{2}")


class CannotSend(Exception):
    """The call could not be put together; nothing has left. The text is one sentence without secrets."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


def send(
    form: Form, coverage: Coverage, *, timeout: float, idempotency_key: str = "", fresh: bool = False
) -> PlatformResponse:
    """Send the call with the stored credential. With an `idempotency_key`, which goes along, or `fresh`, it gets a
    connection of its own: nothing below us ever sends it a second time.

    Raises:
        PlatformUnreachable: no answer came.
        CannotSend: nothing was sent.
    """
    client.release_connection()
    began = time.monotonic()
    try:
        credential = coverage.credential()
    except VaultError as error:
        raise CannotSend("credential_unavailable", str(error)) from error
    return send_with(
        coverage.auth,
        credential,
        method=form.method,
        url=form.url,
        body=form.body,
        content_type=form.content_type,
        timeout=timeout - (time.monotonic() - began),  # the vault's key may be across a network, too
        idempotency_key=idempotency_key,
        fresh=fresh or bool(idempotency_key),
    )


def send_with(
    auth: Auth,
    credential: str,
    *,
    method: str,
    url: str,
    body: str | None,
    timeout: float,
    content_type: str = "application/json",
    idempotency_key: str = "",
    fresh: bool = False,
) -> PlatformResponse:
    """Send a call with this credential, placed as `auth` says. Raises as `send` does."""
    headers = [("Accept", "application/json")]
    if body is not None:
        headers.append(("Content-Type", content_type))
    if idempotency_key:
        headers.append(("Idempotency-Key", idempotency_key))
    client.release_connection()
    try:
        url, headers = apply(auth, credential, url=url, headers=headers)
        crash_point(Point.BEFORE_SEND, idempotency_key)
        response = client.send(
            method=method,
            url=url,
            headers=headers,
            body=None if body is None else body.encode(),
            timeout=timeout,
            max_response_bytes=settings.MAX_RESPONSE_BYTES,
            fresh=fresh,
        )
        return _without(auth, credential, response)
    except ValueError as error:  # what `apply` and `send` raise before anything leaves
        raise CannotSend("request_refused", str(error)) from error


def _without(auth: Auth, credential: str, response: PlatformResponse) -> PlatformResponse:
    """The answer without the credential, where a platform repeats what it was sent."""
    secrets = {credential, credential.partition(":")[2]} if auth.type == "basic" else {credential}
    spellings = {spelling for secret in secrets for spelling in _spellings(secret)}
    body = response.body
    for spelling in sorted(spellings, key=len, reverse=True):  # the whole before what is a part of it
        if len(spelling) >= _SHORTEST_REDACTED:
            body = body.replace(spelling.encode(), b"[credential removed]")
    return response if body == response.body else replace(response, body=body)


def _spellings(secret: str) -> Iterator[str]:
    """As it is, and as a header, a URL, JSON or HTML carries it."""
    yield secret
    yield b64encode(secret.encode()).decode()
    for quoted in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        yield quoted
        yield _ESCAPE.sub(lambda found: found[0].lower(), quoted)
    for text in (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        yield text
        yield text.replace("/", "\\/")
    yield escape(secret)
    yield escape(secret, quote=False)
