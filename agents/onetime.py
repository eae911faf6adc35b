"""Secrets that are shown once: 256 random bits under a prefix that says what they are for. Only hashes are kept."""

import hashlib
import secrets


def new_secret(prefix: str) -> str:
    return f"{prefix}_{secrets.token_urlsafe(32)}"


def hash_of(secret: str) -> bytes:
    """SHA-256, which is enough for what nobody can guess."""
    return hashlib.sha256(secret.encode()).digest()
