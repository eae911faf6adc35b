"""Self-registration through HTTP: asking, waiting, claiming the key once; and the owner's side of it."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from django.db import connection as database
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents.keys import make_key_pair, read_public_key
from agents.lifecycle import NotAllowed
from agents.models import Agent, AgentKey, AgentStatus
from agents.onetime import hash_of
from agentvalet.tasks import tidy
from audit.models import AuditEvent
from notifications.models import Notification
from platforms import admissions, registrations
from platforms.asks import Registration
from platforms.grants import Choice, NoSuchScope
from platforms.models import Grant
from tests.world import Side

READ = Choice(platform="acme-chat", scope="chat:read", require_approval=False)
WRITE = Choice(platform="acme-chat", scope="chat:write")


@pytest.fixture(autouse=True)
def unlimited(settings: Settings) -> None:
    """Every test comes from the same address."""
    settings.ANONYMOUS_PER_MINUTE = 0


def body_for(owner: object, **change: Any) -> dict[str, Any]:
    requested = [{"platformId": "acme-chat", "scopes": ["chat:read", "chat:write"]}]
    return {"owner_id": str(owner), "agent_name": "helper", "requested_scopes": requested} | change


def register(client: Client, body: Any, address: str = "192.0.2.1") -> Any:
    where: dict[str, Any] = {"REMOTE_ADDR": address}
    return client.post("/v1/register", json.dumps(body), content_type="application/json", **where)


def get(client: Client, what: str, token: str, **headers: str) -> Any:
    return client.get(f"/v1/register/{what}/{token}", headers=headers)


def now_and_id() -> dict[str, Any]:
    return {"request_id": uuid4(), "now": timezone.now()}


def run_out(token: str, ago: timedelta = timedelta(0)) -> None:
    found = Registration.objects.filter(token_hash=hash_of(token))
    assert found.update(expires_at=timezone.now() - ago) == 1


@pytest.fixture
def token(client: Client, acme: Side) -> str:
    return str(register(client, body_for(acme.owner.pk)).json()["registration_token"])


def let_in(side: Side, *grants: Choice) -> Agent:
    found = Registration.objects.get(owner=side.owner)
    agent = admissions.approve(member=side.admin, registration=found.pk, grants=grants, **now_and_id()).agent
    assert agent is not None
    return agent


def test_a_program_asks_and_people_are_told(client: Client, acme: Side) -> None:
    response = register(client, body_for(acme.owner.pk, agent_description="reads\nthe chat"))
    body = response.json()
    row = Registration.objects.get()
    assert response.status_code == 201
    assert body == {
        "registration_token": body["token"],
        "token": body["token"],
        "poll_url": f"http://localhost:8080/v1/register/status/{body['token']}",
        "client_id": str(row.pk),
        "scope": "acme-chat:chat:read acme-chat:chat:write",
        "expires_in": 600,
    }
    assert (row.agent_name, row.description, row.owner) == ("helper", "reads the chat", acme.owner)
    assert (Notification.objects.get().title, Notification.objects.get().owner) == (
        "helper asks to become an agent",
        acme.owner,
    )
    event = AuditEvent.objects.get()
    assert (event.event, event.owner_id, event.result) == ("registration.requested", acme.owner.pk, "pending")
    assert body["token"] not in json.dumps([*AuditEvent.objects.values(), *Registration.objects.values()], default=str)


def test_the_other_shape_of_the_body_is_understood(client: Client, acme: Side) -> None:
    other = {
        "name": "paper bot",
        "paperclip_agent_id": "x",
        "owner_id": str(acme.owner.pk),
        "requested_scopes": ["slack:read", "slack:channels:write", "github:repo", "slack:read"],
    }
    assert register(client, other).status_code == 201
    row = Registration.objects.get()
    assert row.agent_name == "paper bot"
    assert row.requested == [
        {"platform": "slack", "scopes": ["read", "channels:write"]},
        {"platform": "github", "scopes": ["repo"]},
    ]


def test_nothing_need_be_requested(client: Client, acme: Side) -> None:
    for nothing in ("[]", "null"):
        response = register(client, body_for(acme.owner.pk, requested_scopes=json.loads(nothing)))
        assert response.status_code == 201
        assert "scope" not in response.json()


def test_an_owner_that_does_not_exist_is_answered_alike_to_the_end(client: Client, acme: Side) -> None:
    known, unknown = (register(client, body_for(owner)) for owner in (acme.owner.pk, uuid4()))
    assert known.status_code == unknown.status_code == 201
    assert set(known.json()) == set(unknown.json())
    tokens = [answer.json()["token"] for answer in (known, unknown)]
    assert len({len(token) for token in tokens}) == 1
    for what, status in (("status", 200), ("stream", 200), ("claim-key", 409)):
        answers = [get(client, what, token) for token in tokens]
        assert [answer.status_code for answer in answers] == [status, status]
        if status == 200:
            assert answers[0].content == answers[1].content
    for token in tokens:
        run_out(token)
    assert [get(client, "status", token).status_code for token in tokens] == [410, 410]
    assert not AuditEvent.objects.exclude(owner_id=acme.owner.pk).exists()
    assert Notification.objects.count() == 1


@pytest.mark.parametrize("known", [True, False])
def test_ten_wait_for_an_owner_and_the_next_is_told_when(
    client: Client, acme: Side, stranger: Side, known: bool
) -> None:
    owner = acme.owner.pk if known else uuid4()
    addresses = [f"192.0.2.{number}" for number in range(registrations.MAX_PENDING)]
    tokens = [register(client, body_for(owner), address).json()["token"] for address in addresses]
    refused = register(client, body_for(owner), "198.51.100.1")
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_pending")
    assert 590 < int(refused["Retry-After"]) <= 600
    assert register(client, body_for(stranger.owner.pk)).status_code == 201
    run_out(tokens[0])
    assert register(client, body_for(owner), "198.51.100.1").status_code == 201


@pytest.mark.parametrize("known", [True, False])
def test_one_network_never_takes_all_places_of_an_owner(client: Client, acme: Side, known: bool) -> None:
    owner = acme.owner.pk if known else uuid4()
    addresses = [f"2001:db8::{number}" for number in range(registrations.MAX_PENDING)]
    answers = [register(client, body_for(owner), address) for address in addresses]
    assert [answer.status_code for answer in answers] == [201] * 4 + [429] * 6
    assert 590 < int(answers[-1]["Retry-After"]) <= 600
    assert register(client, body_for(owner), "2001:db8:0:1::1").status_code == 201
    assert register(client, body_for(uuid4()), addresses[0]).status_code == 201


def test_nothing_is_kept_of_what_nobody_will_read(client: Client, db: None) -> None:
    body = body_for(uuid4(), agent_description="reads the chat")
    assert register(client, body).json()["scope"] == "acme-chat:chat:read acme-chat:chat:write"
    row = Registration.objects.get()
    assert (row.owner, row.requested, row.agent_name, row.description) == (None, [], "", "")


@pytest.mark.parametrize("what", ["status", "stream", "claim-key"])
def test_asking_what_became_of_it_is_limited_too(client: Client, acme: Side, settings: Settings, what: str) -> None:
    settings.ANONYMOUS_PER_MINUTE = 2
    answers = [get(client, what, f"reg_{number}") for number in range(3)]
    assert [answer.status_code for answer in answers] == [404, 404, 429]


def test_no_key_pair_is_made_for_a_request_that_is_refused(
    client: Client, acme: Side, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def counted() -> tuple[str, str]:
        made.append(make_key_pair())
        return made[-1]

    monkeypatch.setattr("platforms.registrations.make_key_pair", counted)
    assert [get(client, "claim-key", token).status_code for _ in range(3)] == [409, 409, 409]
    agent = let_in(acme)
    Agent.objects.filter(pk=agent.pk).update(status=AgentStatus.SUSPENDED)
    assert get(client, "claim-key", token).status_code == 403
    assert not made
    Agent.objects.filter(pk=agent.pk).update(status=AgentStatus.ACTIVE)
    assert [get(client, "claim-key", token).status_code for _ in range(3)] == [200, 410, 410]
    assert len(made) == 1


@pytest.mark.parametrize("status", [AgentStatus.SUSPENDED, AgentStatus.REVOKED])
def test_the_token_tells_nothing_of_an_agent_that_was_stopped(
    client: Client, acme: Side, token: str, status: AgentStatus
) -> None:
    agent = let_in(acme, READ)
    get(client, "claim-key", token)
    Agent.objects.filter(pk=agent.pk).update(status=status)
    assert get(client, "status", token).status_code == 410
    assert get(client, "stream", token).content == b'data: {"status": "expired"}\n\n'


def test_soon_after_the_claim_the_token_no_longer_lists_permissions(client: Client, acme: Side, token: str) -> None:
    let_in(acme, READ)
    get(client, "claim-key", token)
    assert get(client, "status", token).json()["granted_platforms"]
    Registration.objects.update(claimed_at=timezone.now() - registrations.SHOWN_AFTER_CLAIM)
    body = get(client, "status", token).json()
    assert set(body) == {"status", "agent_id", "owner_id", "mcp_config"}


def test_an_address_that_asks_too_often_is_held_back(client: Client, acme: Side, settings: Settings) -> None:
    settings.ANONYMOUS_PER_MINUTE = 2
    headers: dict[str, Any] = {"REMOTE_ADDR": f"192.0.2.{uuid4().int % 250}"}
    answers = [
        client.post("/v1/register", json.dumps(body_for(uuid4())), content_type="application/json", **headers)
        for _ in range(3)
    ]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert int(answers[2]["Retry-After"]) > 0


def test_waiting_is_said_without_ids(client: Client, token: str) -> None:
    assert get(client, "status", token).json() == {"status": "pending_approval"}
    stream = get(client, "stream", token, Accept="text/event-stream")
    assert (stream.status_code, stream.content, stream["Content-Type"]) == (200, b": waiting\n\n", "text/event-stream")


def test_the_program_becomes_an_agent_with_what_was_picked(client: Client, acme: Side, token: str) -> None:
    agent = let_in(acme, READ, WRITE)
    assert (agent.name, agent.status, agent.owner, agent.parent) == ("helper", "active", acme.owner, None)
    assert set(Grant.objects.filter(agent=agent).values_list("scope__name", "require_approval")) == {
        ("chat:read", False),
        ("chat:write", True),
    }
    body = get(client, "status", token).json()
    assert set(body) == {"status", "agent_id", "owner_id", "mcp_config", "granted_platforms"}
    assert (body["status"], body["agent_id"], body["owner_id"]) == ("approved", agent.pk, str(acme.owner.pk))
    assert body["mcp_config"]["env"] == {
        "AGENT_ID": agent.pk,
        "OWNER_ID": str(acme.owner.pk),
        "PROXY_URL": "http://localhost:8080",
    }
    assert body["mcp_config"]["claim_key_url"] == f"http://localhost:8080/v1/register/claim-key/{token}"
    assert body["granted_platforms"][0]["scopes"] == ["chat:read", "chat:write"]
    event = get(client, "stream", token, Accept="text/event-stream").content.decode()
    assert json.loads(event.removeprefix("data: ")) == body
    assert [row.event for row in AuditEvent.objects.order_by("seq")] == [
        "registration.requested",
        "agent.created",
        "permission.granted",
        "permission.granted",
        "registration.approved",
    ]
    assert Notification.objects.get().withdrawn_at is not None


def test_letting_in_grants_nothing_by_itself(client: Client, acme: Side, token: str) -> None:
    assert not Grant.objects.filter(agent=let_in(acme)).exists()
    assert get(client, "status", token).json()["granted_platforms"] == []


def test_a_name_that_is_taken_gets_a_number(client: Client, acme: Side) -> None:
    register(client, body_for(acme.owner.pk, agent_name=acme.agent.name))
    assert let_in(acme).name == f"{acme.agent.name} (2)"


def test_the_key_is_made_when_claimed_and_shown_once(client: Client, acme: Side, token: str) -> None:
    assert get(client, "claim-key", token).status_code == 409
    agent = let_in(acme, READ)
    assert not AgentKey.objects.filter(agent=agent).exists()
    answer = get(client, "claim-key", token)
    assert (answer.status_code, answer["Cache-Control"]) == (200, "no-store")
    pem = answer.json()["private_key"]
    assert pem.startswith("-----BEGIN PRIVATE KEY-----")
    assert [get(client, "claim-key", token).status_code for _ in range(2)] == [410, 410]
    assert "claim_key_url" not in get(client, "status", token).json()["mcp_config"]
    everything = json.dumps([*AuditEvent.objects.values(), *AgentKey.objects.values()], default=str)
    assert "PRIVATE" not in everything
    assert pem.splitlines()[3] not in everything


def test_the_claimed_key_signs(client: Client, acme: Side, token: str) -> None:
    agent = let_in(acme, READ)
    pem = get(client, "claim-key", token).json()["private_key"]
    now = int(timezone.now().timestamp())
    claims = {"agent_id": agent.pk, "owner_id": str(acme.owner.pk), "iat": now, "exp": now + 60}
    headers = {"Authorization": f"Bearer {jwt.encode(claims, pem, algorithm='RS256')}"}
    assert client.get("/v1/agent/permissions", headers=headers).json()["platforms"][0]["scopes"] == ["chat:read"]


def test_a_head_or_post_does_not_use_the_key_up(client: Client, acme: Side, token: str) -> None:
    let_in(acme)
    path = f"/v1/register/claim-key/{token}"
    assert (client.head(path).status_code, client.post(path).status_code) == (405, 405)
    assert client.get(path).status_code == 200


def test_an_agent_that_has_got_a_key_in_another_way_has_none_to_claim(client: Client, acme: Side, token: str) -> None:
    agent = let_in(acme)
    pem = AgentKey.objects.get(agent=acme.agent).public_key_pem
    AgentKey.objects.create(
        agent=agent, public_key_pem=pem, thumbprint=read_public_key(pem)[1], retired_at=timezone.now()
    )
    assert get(client, "claim-key", token).status_code == 410


@pytest.mark.parametrize("status", [AgentStatus.SUSPENDED, AgentStatus.REVOKED])
def test_an_agent_that_was_stopped_meanwhile_gets_no_key(
    client: Client, acme: Side, token: str, status: AgentStatus
) -> None:
    agent = let_in(acme)
    Agent.objects.filter(pk=agent.pk).update(status=status)
    refused = get(client, "claim-key", token)
    assert (refused.status_code, refused.json()["reason"]) == (403, f"agent_{status}")
    assert not AgentKey.objects.filter(agent=agent).exists()


def test_a_program_that_is_turned_away_is_told(client: Client, acme: Side, token: str) -> None:
    found = Registration.objects.get()
    admissions.reject(member=acme.admin, registration=found.pk, **now_and_id())
    assert get(client, "status", token).json() == {"status": "rejected"}
    assert get(client, "stream", token).content == b'data: {"status": "rejected"}\n\n'
    assert get(client, "claim-key", token).status_code == 410
    assert AuditEvent.objects.latest("seq").event == "registration.rejected"
    assert Agent.objects.filter(owner=acme.owner).count() == 1
    assert Notification.objects.get().withdrawn_at is not None


def test_what_nobody_decided_in_time_is_gone(client: Client, acme: Side, token: str) -> None:
    run_out(token)
    assert get(client, "status", token).status_code == 410
    assert get(client, "stream", token).content == b'data: {"status": "expired"}\n\n'
    assert get(client, "claim-key", token).status_code == 410
    with pytest.raises(admissions.AlreadyDecided):
        let_in(acme)


def test_the_answer_can_be_read_for_a_day(client: Client, acme: Side, token: str) -> None:
    let_in(acme)
    row = Registration.objects.get()
    assert row.decided_at is not None
    assert row.expires_at - row.decided_at == timedelta(days=1)
    run_out(token)
    assert [get(client, what, token).status_code for what in ("status", "claim-key")] == [410, 410]


GUESSES = ["x", "reg_", "reg_" + "A" * 43, "%00", "..", "é", "a" * 5000, "' OR 1=1--"]


@pytest.mark.parametrize("guess", GUESSES)
@pytest.mark.parametrize("what", ["status", "stream", "claim-key"])
def test_a_guessed_token_finds_nothing(client: Client, acme: Side, what: str, guess: str) -> None:
    assert get(client, what, guess, Accept="text/event-stream").status_code == 404


@pytest.mark.parametrize("verb", ["approve", "reject"])
@pytest.mark.parametrize("role", ["approver", "auditor"])
def test_only_an_admin_lets_in(acme: Side, token: str, verb: str, role: str) -> None:
    found = Registration.objects.get()
    more: dict[str, Any] = {"grants": []} if verb == "approve" else {}
    with pytest.raises(NotAllowed):
        getattr(admissions, verb)(member=acme.members[role], registration=found.pk, **more, **now_and_id())
    assert Registration.objects.get().status == "pending"


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_the_admin_of_a_stranger_finds_nothing(acme: Side, stranger: Side, token: str, verb: str) -> None:
    found = Registration.objects.get()
    more: dict[str, Any] = {"grants": []} if verb == "approve" else {}
    with pytest.raises(Registration.DoesNotExist):
        getattr(admissions, verb)(member=stranger.admin, registration=found.pk, **more, **now_and_id())


def test_one_decision(acme: Side, token: str) -> None:
    let_in(acme)
    verbs: dict[str, dict[str, Any]] = {"approve": {"grants": []}, "reject": {}}
    for verb, more in verbs.items():
        with pytest.raises(admissions.AlreadyDecided):
            getattr(admissions, verb)(
                member=acme.admin, registration=Registration.objects.get().pk, **more, **now_and_id()
            )
    assert Agent.objects.filter(owner=acme.owner).count() == 2


def test_a_grant_of_what_is_not_the_owners_lets_nobody_in(acme: Side, stranger: Side, token: str) -> None:
    for choice in (
        Choice(platform="acme-chat", scope="chat:admin"),
        Choice(platform="acme-chat", scope="chat:read", connection_id=stranger.connection.pk),
    ):
        with pytest.raises(NoSuchScope):
            let_in(acme, READ, choice)
    assert Registration.objects.get().status == "pending"
    assert Agent.objects.filter(owner=acme.owner).count() == 1
    assert AuditEvent.objects.get().event == "registration.requested"


def test_dead_registrations_are_swept_and_their_lines_taken_out(client: Client, acme: Side, token: str) -> None:
    run_out(token, ago=timedelta(days=1, seconds=1))
    nobody = register(client, body_for(uuid4())).json()["token"]
    assert get(client, "status", token).status_code == 404
    assert Notification.objects.get().withdrawn_at is not None
    run_out(nobody, ago=timedelta(hours=23))
    register(client, body_for(uuid4()))
    assert get(client, "status", nobody).status_code == 410


OWNER = UUID(int=1)
BAD: list[Any] = [
    {},
    body_for("not-a-uuid"),
    body_for(""),
    body_for(OWNER, owner_id=None),
    body_for(OWNER, owner_id=7),
    body_for(OWNER, agent_name=None),
    body_for(OWNER, agent_name=""),
    body_for(OWNER, agent_name=" \n"),
    body_for(OWNER, agent_name="\u200b"),
    body_for(OWNER, agent_name="x" * 201),
    body_for(OWNER, agent_name=["x"]),
    body_for(OWNER, agent_description=5),
    body_for(OWNER, requested_scopes={}),
    body_for(OWNER, requested_scopes="slack:read"),
    body_for(OWNER, requested_scopes=[None]),
    body_for(OWNER, requested_scopes=["slack"] * 26),
    body_for(OWNER, requested_scopes=["Slack:read"]),
    body_for(OWNER, requested_scopes=["slack:<b>"]),
    body_for(OWNER, requested_scopes=[{"platformId": "slack"}]),
    body_for(OWNER, requested_scopes=[{"platformId": "slack", "scopes": "read"}]),
    body_for(OWNER, requested_scopes=[{"platformId": "slack", "scopes": ["x" * 129]}]),
    body_for(OWNER, requested_scopes=[{"platformId": "slack", "scopes": ["x"] * 101}]),
    body_for(OWNER, requested_scopes=[{"platformId": "s" * 64, "scopes": []}]),
    [],
    None,
    "register",
]


@pytest.mark.parametrize("body", BAD)
def test_what_is_no_registration_is_refused(client: Client, db: None, body: Any) -> None:
    response = register(client, body)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    assert not Registration.objects.exists()


def test_limits_are_inclusive(client: Client, acme: Side) -> None:
    entry = {"platformId": "s" * 63, "scopes": ["x" * 128] * 100}
    body = body_for(acme.owner.pk, agent_name="n" * 200, agent_description="d" * 2000, requested_scopes=[entry] * 25)
    assert register(client, body).status_code == 201
    assert len(Registration.objects.get().description) == 1000


@pytest.mark.parametrize(
    ("scopes", "length", "status"), [(100, 20, 201), (101, 20, 400), (60, 127, 201), (65, 127, 400)]
)
def test_all_entries_together_are_as_much_as_a_person_reads(
    client: Client, acme: Side, scopes: int, length: int, status: int
) -> None:
    names = [f"s{number:03}".ljust(length, "x") for number in range(scopes)]
    requested = [{"platformId": f"p{at}", "scopes": names[at::5]} for at in range(5)]
    assert register(client, body_for(acme.owner.pk, requested_scopes=requested)).status_code == status
    assert Registration.objects.exists() is (status == 201)


def test_the_daily_task_removes_what_is_dead(client: Client, acme: Side, token: str) -> None:
    for number in range(registrations.MAX_PENDING_OF_ADDRESS):
        register(client, body_for(acme.owner.pk), f"198.51.100.{number}")
    Registration.objects.update(expires_at=timezone.now() - timedelta(days=2))
    Registration.objects.filter(token_hash=hash_of(token)).update(expires_at=timezone.now() - timedelta(hours=23))
    tidy()
    assert Registration.objects.filter(token_hash=hash_of(token)).exists()
    assert Registration.objects.count() == 1
    assert Notification.objects.filter(withdrawn_at=None).count() == 1


def test_a_registration_is_looked_up_by_an_index(client: Client, acme: Side, token: str) -> None:
    with database.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("EXPLAIN SELECT 1 FROM platforms_registration WHERE token_hash = '\\x00'")
        assert "token_hash" in str(cursor.fetchall())
