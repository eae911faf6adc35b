"""The keys of receipts: ES256 (P-256). The first of AGENTVALET_RECEIPT_KEY signs.

All of them are published, and so are those in the file that AGENTVALET_RETIRED_RECEIPT_KEYS names: earlier ones, of
which nobody needs the private half any more.
"""

import base64
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from approvals.verify_receipt import TYPE

ALGORITHM = "ES256"


class RetiredKeysRefused(ValueError):
    """What is wrong with the file of earlier public keys, as the end of a sentence."""


def check_keys() -> None:
    """Raises ImproperlyConfigured: one of the two settings names no keys."""
    _keys(settings.RECEIPT_KEY)
    _retired(settings.RETIRED_RECEIPT_KEYS)


def published() -> dict[str, Any]:
    """The public halves, as a JWK set (RFC 7517), each once."""
    shared = {"use": "sig", "alg": ALGORITHM}
    keys = (*_keys(settings.RECEIPT_KEY), *_retired(settings.RETIRED_RECEIPT_KEYS))
    by_id = {key.thumbprint(): {**key.as_dict(private=False), **shared, "kid": key.thumbprint()} for key in keys}
    return {"keys": list(by_id.values())}


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


@lru_cache(maxsize=4)
def _retired(path: str) -> tuple[ECKey, ...]:
    """The keys in the file, which is read once: a change takes a restart."""
    if not path:
        return ()
    try:
        return tuple(map(_public_key, _key_set(Path(path))))
    except RetiredKeysRefused as error:
        raise ImproperlyConfigured(f"AGENTVALET_RETIRED_RECEIPT_KEYS names {path}, which {error}.") from None


def _key_set(path: Path) -> list[Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError:
        raise RetiredKeysRefused("cannot be read") from None
    except ValueError:
        raise RetiredKeysRefused("is no JSON") from None
    keys = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(keys, list) or not keys:
        raise RetiredKeysRefused('is no JWK set: {"keys": [...]}')
    return keys


def _public_key(jwk: Any) -> ECKey:
    """The key itself: whatever else stands in the file about it is not believed."""
    if not isinstance(jwk, dict) or (jwk.get("kty"), jwk.get("crv")) != ("EC", "P-256"):
        raise RetiredKeysRefused("holds a key that is not an EC key on P-256")
    if "d" in jwk:
        raise RetiredKeysRefused("holds a private key: keep public ones there only, and destroy that one")
    if not (isinstance(jwk.get("x"), str) and isinstance(jwk.get("y"), str)):
        raise RetiredKeysRefused("holds a key that is no point on P-256")
    try:
        key = ECKey.import_key({name: str(jwk[name]) for name in ("kty", "crv", "x", "y")})
        matches = jwk.get("kid", key.thumbprint()) == key.thumbprint()
    except (JoseError, ValueError):
        raise RetiredKeysRefused("holds a key that is no point on P-256") from None
    if not matches:
        raise RetiredKeysRefused("holds a key whose kid is not its thumbprint (RFC 7638)")
    return key
