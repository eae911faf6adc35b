"""Which fields hold secrets, by their names alone: the one place with the words.

A name is cut into words where a person would: at signs, at spaces, and where capitals begin. What counts are the last
words, less those that say which one it is (`password_confirmation`, `token2`). It is about a secret that ends in

* one of `_LONG`, or its plural, however it is put together: `client_secret`, `newPassword`, `accesstokens`;
* one of `_SHORT`, as a word of its own: `db_pass`, not `compass`;
* `key` or `keys` behind another word: `api_key`, `stripeKey`; a bare `key` is a name for something.

but for `_OPEN`: keys that name or publish something, places in a list, and tokens that are counted.
"""

import re
from functools import lru_cache

_LONG = (
    *("password", "passwords", "passwd", "passwds", "passphrase", "passphrases", "passcode", "passcodes"),
    *("secret", "secrets", "token", "tokens", "credential", "credentials", "authorization", "basicauth"),
    *("apikey", "secretkey", "privatekey", "accesskey", "signingkey", "encryptionkey", "authkey"),
    *("apikeys", "secretkeys", "privatekeys", "accesskeys", "signingkeys", "encryptionkeys", "authkeys"),
)
_SHORT = frozenset({"pass", "pwd", "pwds", "pw", "jwt", "otp", "cvc", "cvv", "cookie", "cookies"})
_OPEN_KEYS = (
    *("public", "publishable", "primary", "foreign", "unique", "composite", "candidate", "natural", "surrogate"),
    *("idempotency", "deduplication", "dedup", "dedupe", "sort", "order", "partition", "range", "hash", "shard"),
    *("routing", "cache", "object", "file", "image", "document", "item", "row", "column", "field", "property"),
    *("record", "entity", "map", "group", "index", "lookup", "search", "translation", "message", "label", "tag"),
    *("issue", "project", "parent", "space", "team", "epic", "board", "site", "event", "metric", "feature", "flag"),
)
_OPEN_TOKENS = ("page", "next", "previous", "continuation", "sync", "resume", "delta", "scroll", "cursor")
_COUNTED = (
    *("max", "min", "num", "number", "total", "prompt", "completion", "input", "output", "cached", "reasoning"),
    *("thinking", "budget", "used", "remaining", "prediction", "creation", "read", "audio", "text", "image"),
)
_OPEN = tuple(
    [f"{word}key{plural}" for word in _OPEN_KEYS for plural in ("", "s")]
    + [f"{word}token" for word in _OPEN_TOKENS]
    + [f"{word}tokens" for word in _COUNTED]
)
_WHICH_ONE = frozenset({"confirmation", "confirm", "confirmed", "again", "repeat", "new", "old", "current", "value"})
# A cheap look first: most names have none of it.
_HINT = re.compile("pass|pw|secret|token|credential|auth|key|jwt|otp|cv[cv]|cookie", re.IGNORECASE)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_]+")
_WITHIN = re.compile(r"[\[\].]+")
_LONGEST = 200  # characters of a name that are looked at, its end


def is_secret(name: str) -> bool:
    """Whether a field of that name holds a secret, or is within one: `password[new]` and `token.id` are."""
    end = name[-_LONGEST:]
    return _HINT.search(end) is not None and _is_secret(end)


def is_count(name: str, text: str) -> bool:
    """Whether it tells how many: a plain number that is the value of `tokens` itself."""
    return text.isascii() and text.isdigit() and len(text) < 10 and name.lower().endswith("tokens")


def hides(name: str, text: str) -> bool:
    """Whether `text` is masked as the value of that name."""
    return is_secret(name) and not is_count(name, text)


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    parts = _WITHIN.split(name)
    return any(map(_says_secret, parts)) or (len(parts) > 1 and _ends_long(_words(name)))


def _says_secret(part: str) -> bool:
    words = _words(part)
    if not words or "".join(words).endswith(_OPEN):
        return False
    return words[-1] in _SHORT or (len(words) > 1 and words[-1] in {"key", "keys"}) or _ends_long(words)


def _ends_long(words: list[str]) -> bool:
    joined = "".join(words)
    return joined.endswith(_LONG) and not joined.endswith(_OPEN)


def _words(name: str) -> list[str]:
    words = [word.lower() for word in _WORD.findall(name)]
    while len(words) > 1 and (words[-1].isdecimal() or words[-1] in _WHICH_ONE):
        words.pop()
    return words
