"""Putting one call together and sending it: the only place where a credential is used in clear."""

import time

from django.conf import settings
from django.utils import timezone

from approvals.binding import Form
from approvals.redaction import without_credential
from crash_points import Point, crash_point
from platforms import client, mcp
from platforms.client import PlatformResponse
from platforms.coverage import Coverage
from platforms.credentials import Auth, apply
from platforms.destinations import DestinationChanged
from platforms.held_access import HeldAccess
from platforms.renewals import NoAccess
from platforms.vault import VaultError


class CannotSend(Exception):
    """The call could not be put together; nothing has left. The text is one sentence without secrets."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


def send(
    form: Form,
    coverage: Coverage,
    *,
    timeout: float,
    idempotency_key: str = "",
    fresh: bool = False,
    held: HeldAccess | None = None,
) -> PlatformResponse:
    """Send the call with the stored credential, or with the access token that is `held` for it. With an
    `idempotency_key`, which goes along, or `fresh`, it gets a connection of its own: nothing below us ever sends it a
    second time.

    Raises:
        PlatformUnreachable: no answer came.
        CannotSend: nothing was sent.
    """
    client.release_connection()
    began = time.monotonic()
    try:
        credential = coverage.credential(timeout=timeout / 2, held=held)  # the call itself needs some of it
    except DestinationChanged as error:
        raise CannotSend("destination_changed", str(error)) from error
    except NoAccess as error:
        raise CannotSend(error.reason, str(error)) from error
    except VaultError as error:
        raise CannotSend("credential_unavailable", str(error)) from error
    return send_with(
        coverage.auth,
        credential,
        method=form.method,
        url=form.url,
        body=form.body,
        content_type=form.content_type,
        is_mcp=coverage.is_mcp,  # as when the call was asked for: its URL would be another
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
    content_type: str,
    is_mcp: bool,
    timeout: float,
    idempotency_key: str = "",
    fresh: bool = False,
) -> PlatformResponse:
    """Send a call with this credential, placed as `auth` says. Raises as `send` does."""
    headers = [("Accept", mcp.ACCEPT if is_mcp else "application/json")]
    if body is not None:
        headers.append(("Content-Type", content_type))
    if idempotency_key:
        headers.append(("Idempotency-Key", idempotency_key))
    client.release_connection()
    try:
        url, headers = apply(auth, credential, url=url, headers=headers)
        if timeout <= 0:
            raise CannotSend("credential_unavailable", "The vault's key took all of the time there was for the call.")
        crash_point(Point.BEFORE_SEND, idempotency_key)
        content = None if body is None else body.encode()
        most = settings.MAX_RESPONSE_BYTES
        if is_mcp:
            response = mcp.call_tool(
                url=url, headers=headers, body=content or b"", timeout=timeout, max_response_bytes=most
            )
        else:
            response = client.send(
                method=method,
                url=url,
                headers=headers,
                body=content,
                timeout=timeout,
                max_response_bytes=most,
                fresh=fresh,
            )
    except ValueError as error:  # what `apply` and `send` raise before anything leaves
        raise CannotSend("request_refused", str(error)) from error
    return without_credential(auth, credential, response, now=timezone.now())
