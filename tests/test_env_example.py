"""`.env.example` and the settings name the same variables, with the same defaults."""

from agentvalet import settings

SECRETS = {
    "AGENTVALET_SECRET_KEY",
    "AGENTVALET_VAULT_KEYS",
    "AGENTVALET_SEAL_KEY",
    "AGENTVALET_AUDIT_KEY",
    "AGENTVALET_TOKEN_KEY",
    "AGENTVALET_RECEIPT_KEY",
    "AGENTVALET_VAPID_KEY",
}


def documented() -> dict[str, str]:
    lines = (settings.BASE_DIR / ".env.example").read_text().splitlines()
    settable = [line.removeprefix("#") for line in lines if line[1:2].isupper() or line[:1].isupper()]
    return {name: value for name, separator, value in (line.partition("=") for line in settable) if separator}


def test_every_setting_is_documented_with_its_default() -> None:
    assert documented() == {
        name: ",".join(default) if isinstance(default, list) else str(default)
        for name, (_, default) in settings.env.scheme.items()
    }


def test_the_example_holds_no_secret() -> None:
    assert documented().keys() >= SECRETS
    assert {documented()[name] for name in SECRETS} == {""}
