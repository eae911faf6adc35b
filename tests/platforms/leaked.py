"""Secrets as agents leak them: made at run time from their parts, so that no scanner takes this file for a leak."""

import base64
import json

_HEX = "0123456789abcdef"
_WORD = "aB3dE5gH7jK9mN2pQ4sT6vW8xY1zC0fL"

# (what it is, the secret)
SECRETS: list[tuple[str, str]] = [
    ("an AWS access key", "AKIA" + "Q7RZ5TBYNM2WKX4H"),
    ("an AWS access key", "ASIA" + "Q7RZ5TBYNM2WKX4H"),
    ("a GitHub token", "ghp_" + (_WORD * 2)[:36]),
    ("a GitHub token", "gho_" + (_WORD * 2)[:36]),
    ("a GitHub token", "ghu_" + (_WORD * 2)[:36]),
    ("a GitHub token", "ghs_" + (_WORD * 2)[:36]),
    ("a GitHub token", "ghr_" + (_WORD * 3)[:76]),
    ("a GitHub token", "github_pat_" + _WORD[:22] + "_" + (_WORD * 2)[:59]),
    ("a GitLab token", "glpat-" + _WORD[:20]),
    ("a Slack token", "xoxb-" + "123456789012-1234567890123-" + _WORD[:24]),
    ("a Slack token", "xoxe.xoxp-" + "1-" + _WORD),
    ("a Slack token", "xapp-" + "1-A0123456789-1234567890123-" + _HEX * 4),
    ("a Slack webhook", "https://hooks.slack.com/" + "services/T01234567/B01234567/" + _WORD[:24]),
    ("a Stripe key", "sk_live_" + _WORD[:24]),
    ("a Stripe key", "rk_live_" + _WORD[:24]),
    ("a Google API key", "AIza" + (_WORD * 2)[:35]),
    ("a Google OAuth secret", "GOCSPX-" + _WORD[:28]),
    ("a Google access token", "ya29." + (_WORD * 4)[:120]),
    ("an OpenAI key", "sk-proj-" + _WORD[:24] + "T3BlbkFJ" + _WORD[:24]),
    ("an OpenAI key", "sk-" + _WORD[:20] + "T3BlbkFJ" + _WORD[:20]),
    ("an Anthropic key", "sk-ant-" + "api03-" + (_WORD * 3)[:93]),
    ("an npm token", "npm_" + (_WORD * 2)[:36]),
    ("a PyPI token", "pypi-" + "AgEIcHlwaS5vcmc" + (_WORD * 4)[:120]),
    ("a SendGrid key", "SG." + _WORD[:22] + "." + (_WORD * 2)[:43]),
    ("a Hugging Face token", "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH"),
    ("a DigitalOcean token", "dop_v1_" + _HEX * 4),
    ("a Shopify token", "shpat_" + _HEX * 2),
    ("an Airtable token", "pat" + _WORD[:14] + "." + _HEX * 4),
    ("a Notion token", "ntn_" + (_WORD * 2)[:43]),
    ("a Linear key", "lin_api_" + (_WORD * 2)[:40]),
    ("a Vault token", "hvs." + (_WORD * 3)[:95]),
    ("a Telegram bot token", "1234567890" + ":AA" + (_WORD * 2)[:33]),
    ("an Azure storage key", "AccountKey=" + (_WORD * 3)[:86] + "=="),
    ("a private key", "-----BEGIN " + "PRIVATE KEY-----\n" + _WORD[:40]),
    ("a private key", "-----BEGIN OPENSSH " + "PRIVATE KEY-----\r\n" + _WORD[:40]),
    ("a private key", "-----BEGIN PGP " + "PRIVATE KEY BLOCK-----\nVersion: 2\n\n" + _WORD[:40]),
    ("a private key", "-----BEGIN RSA " + "PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED"),
    ("an age key", "AGE-SECRET-KEY-1" + ("QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L" * 2)[:58]),
    ("an AgentValet code", "bsec_" + (_WORD * 2)[:43]),
    ("an AgentValet code", "itok_" + (_WORD * 2)[:43]),
]


def _segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def jwt_like(claims: dict[str, object]) -> str:
    return f"{_segment({'alg': 'RS256'})}.{_segment(claims)}.{_WORD * 2}"


# What ordinary calls hold, and must never be refused for.
ORDINARY: list[tuple[str, str]] = [
    ("prose about keys", "Rotate the sk_live key and the AKIA one, then send -----BEGIN CERTIFICATE----- to ops"),
    ("a test key of Stripe", "sk_test_" + _WORD[:24]),
    ("AWS's own example", "AKIA" + "IOSFODNN7EXAMPLE"),
    ("a commit", "3f786850e387550fdab836ed7e6dc881de23001b"),
    ("a UUID", "5f0c1b6e-0000-4000-8000-000000000000"),
    ("a public key", "-----BEGIN PUBLIC KEY-----"),
    ("someone else's JWT", jwt_like({"sub": "1", "name": "x"})),
    ("an image", "data:image/png;base64," + base64.b64encode(bytes(range(256)) * 8).decode()),
    ("a path", "/path/to/patch-pat.txt?xoxo=1&task-id=risk-free"),
    ("a prefix alone", "ghp_ bsec_ itok_ npm_ AIza hf_ SG. glpat-"),
    ("placeholders", " ".join(f"{start}{'x' * 40}" for start in ("ghp_", "sk_live_", "glpat-", "hf_", "npm_"))),
    ("more placeholders", f"AIza{'X' * 35} SG.{'x' * 22}.{'x' * 43} xoxb-your-token-goes-here-please"),
    (
        "the line of a key",
        "The file has to begin with -----BEGIN PRIVATE KEY----- and not with a BOM, however it was made",
    ),
    ("inside a longer word", "xAKIA" + "Q7RZ5TBYNM2WKX4H"),
    ("digests", " ".join(_HEX * 4 for _ in range(50))),
]
