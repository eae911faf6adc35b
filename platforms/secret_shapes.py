"""What well-known secrets look like: a table for `platforms.leaks`. Every row names where the shape is documented.

Only shapes with a fixed beginning are in it, so that ordinary calls pass and a long one is searched for a few literals,
not for forty patterns. No pattern goes back over what another match attempt has read: a hostile call
of a megabyte costs milliseconds (tests/platforms/test_leaks.py).
"""

import re
from typing import NamedTuple

_FEWEST_DIFFERENT = 4  # characters after the beginning
_BREAK = r"""[\s\\nr"'+,>|]{0,40}"""  # as text, JSON, code or a quoted mail has it
_B64URL = "[A-Za-z0-9_-]"
_END = "(?![A-Za-z0-9])"
_B64URL_END = f"(?!{_B64URL})"

# (what people are told it is, the literal it begins with, the pattern of the rest)
_ROWS: tuple[tuple[str, str, str], ...] = (
    # docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html: unique id prefixes, then base32.
    # The keys in AWS's own documentation end in EXAMPLE.
    ("an AWS access key", "AKIA", rf"(?![A-Z0-9]{{9}}EXAMPLE)[A-Z2-7]{{16}}{_END}"),
    ("an AWS access key", "ASIA", rf"(?![A-Z0-9]{{9}}EXAMPLE)[A-Z2-7]{{16}}{_END}"),
    # github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/
    ("a GitHub token", "ghp_", rf"[A-Za-z0-9]{{36,251}}{_END}"),
    ("a GitHub token", "gho_", rf"[A-Za-z0-9]{{36,251}}{_END}"),
    ("a GitHub token", "ghu_", rf"[A-Za-z0-9]{{36,251}}{_END}"),
    ("a GitHub token", "ghs_", rf"[A-Za-z0-9]{{36,251}}{_END}"),
    ("a GitHub token", "ghr_", rf"[A-Za-z0-9]{{36,251}}{_END}"),
    ("a GitHub token", "github_pat_", rf"[A-Za-z0-9]{{22}}_[A-Za-z0-9]{{59}}{_END}"),
    # docs.gitlab.com/security/tokens/: token prefixes
    ("a GitLab token", "glpat-", r"[A-Za-z0-9_.-]{20}"),
    # docs.slack.dev/authentication/tokens
    ("a Slack token", "xox", r"[abeoprs](?:\.xox[abp])?-(?=[A-Za-z-]{0,12}[0-9])[A-Za-z0-9-]{20}"),
    ("a Slack token", "xapp-", r"[0-9]-[A-Z0-9]{6,20}-[0-9]{6,20}-[a-f0-9]{32}"),
    # docs.slack.dev/messaging/sending-messages-using-incoming-webhooks: the address is the secret
    (
        "a Slack webhook",
        "hooks.slack.com/services/",
        r"T[A-Z0-9]{6,20}/B[A-Z0-9]{6,20}/[A-Za-z0-9]{20}",
    ),
    # docs.stripe.com/keys: live secret and restricted keys. Test keys move no money.
    ("a Stripe key", "sk_live_", r"[A-Za-z0-9]{20}"),
    ("a Stripe key", "rk_live_", r"[A-Za-z0-9]{20}"),
    # cloud.google.com/docs/authentication/api-keys; developers.google.com/identity/protocols/oauth2
    ("a Google API key", "AIza", rf"{_B64URL}{{35}}{_B64URL_END}"),
    ("a Google OAuth secret", "GOCSPX-", rf"{_B64URL}{{28}}{_B64URL_END}"),
    ("a Google access token", "ya29.", rf"{_B64URL}{{50}}"),
    # platform.openai.com/docs/api-reference/authentication: every key has this in its middle, "OpenAI" in base64
    ("an OpenAI key", "sk-", rf"{_B64URL}{{16,100}}?T3BlbkFJ{_B64URL}{{16}}"),
    # docs.anthropic.com/en/api
    ("an Anthropic key", "sk-ant-", rf"[a-z]{{3,10}}[0-9]{{2}}-{_B64URL}{{80}}"),
    # github.blog/changelog/2021-09-23-npm-has-a-new-access-token-format/
    ("an npm token", "npm_", rf"[A-Za-z0-9]{{36}}{_END}"),
    # The Python package index, help page on API tokens: a macaroon, base64
    ("a PyPI token", "pypi-AgE", rf"{_B64URL}{{50}}"),
    # www.twilio.com/docs/sendgrid/ui/account-and-settings/api-keys
    ("a SendGrid key", "SG.", rf"{_B64URL}{{22}}\.{_B64URL}{{43}}{_B64URL_END}"),
    # huggingface.co/docs/hub/security-tokens
    ("a Hugging Face token", "hf_", rf"[A-Za-z]{{34}}{_END}"),
    # docs.digitalocean.com/reference/api: token prefixes
    ("a DigitalOcean token", "dop_v1_", rf"[a-f0-9]{{64}}{_END}"),
    # shopify.dev/changelog: length of the shared secret and access token formats
    ("a Shopify token", "shpat_", rf"[a-fA-F0-9]{{32}}{_END}"),
    # airtable.com/developers/web/guides/personal-access-tokens
    ("an Airtable token", "pat", rf"[A-Za-z0-9]{{14}}\.[a-f0-9]{{64}}{_END}"),
    # developers.notion.com/changelog: tokens begin with ntn_ since September 2024
    ("a Notion token", "ntn_", rf"[A-Za-z0-9]{{40,60}}{_END}"),
    # linear.app/developers/graphql: personal API keys
    ("a Linear key", "lin_api_", rf"[A-Za-z0-9]{{40}}{_END}"),
    # developer.hashicorp.com/vault/docs/concepts/tokens
    ("a Vault token", "hvs.", rf"{_B64URL}{{90}}"),
    # Telegram's core.telegram.org/bots/api#authorizing-your-bot, 35 characters after the bot's number
    ("a Telegram bot token", ":AA", rf"(?<=[0-9]{{8}}:AA){_B64URL}{{33}}{_B64URL_END}"),
    # learn.microsoft.com/azure/storage/common/storage-configure-connection-string: a key of 64 bytes
    ("an Azure storage key", "AccountKey=", r"[A-Za-z0-9+/]{86}=="),
    # RFC 7468, sections 10 and 11; RFC 4880, section 6.2, says BLOCK
    # The line alone is what manuals and error messages say: something of the key has to follow.
    (
        "a private key",
        "-----BEGIN ",
        rf"(?:[A-Z0-9]{{2,20}} ){{0,3}}PRIVATE KEY(?: BLOCK)?-----{_BREAK}(?:Proc-Type|Version|[A-Za-z0-9+/]{{24}})",
    ),
    # age-encryption.org/v1: identities in Bech32
    ("an age key", "AGE-SECRET-KEY-1", r"[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}"),
    # Our own one-time codes: agents.enrolment
    ("an AgentValet code", "bsec_", rf"{_B64URL}{{43}}{_B64URL_END}"),
    ("an AgentValet code", "itok_", rf"{_B64URL}{{43}}{_B64URL_END}"),
)


class Shape(NamedTuple):
    kind: str
    beginning: str
    pattern: re.Pattern[str]

    def is_in(self, text: str) -> bool:
        """Whether one of these is in the text. A row of x's is somebody's placeholder."""
        return self.beginning in text and any(
            len(set(found.group()[len(self.beginning) :])) >= _FEWEST_DIFFERENT for found in self.pattern.finditer(text)
        )


def _shape(kind: str, beginning: str, rest: str) -> Shape:
    # A word of its own: not in the middle of a longer one. Looking back from behind the literal keeps it a literal
    # prefix, which the search runs on at once.
    literal = re.escape(beginning)
    own_word = f"(?<![A-Za-z0-9]{literal})" if beginning[0].isalnum() else ""
    return Shape(kind, beginning, re.compile(f"{literal}{own_word}{rest}"))


SHAPES = tuple(_shape(*row) for row in _ROWS)
