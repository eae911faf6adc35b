"""The keys that sign receipts: ES256 (P-256), out of AGENTVALET_RECEIPT_KEY. The first one signs, all are published."""

import base64
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from joserfc import jws
from joserfc.jwk import ECKey

from approvals.verify_receipt import TYPE

ALGORITHM = "ES256"


def check_keys() -> None:
    """Raises ImproperlyConfigured: the setting is no list of keys."""
    _keys(settings.RECEIPT_KEY)


def published() -> dict[str, Any]:
    """The public halves, as a JWK set (RFC 7517)."""
    shared = {"use": "sig", "alg": ALGORITHM}
    return {
        "keys": [
            {**key.as_dict(private=False), **shared, "kid": key.thumbprint()} for key in _keys(settings.RECEIPT_KEY)
        ]
    }


def signed(claims: Mapping[str, Any]) -> tuple[str, str]:
    """The id of the key that signs today, and the compact JWS (RFC 7515)."""
    key = _keys(settings.RECEIPT_KEY)[0]
    header = {"alg": ALGORITHM, "typ": TYPE, "kid": key.thumbprint()}
    return header["kid"], jws.serialize_compact(header, json.dumps(claims).encode(), key, [ALGORITHM])


@lru_cache(maxsize=4)
def _keys(text: str) -> tuple[ECKey, ...]:
    try:
        seeds = [base64.b64decode(part.strip(), validate=True) for part in text.split(",")]
        if any(len(seed) != 32 for seed in seeds):
            raise ValueError("not 32 bytes")
        return tuple(_key(seed) for seed in seeds)
    except ValueError:
        raise ImproperlyConfigured(
            "AGENTVALET_RECEIPT_KEY is not 32 bytes in base64 (or several, separated by commas):"
            " `manage.py make_keys` prints a fresh one."
        ) from None


def _key(seed: bytes) -> ECKey:
    """The private key is the number that the bytes spell; one in 2^32 is above the curve's order: ValueError."""
    private = ec.derive_private_key(int.from_bytes(seed, "big"), ec.SECP256R1()).private_numbers()
    numbers = {"x": private.public_numbers.x, "y": private.public_numbers.y, "d": private.private_value}
    parts = {
        name: base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()
        for name, number in numbers.items()
    }
    return ECKey.import_key({"kty": "EC", "crv": "P-256", **parts})
