"""The first run: every page leads to /set-up, the console's secret makes the first owner once, and the steps follow."""

import re
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.html import escape
from pytest_django.fixtures import Settings

from agents.first_owner import AlreadySetUp, make_first_owner
from agents.models import Agent, AgentKey, Member, Owner, User
from agents.set_up_secret import set_up_secret
from audit.models import AuditEvent
from platforms.models import Connection, Grant, Platform
from tests.pages.scene import Scene, make_scene, signed_in

GOOD = {
    "owner_name": "Acme\u202e  Inc",
    "email": "Boss@Acme.example",
    "name": "The Boss",
    "password": "a quite different phrase",
    "again": "a quite different phrase",
}


def set_up(client: Client | None = None, **change: str) -> Any:
    return (client or Client()).post("/set-up", GOOD | {"secret": set_up_secret()} | change)


@pytest.mark.parametrize(
    "path", ["/", "/approvals", "/settings", "/sign-in", "/admin/", "/agents/new", "/set-up/steps"]
)
def test_every_page_leads_to_the_set_up(db: None, path: str) -> None:
    response = Client().get(path)
    assert (response.status_code, response["Location"]) == (302, "/set-up")
    page = Client().get("/set-up")
    assert (page.status_code, "Set up AgentValet" in page.content.decode()) == (200, True)
    assert "no-store" in page["Cache-Control"]


def test_agents_are_refused_as_ever(db: None) -> None:
    assert Client().get("/v1/agent/permissions").status_code == 401
    assert Client().get("/health").status_code == 200


def test_a_person_without_an_owner_is_led_there_too(db: None) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root@acme.example", "a quite different phrase"))
    assert client.get("/approvals")["Location"] == "/set-up"


def test_the_secret_makes_the_owner_and_its_admin_who_is_signed_in(db: None) -> None:
    client = Client()
    assert set_up(client)["Location"] == "/set-up/steps"
    member = Member.objects.get()
    assert (member.owner.name, member.role, member.user.email, member.user.name, member.user.is_staff) == (
        "Acme Inc",
        "admin",
        "boss@acme.example",
        "The Boss",
        True,
    )
    assert client.get("/set-up/steps").status_code == 200
    rows = AuditEvent.objects.order_by("seq")
    assert [(row.event, row.actor_id) for row in rows] == [("owner.created", "set-up"), ("member.added", "set-up")]
    text = str(list(rows.values()))
    assert set_up_secret() not in text
    assert GOOD["password"] not in text


def test_the_secret_dies_with_its_use(db: None) -> None:
    client = Client()
    set_up(client)
    assert set_up(email="second@acme.example").status_code == 404
    assert Client().get("/set-up").status_code == 404
    assert client.get("/set-up")["Location"] == "/set-up/steps"
    assert (Owner.objects.count(), User.objects.count()) == (1, 1)


@pytest.mark.parametrize("spelt", [str.lower, lambda text: text.replace("-", " "), lambda text: f" {text}\n"])
def test_the_secret_may_be_typed_as_people_type(db: None, spelt: Any) -> None:
    assert set_up(secret=spelt(set_up_secret())).status_code == 302


@pytest.mark.parametrize("secret", ["", "-", "AAAA-AAAA-AAAA-AAAA-AAAA-AAAA", "x" * 101, "é", "\0", "\ud83d"])
def test_another_secret_makes_nothing(db: None, secret: str) -> None:
    assert set_up(secret=secret.encode("utf-8", "replace").decode()).status_code == 400
    assert (Owner.objects.count(), User.objects.count()) == (0, 0)


def test_the_secret_is_another_ones_with_another_key(db: None, settings: Settings) -> None:
    old = set_up_secret()
    settings.SECRET_KEY = "another"
    assert set_up_secret() != old
    assert set_up_secret(key="another") == set_up_secret()
    assert set_up(secret=old).status_code == 400


@pytest.mark.parametrize(
    "change",
    [
        {"email": "x"},
        {"owner_name": " \u200b "},
        {"password": "short", "again": "short"},
        {"password": "boss@acme.example", "again": "boss@acme.example"},
        {"again": "another one"},
        {"owner_name": "x" * 201},
        {"name": "\0"},
    ],
)
def test_what_does_not_do_is_said_and_makes_nothing(db: None, change: dict[str, str]) -> None:
    response = set_up(None, **change)
    page = response.content.decode()
    assert (response.status_code, 'role="alert"' in page) == (400, True)
    assert GOOD["password"] not in page
    assert f'name="secret" value="{set_up_secret()}"' in page
    assert (Owner.objects.count(), User.objects.count()) == (0, 0)


def test_a_wrong_secret_is_said_in_a_sentence_and_the_form_stays_filled_in_until_guessing_is_held_back(
    db: None,
) -> None:
    said = {"owner_name": "Acme & Sons", "email": "boss@acme.example", "name": "Ada"}
    answers = [set_up(None, **said, secret="AAAA") for _ in range(12)]
    assert (answers[0].status_code, answers[-1].status_code) == (400, 429)
    assert "Retry-After" in answers[-1]
    sentences = ("That is not the secret that the server has printed on its console.", "Too many")
    for answer, sentence in zip((answers[0], answers[-1]), sentences, strict=True):
        page = answer.content.decode()
        assert sentence in page.partition("<form")[2].partition("</form>")[0]
        for name, text in said.items():
            assert f'name="{name}" value="{escape(text)}"' in page
        assert GOOD["password"] not in page
    assert set_up().status_code == 429


def test_everything_that_is_wrong_is_said_at_once_at_its_field_and_the_first_is_where_one_types_on(db: None) -> None:
    page = set_up(None, owner_name="", email="boss", password="short", again="x").content.decode()
    marked = re.findall(r'name="(\w+)"[^>]* aria-describedby="wrong-\1"', page)
    assert (marked, page.count("autofocus")) == (["owner_name", "email", "password", "again"], 1)
    assert re.search(r'name="owner_name"[^>]* autofocus', page)
    for sentence in ("Give the organisation a name.", "12 characters", "Type the password twice, the same each time."):
        assert sentence in page.partition("Nothing was made yet")[2]


def test_it_is_a_post_of_our_own_form(db: None) -> None:
    assert set_up(Client(enforce_csrf_checks=True)).status_code == 403
    assert not Owner.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_second_one_at_the_same_moment_finds_the_door_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have looked before either was done: the second look, under the lock, tells."""
    looks = iter([True, False])
    monkeypatch.setattr("agents.first_owner.is_needed", lambda: next(looks))
    with pytest.raises(AlreadySetUp):
        make_first_owner(
            secret=set_up_secret(),
            owner_name="Second",
            email="second@acme.example",
            name="",
            password=GOOD["password"],
            request_id=None,
            address=None,
            now=timezone.now(),
        )
    assert not Owner.objects.exists()


# --- The steps


def test_the_pages_on_the_way_lead_back_for_whoever_has_set_up_and_for_nobody_else(db: None) -> None:
    client = Client()
    set_up(client)
    owner = Owner.objects.get()
    agent = Agent.objects.create(owner=owner, name="reporter", status="active")
    where = {"base_url": "https://wiki.example.com", "auth": {"type": "bearer"}}
    platform = Platform.objects.create(owner=owner, slug="wiki", name="Wiki", **where)
    for path in (f"/agents/{agent.pk}", f"/platforms/{platform.slug}"):
        assert 'href="/set-up/steps"' in client.get(path).content.decode()
        assert 'href="/set-up/steps"' not in signed_in(Member.objects.get()).get(path).content.decode()


def test_each_step_is_done_when_there_is_what_it_asks_for(scene: Scene, admin: Client) -> None:
    make_scene("Other").submit({"n": 1})

    def done() -> list[bool]:
        page = admin.get("/set-up/steps").content.decode()
        return ["step-done" in item for item in page.split("<li ")[1:]][-5:]

    assert done() == [True, True, True, True, False]
    assert "4 of 5 done." in admin.get("/set-up/steps").content.decode()
    scene.submit({"n": 1})
    assert done() == [True] * 5
    assert "deploy-bot" in admin.get("/set-up/steps").content.decode()
    Grant.objects.filter(agent__owner=scene.owner).delete()
    AgentKey.objects.filter(agent__owner=scene.owner).delete()
    Connection.objects.filter(platform__owner=scene.owner).delete()
    assert done() == [False, True, False, False, True]
    Agent.objects.filter(owner=scene.owner).update(status="revoked")
    assert done() == [False, False, False, False, True]


@pytest.mark.parametrize("role", ["admin", "approver", "auditor"])
def test_the_script_gets_the_list_alone_and_changes_nothing(scene: Scene, role: str) -> None:
    before = AuditEvent.objects.count()
    fragment = signed_in(scene.members[role]).get("/set-up/steps", headers={"X-Fragment": "1"}).content.decode()
    assert fragment.startswith('<ol class="list steps" data-said="4 of 5 done.">')
    assert ("New agent" in fragment) == (role == "admin")
    assert Client().get("/set-up/steps", headers={"X-Fragment": "1"}).status_code == 401
    assert AuditEvent.objects.count() == before
