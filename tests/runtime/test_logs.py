"""A token that stands in a path never gets into the log, not even with the traceback of an error of ours."""

import logging
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils.module_loading import import_string

SECRET = "reg_0123456789abcdefghijklmnopqrstuvwxyz"
PATHS = [f"/v1/register/{what}/{SECRET}" for what in ("status", "stream", "claim-key")] + [
    f"/v1/revoke-request/stream/{SECRET}"
]


def as_written(record: logging.LogRecord) -> str:
    """The line as every handler writes it."""
    configured: Any = settings.LOGGING
    line = configured["formatters"]["line"]
    assert {handler["formatter"] for handler in configured["handlers"].values()} == {"line"}
    return str(import_string(line["()"])(line["format"]).format(record))


@pytest.mark.parametrize("path", PATHS)
def test_a_path_with_a_token_is_cut(
    client: Client, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError(f"while answering {path}?x=1")

    for verb in ("platforms.registration_api.outcome", "platforms.registration_api.claim_key"):
        monkeypatch.setattr(verb, broken)
    monkeypatch.setattr("notifications.uninstalls.status_of", broken)
    client.raise_request_exception = False
    assert client.get(path).status_code == 500
    lines = [as_written(record) for record in caplog.records]
    assert any(f"{path.rpartition('/')[0]}/…" in line and "RuntimeError" in line for line in lines)
    assert not [line for line in lines if SECRET in line]
