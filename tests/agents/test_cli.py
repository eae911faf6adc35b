"""The registration command line: signing in through the browser, registering, listing, revoking."""

import json
import re
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives import serialization
from django.conf import settings
from django.test import Client
from django.utils import timezone

from agents.models import Agent, AgentKey, CliLogin, CliToken, Member, User
from audit.models import AuditEvent
from tests.agents.people import events, look, make_child
from tests.world import PASSWORD, Side, assertion, make_member

PORT = 43117


def post(client: Client, path: str, body: Any, token: str = "") -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return client.post(f"/functions/v1/{path}", json.dumps(body), content_type="application/json", headers=headers)


def browser_of(member: Member) -> Client:
    """Signed in, and just confirmed."""
    browser = Client()
    browser.force_login(member.user)
    session = browser.session
    session["confirmed_at"] = timezone.now().timestamp()
    session.save()
    return browser


def confirm(member: Member, state: str, port: object = PORT) -> Any:
    return browser_of(member).post("/cli-auth", {"state": state, "port": port})


def code_in(answer: Any) -> str:
    assert answer.status_code == 302
    return parse_qs(urlsplit(str(answer["Location"])).query)["code"][0]


def signed_in(client: Client, member: Member) -> dict[str, Any]:
    """The whole dance, as the published client does it."""
    state = str(uuid4())
    assert post(client, "cli-auth", {"action": "init", "state": state, "port": PORT}).status_code == 200
    exchanged = post(
        client, "cli-auth", {"action": "exchange", "state": state, "code": code_in(confirm(member, state))}
    )
    assert exchanged.status_code == 200
    body: dict[str, Any] = exchanged.json()
    return body


def token_of(client: Client, member: Member) -> str:
    return str(signed_in(client, member)["cli_token"])


def register(client: Client, side: Side, token: str, **change: Any) -> Any:
    body = {"owner_id": str(side.owner.pk), "name": "laptop — project", "source": "cli", "agent_type": "claude-code"}
    return post(client, "cli-register-agent", body | change, token)


def listed(client: Client, token: str) -> Any:
    return client.get("/functions/v1/list-agents", headers={"Authorization": f"Bearer {token}"})


def test_signing_in_goes_through_the_browser_and_back_to_loopback(client: Client, acme: Side) -> None:
    state = str(uuid4())
    page = browser_of(acme.admin).get("/cli-auth", {"state": state, "port": str(PORT)})
    assert page.status_code == 200
    html = page.content.decode()
    assert "admin@acme.example" in html
    assert "Acme" in html
    assert f"(port {PORT})" in html
    assert not CliLogin.objects.exists()  # looking changes nothing
    answer = confirm(acme.admin, state)
    assert re.fullmatch(rf"http://127\.0\.0\.1:{PORT}/callback\?code=code_[\w-]{{43}}", answer["Location"])
    exchanged = post(client, "cli-auth", {"action": "exchange", "state": state, "code": code_in(answer)})
    body = exchanged.json()
    assert body.pop("cli_token").startswith("avcli_")
    assert body == {
        "owner_id": str(acme.owner.pk),
        "email": "admin@acme.example",
        "proxy_url": settings.PUBLIC_URL,
    }
    assert exchanged["Cache-Control"] == "no-store"
    row = AuditEvent.objects.get()
    assert (row.event, row.actor_label) == ("member.cli_signed_in", "admin@acme.example")


def test_only_hashes_are_kept(client: Client, acme: Side) -> None:
    token = token_of(client, acme.admin)
    assert len(CliToken.objects.get().token_hash) == len(CliLogin.objects.get().code_hash) == 32
    assert token.encode() not in bytes(CliToken.objects.get().token_hash)
    assert token not in str(AuditEvent.objects.values())


def test_the_page_may_send_its_form_to_that_port_of_loopback_and_nowhere_else(acme: Side) -> None:
    page = browser_of(acme.admin).get("/cli-auth", {"state": str(uuid4()), "port": str(PORT)})
    assert f"form-action 'self' http://127.0.0.1:{PORT};" in f"{page['Content-Security-Policy']};"
    assert "http://127.0.0.1" not in browser_of(acme.admin).get("/approvals")["Content-Security-Policy"]


def test_a_found_session_lets_no_command_line_in(acme: Side) -> None:
    """The page that asks for the password may lead to the command line's port, also when the password was wrong."""
    browser = Client()
    browser.force_login(acme.admin.user)
    asked = browser.post("/cli-auth", {"state": str(uuid4()), "port": PORT})
    for password, status in (("wrong", 400), (PASSWORD, 302)):
        assert "Confirm that it is you" in asked.content.decode()
        assert f"form-action 'self' http://127.0.0.1:{PORT};" in f"{asked['Content-Security-Policy']};"
        assert not CliLogin.objects.exists()
        (sealed,) = re.findall(r'name="confirm_form" value="([^"]+)"', asked.content.decode())
        asked = browser.post("/cli-auth", {"confirm_form": sealed, "confirm_password": password})
        assert asked.status_code == status
    assert asked["Location"].startswith(f"http://127.0.0.1:{PORT}/callback?code=")


def test_a_stranger_to_the_site_signs_in_first_and_comes_back(acme: Side) -> None:
    answer = Client().get("/cli-auth", {"state": str(uuid4()), "port": str(PORT)})
    assert answer.status_code == 302
    assert answer["Location"].startswith("/sign-in?next=/cli-auth%3Fstate%3D")


def test_letting_in_needs_the_form_of_our_page(acme: Side) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(acme.admin.user)
    assert browser.post("/cli-auth", {"state": str(uuid4()), "port": PORT}).status_code == 403
    assert not CliLogin.objects.exists()


@pytest.mark.parametrize("port", ["", "80", "1023", "65536", "-1", "x", "4317.5", "43117@evil.example", "１", None])
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_port_that_is_none_leads_nowhere(acme: Side, port: object, method: str) -> None:
    data = {"state": str(uuid4())} | ({} if port is None else {"port": port})
    answer = getattr(browser_of(acme.admin), method)("/cli-auth", data)
    assert answer.status_code == 400
    assert not CliLogin.objects.exists()


@pytest.mark.parametrize("port", [1024, 65535])
def test_every_port_of_a_user_is_taken(acme: Side, port: int) -> None:
    assert confirm(acme.admin, str(uuid4()), port)["Location"].startswith(f"http://127.0.0.1:{port}/callback?")


@pytest.mark.parametrize("state", ["", "x", "' OR 1=1", "0" * 400])
def test_a_state_that_is_none_leads_nowhere(acme: Side, state: str) -> None:
    assert confirm(acme.admin, state).status_code == 400


def test_a_state_serves_once(acme: Side) -> None:
    state = str(uuid4())
    confirm(acme.admin, state)
    again = confirm(acme.admin, state)
    assert again.status_code == 400
    assert "used before" in again.content.decode()


def test_a_code_serves_once_for_its_own_state_and_two_minutes(client: Client, acme: Side) -> None:
    def exchange(state: str, code: str) -> int:
        return int(post(client, "cli-auth", {"action": "exchange", "state": state, "code": code}).status_code)

    state, other = str(uuid4()), str(uuid4())
    code, other_code = code_in(confirm(acme.admin, state)), code_in(confirm(acme.approver, other))
    assert exchange(state, other_code) == exchange(other, code) == exchange(state, "code_unknown") == 410
    assert exchange(state, code) == 200
    assert exchange(state, code) == 410
    CliLogin.objects.update(expires_at=timezone.now())
    assert exchange(other, other_code) == 410
    assert CliToken.objects.count() == 1


BAD_AUTH: list[dict[str, Any]] = [
    {},
    {"action": "init"},
    {"action": "login", "state": str(uuid4()), "port": PORT},
    {"action": "init", "state": "x", "port": PORT},
    {"action": "init", "state": str(uuid4())},
    {"action": "init", "state": str(uuid4()), "port": 1023},
    {"action": "init", "state": str(uuid4()), "port": 65536},
    {"action": "exchange", "state": str(uuid4())},
    {"action": "exchange", "state": str(uuid4()), "code": 5},
    {"action": "exchange", "state": str(uuid4()), "code": "c" * 201},
    {"action": ["init"], "state": {}, "port": []},
]


@pytest.mark.parametrize("body", BAD_AUTH)
def test_an_incomplete_sign_in_is_a_bad_request(client: Client, db: None, body: dict[str, Any]) -> None:
    assert post(client, "cli-auth", body).status_code == 400


def test_an_agent_is_registered_with_a_key_that_is_answered_once(client: Client, acme: Side) -> None:
    answer = register(client, acme, token_of(client, acme.admin))
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"
    body = answer.json()
    assert set(body) == {"agent_id", "agent_name", "private_key_pem", "public_key_pem"}
    assert body["private_key_pem"].startswith("-----BEGIN PRIVATE KEY-----")
    agent = Agent.objects.get(pk=body["agent_id"])
    assert (agent.name, agent.status, agent.kind) == ("laptop — project", "active", "claude-code")
    assert agent.owner == acme.owner
    assert AgentKey.objects.get(agent=agent).public_key_pem == body["public_key_pem"]
    secret = body["private_key_pem"].splitlines()[1]
    assert secret not in str(AgentKey.objects.values()) + str(AuditEvent.objects.values())
    assert not agent.grants.exists()
    assert [name for event, name in events(acme)][1:] == ["laptop — project"] * 2
    assert [event for event, _ in events(acme)] == ["member.cli_signed_in", "agent.created", "agent.key_bound"]


def test_the_key_signs(client: Client, acme: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    body = register(client, acme, token_of(client, acme.admin)).json()
    key = serialization.load_pem_private_key(body["private_key_pem"].encode(), password=None)
    monkeypatch.setattr("tests.world.rsa_key", lambda name: key)
    agent = Agent.objects.get(pk=body["agent_id"])
    assert look(client, assertion(agent)).status_code == 404


def test_the_same_folder_registered_twice_gets_a_number(client: Client, acme: Side) -> None:
    token = token_of(client, acme.admin)
    register(client, acme, token)
    assert register(client, acme, token).json()["agent_name"] == "laptop — project (2)"


BAD_AGENTS: list[dict[str, Any]] = [
    {"name": ""},
    {"name": " "},
    {"name": "\u200b"},
    {"name": "n" * 201},
    {"name": 5},
    {"name": None},
    {"name": "a\0b"},
    {"owner_id": "x"},
    {"owner_id": None},
    {"description": "d" * 1001},
    {"agent_type": ["claude-code"]},
]


@pytest.mark.parametrize("change", BAD_AGENTS)
def test_a_registration_that_makes_no_sense_is_a_bad_request(
    client: Client, acme: Side, change: dict[str, Any]
) -> None:
    assert register(client, acme, token_of(client, acme.admin), **change).status_code == 400
    assert Agent.objects.filter(owner=acme.owner).count() == 1


@pytest.mark.parametrize(
    "change", [{"description": None, "agent_type": None}, {"agent_type": "next-ide"}, {"name": "n" * 200}]
)
def test_what_clients_leave_out_or_invent_is_taken(client: Client, acme: Side, change: dict[str, Any]) -> None:
    assert register(client, acme, token_of(client, acme.admin), **change).status_code == 200


@pytest.mark.parametrize("role", ["approver", "auditor"])
def test_only_an_admin_registers_and_revokes(client: Client, acme: Side, role: str) -> None:
    token = token_of(client, acme.members[role])
    assert register(client, acme, token).status_code == 403
    assert post(client, "revoke-agent", {"agentId": acme.agent.pk}, token).status_code == 403
    assert [agent["status"] for agent in listed(client, token).json()] == ["active"]


def test_the_list_is_a_bare_array_of_the_owners_agents(client: Client, acme: Side, stranger: Side) -> None:
    make_child(acme)
    answer = listed(client, token_of(client, acme.auditor))
    assert answer.json() == [{"id": acme.agent.pk, "name": "Acme bot", "status": "active"}]


def test_revoking_names_every_agent_that_ended(client: Client, acme: Side) -> None:
    child, token = make_child(acme), token_of(client, acme.admin)
    answer = post(client, "revoke-agent", {"agentId": acme.agent.pk}, token)
    assert answer.json() == {"revokedAgentIds": [acme.agent.pk, child.pk]}
    assert post(client, "revoke-agent", {"agentId": acme.agent.pk}, token).json() == {
        "revokedAgentIds": [acme.agent.pk]
    }
    assert listed(client, token).json()[0]["status"] == "revoked"
    assert look(client, assertion(acme.agent)).json()["reason"] == "agent_revoked"


@pytest.mark.parametrize("agent_id", ["agt_unknown", "' OR 1=1 --", "é" * 100])
def test_an_unknown_agent_is_not_found(client: Client, acme: Side, agent_id: str) -> None:
    assert post(client, "revoke-agent", {"agentId": agent_id}, token_of(client, acme.admin)).status_code == 404


@pytest.mark.parametrize(
    "body", [{}, {"agentId": None}, {"agentId": 5}, {"agentId": "a" * 101}, {"agentId": "a\0"}, []]
)
def test_what_names_no_agent_is_a_bad_request(client: Client, acme: Side, body: object) -> None:
    assert post(client, "revoke-agent", body, token_of(client, acme.admin)).status_code == 400


def test_a_stranger_can_do_nothing_to_an_owners_agents(client: Client, acme: Side, stranger: Side) -> None:
    token = token_of(client, stranger.admin)
    assert register(client, acme, token).status_code == 404
    assert post(client, "revoke-agent", {"agentId": acme.agent.pk}, token).status_code == 404
    assert [agent["id"] for agent in listed(client, token).json()] == [stranger.agent.pk]
    assert Agent.objects.filter(owner=acme.owner, status="active").count() == 1


def test_a_code_is_worth_nothing_once_its_person_was_switched_off(client: Client, acme: Side) -> None:
    state = str(uuid4())
    code = code_in(confirm(acme.admin, state))
    User.objects.filter(pk=acme.admin.user_id).update(is_active=False)
    answer = post(client, "cli-auth", {"action": "exchange", "state": state, "code": code})
    assert answer.status_code == 410
    assert not CliToken.objects.exists()


def test_a_session_ends_with_its_time_its_member_and_its_user(client: Client, acme: Side) -> None:
    late, inactive = make_member(acme.owner, "late@acme.example", "admin"), acme.approver  # type: ignore[arg-type]
    tokens = [token_of(client, member) for member in (acme.admin, late, inactive)]
    assert [listed(client, token).status_code for token in tokens] == [200, 200, 200]
    CliToken.objects.filter(member=acme.admin).update(expires_at=timezone.now())
    late.delete()
    inactive.user.is_active = False
    inactive.user.save()
    assert [listed(client, token).status_code for token in tokens] == [401, 401, 401]


def test_a_session_lasts_thirty_days(client: Client, acme: Side) -> None:
    token_of(client, acme.admin)
    made = CliToken.objects.get()
    assert made.expires_at - made.created_at == timedelta(days=30)


def test_a_role_that_was_taken_away_is_gone_at_once(client: Client, acme: Side) -> None:
    token = token_of(client, acme.admin)
    Member.objects.filter(pk=acme.admin.pk).update(role="auditor")
    assert register(client, acme, token).status_code == 403


def test_tokens_of_agents_and_of_command_lines_do_not_mix(client: Client, acme: Side) -> None:
    token = token_of(client, acme.admin)
    assert look(client, token).status_code == 401
    assert listed(client, assertion(acme.agent)).status_code == 401


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer avcli_unknown", "Basic eDp5", "Bearer " + "x" * 300, "Bearer é"]
)
def test_without_a_session_there_is_nothing(client: Client, acme: Side, header: str) -> None:
    answer = client.get("/functions/v1/list-agents", headers={"Authorization": header})
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")
    for path in ("cli-register-agent", "revoke-agent"):
        assert post(client, path, {}).status_code == 401


@pytest.mark.parametrize("path", ["/functions/v1/cli-account", "/v1/cli/account", "/v1/cli/register-agent"])
@pytest.mark.parametrize("token", ["", "owner"])
def test_the_older_ways_in_are_closed_and_say_what_to_use(client: Client, acme: Side, path: str, token: str) -> None:
    headers = {"Authorization": f"Bearer {acme.owner.pk}"} if token else {}
    body = {"github_token": "gho_x", "name": "x"}
    answer = client.post(path, json.dumps(body), content_type="application/json", headers=headers)
    assert answer.status_code == 410
    assert "agentvalet-register" in answer.json()["message"]
    assert answer.json()["error"] == answer.json()["message"]
    assert client.get(path).status_code == 410
