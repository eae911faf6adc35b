"""Connections whose credential is renewed: what the forms take, and what no page shows again."""

import json

import pytest
from django.test import Client

from platforms.models import Connection, Platform, credential_aad
from platforms.vault import Sealed, open_sealed
from tests.pages.scene import Scene
from tests.pages.test_custom_platforms import GOOD
from tests.world import change_platform

SECRET = "a-secret-of-the-client-0123456789"
TOKEN = "1//a-refresh-token-0123456789"
REFRESH = {"token_url": "https://auth.example.com/token", "client": "body"}


def stored(row: Connection) -> str:
    sealed = Sealed(row.credential_key_id, bytes(row.credential_wrapped_key), bytes(row.credential_ciphertext))
    return open_sealed(sealed, aad=credential_aad(connection_id=row.pk, version=row.credential_version))


def test_a_refresh_token_is_sealed_with_its_client(scene: Scene, admin: Client) -> None:
    change_platform(scene.platform, auth={"type": "bearer", "refresh": REFRESH})
    address = f"/connections/{scene.connection.pk}/reauth"
    assert b'name="refresh_token"' in admin.get(address).content
    said = {"refresh_token": TOKEN, "client_id": "our-client", "client_secret": SECRET}
    assert admin.post(address, said).status_code == 303
    row = Connection.objects.get(pk=scene.connection.pk)
    assert json.loads(stored(row)) == said
    assert admin.post(address, {"credential": "an-access-token-alone"}).status_code == 303
    assert stored(Connection.objects.get(pk=row.pk)) == "an-access-token-alone"


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"client_id": "our-client", "client_secret": SECRET},
        {"refresh_token": TOKEN, "client_secret": SECRET},
        {"refresh_token": TOKEN, "client_id": "our-client", "credential": "an-access-token-too"},
    ],
)
def test_a_form_that_lacks_a_part_comes_back_without_secrets(scene: Scene, admin: Client, said: dict[str, str]) -> None:
    change_platform(scene.platform, auth={"type": "bearer", "refresh": REFRESH})
    answer = admin.post(f"/connections/{scene.connection.pk}/reauth", said)
    assert answer.status_code == 400
    assert not any(secret in answer.content.decode() for secret in (TOKEN, SECRET, "an-access-token-too"))
    assert Connection.objects.get(pk=scene.connection.pk).credential_version == 1


def test_a_custom_platform_says_where_its_tokens_are_renewed(scene: Scene, admin: Client) -> None:
    custom = GOOD | {"token_url": "https://auth.example.com/token", "token_client": "basic"}
    assert admin.post("/catalogue/custom", custom).status_code == 303
    assert Platform.objects.get(slug="wiki").auth["refresh"] == REFRESH | {"client": "basic"}
    assert b"https://auth.example.com/token" in admin.get("/platforms/wiki").content
    for wrong in ("http://127.0.0.1:9/token", "auth.example.com", "https://user@auth.example.com/"):
        assert admin.post("/catalogue/custom", custom | {"slug": "w2", "token_url": wrong}).status_code == 400
