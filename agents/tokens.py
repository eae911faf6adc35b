"""Bearer tokens of child agents: minted and checked by this server, with a key that is not in the database."""

import base64
import json
from datetime import datetime
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from agents.assertions import Claims, ExpiredAssertion, InvalidAssertion, Unverified, check_begun, claimed_text
from agents.models import Agent

ALGORITHM = "Ed25519"  # RFC 9864: the name says the curve too, unlike the older "EdDSA"
TYPE = "agentvalet-child+jwt"


class SigningUnavailable(ImproperlyConfigured):
    """AGENTVALET_TOKEN_KEY is missing or is no key."""


def mint_child_token(*, child: Agent, now: datetime) -> str:
    """The one token of a child agent, valid from now until the child's end. It is not kept: answer it once.

    Raises:
        SigningUnavailable: there is no key to sign with.
        ValueError: the agent is no child.
    """
    if child.parent_id is None or child.expires_at is None:
        raise ValueError(f"{child.pk} is no child agent")
    payload = {
        "iss": settings.PUBLIC_URL,
        "sub": child.pk,
        "agent_id": child.pk,
        "owner_id": str(child.owner_id),
        "parent_agent_id": child.parent_id,
        "iat": int(now.timestamp()),
        "exp": int(child.expires_at.timestamp()),
    }
    header = {"alg": ALGORITHM, "typ": TYPE}
    return jws.serialize_compact(header, json.dumps(payload).encode(), _key(settings.TOKEN_KEY), [ALGORITHM])


def verify_child(unverified: Unverified, *, claims: Claims, owner_id: str, parent_id: str, now: float) -> None:
    """Make sure that this server minted the token, for this child of this parent, and that it has not run out.

    Raises:
        InvalidAssertion: it did not, or for somebody else.
        ExpiredAssertion: it did, and the token's time is over.
    """
    if unverified.algorithm != ALGORITHM or unverified.header.get("typ") != TYPE:
        raise InvalidAssertion("bad_alg")
    try:
        jws.deserialize_compact(unverified.token, _key(settings.TOKEN_KEY), algorithms=[ALGORITHM])
    except JoseError as error:
        raise InvalidAssertion("bad_signature") from error
    said = unverified.payload
    if claimed_text(said, "sub") != claims.agent_id or claimed_text(said, "parent_agent_id") != parent_id:
        raise InvalidAssertion("wrong_agent")
    if said.get("iss") != settings.PUBLIC_URL:
        raise InvalidAssertion("wrong_issuer")
    if claims.owner_id != owner_id:
        raise InvalidAssertion("wrong_owner")
    check_begun(claims, now=now)
    if now >= claims.expires_at:  # our own clock set the end: no leeway
        raise ExpiredAssertion("token_expired")


@lru_cache(maxsize=4)
def _key(text: str) -> OKPKey:
    try:
        key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(text, validate=True))
    except ValueError:
        raise SigningUnavailable(
            "AGENTVALET_TOKEN_KEY is not a key: set it to the base64 of 32 random bytes."
        ) from None
    raw = key.private_bytes_raw(), key.public_key().public_bytes_raw()
    d, x = (base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in raw)
    return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": x, "d": d})
