"""The dry-run box, and undoing: an agent's page says what would become of a call, and puts back what was pressed."""

import re

import pytest
from django.test import Client
from django.utils import timezone

from agents.models import Agent, AgentStatus
from audit.models import AuditEvent
from platforms.models import Connection, Grant, Platform, Scope
from tests.pages import asks
from tests.pages.scene import Scene, signed_in

CALL = {"scope": "acme-chat:chat:write", "method": "POST", "endpoint": "/api/messages?x=1"}


def tried(client: Client, scene: Scene, **change: str) -> str:
    response = client.get(f"/agents/{scene.agent.pk}", CALL | change)
    assert response.status_code == 200
    return response.content.decode().partition('role="status"><strong>')[2].partition("</p>")[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "It would wait."),
        ({"method": "post"}, "It would wait."),
        ({"endpoint": "/else"}, "endpoint_scope_mismatch"),
        ({"scope": "acme-chat:chat:admin"}, "scope_not_granted"),
        ({"scope": "other:x"}, "scope_not_granted"),
        ({"scope": "acme-chat"}, "scope_not_granted"),
        ({"endpoint": "api"}, "must be a path"),
        ({"endpoint": "/api/../x"}, "segment"),
        ({"endpoint": "/api/<b>"}, "percent-encoded"),
        ({"method": "A B"}, "not a method"),
    ],
)
def test_it_says_what_would_become_of_a_call(scene: Scene, admin: Client, change: dict[str, str], said: str) -> None:
    asks.add_scope(scene)
    before = AuditEvent.objects.count()
    assert said in tried(admin, scene, **change)
    assert AuditEvent.objects.count() == before


def test_it_offers_the_methods_that_some_scope_covers_and_says_of_each_scope_which(scene: Scene, admin: Client) -> None:
    Scope.objects.update(rules=["POST /api/**", "DELETE /api/*", "POST /x"])

    def offered(**query: str) -> list[str]:
        html = admin.get(f"/agents/{scene.agent.pk}", query).content.decode()
        assert "acme-chat / chat:write: POST, DELETE</option>" in html
        return re.findall(r"<option(?: selected)?>(\w+)</option>", html)

    assert offered() == ["POST", "DELETE"]
    assert offered(**CALL | {"method": "put"}) == ["POST", "DELETE", "PUT"]
    asks.add_scope(scene)
    Scope.objects.filter(name="chat:admin").update(rules=["GET /a", "* /b"])
    assert offered() == ["GET", "POST", "PUT", "PATCH", "DELETE"]
    assert "chat:admin: any</option>" in admin.get(f"/agents/{scene.agent.pk}").content.decode()


def test_it_asks_what_every_call_is_asked(scene: Scene, admin: Client) -> None:
    Scope.objects.update(step_up="passkey")
    assert "once a person has approved it with a passkey." in tried(admin, scene)
    Grant.objects.update(require_approval=False)
    answer = tried(admin, scene)
    assert "Allowed." in answer
    assert "POST https://chat.example.com/api/messages?x=1 goes out on the connection Main" in answer
    Connection.objects.update(require_approval=True)
    assert "It would wait." in tried(admin, scene)
    Platform.objects.update(suspended_at=timezone.now())
    assert "platform_suspended" in tried(admin, scene)
    Platform.objects.update(suspended_at=None)
    Connection.objects.all().delete()
    assert "no_credential" in tried(admin, scene)
    Agent.objects.update(status=AgentStatus.SUSPENDED)
    assert "agent_suspended" in tried(admin, scene)


def test_everybody_of_the_owner_may_ask_and_nobody_else(scene: Scene, stranger: Client) -> None:
    assert "It would wait." in tried(signed_in(scene.auditor), scene)
    assert stranger.get(f"/agents/{scene.agent.pk}", CALL).status_code == 404


@pytest.mark.parametrize(
    "query", ["changed=x", "taken=0", "taken=9999999999999999999999", "taken=1", "endpoint=%00&scope=a"]
)
def test_an_address_made_by_hand_shows_the_page(scene: Scene, admin: Client, query: str) -> None:
    assert admin.get(f"/agents/{scene.agent.pk}?{query}").status_code == 200


def test_a_toggle_offers_its_undo(scene: Scene, admin: Client) -> None:
    row = asks.grant(scene)
    response = admin.post(f"/agents/{scene.agent.pk}/permissions/{row.pk}/approval", {"require_approval": "0"})
    html = admin.get(response["Location"]).content.decode()
    assert ">Undo<" in html
    assert 'name="require_approval" value="1"' in html
    assert ">Undo<" not in admin.get(f"/agents/{scene.agent.pk}").content.decode()


def test_a_revoked_permission_comes_back_as_it_was(scene: Scene, admin: Client) -> None:
    row = asks.grant(scene)
    Grant.objects.filter(pk=row.pk).update(connection=scene.connection, require_approval=True)
    response = admin.post(f"/agents/{scene.agent.pk}/permissions/{row.pk}/revoke")
    html = admin.get(response["Location"]).content.decode()
    assert "acme-chat / chat:write is revoked." in html
    sent = {"scope": "acme-chat:chat:write", "connection": str(scene.connection.pk), "require_approval": "on"}
    for name, value in sent.items():
        assert f'name="{name}" value="{value}"' in html
    admin.post(f"/agents/{scene.agent.pk}/permissions", sent)
    back = Grant.objects.get(agent=scene.agent, revoked_at=None)
    assert (back.connection_id, back.require_approval) == (scene.connection.pk, True)
    assert "is revoked." not in admin.get(response["Location"]).content.decode().split("<main", 1)[1]


def test_each_scope_says_what_it_covers(scene: Scene, admin: Client) -> None:
    asks.add_scope(scene)
    Scope.objects.filter(name="chat:admin").update(covers="Closes channels.\u202e")
    html = admin.get(f"/agents/{scene.agent.pk}").content.decode()
    assert "Closes channels." in html
    assert "\u202e" not in html
    assert "* /api/**" in html
