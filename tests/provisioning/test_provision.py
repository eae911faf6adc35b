"""`manage.py provision`: the file of the README made so, as often as you like, or refused with line and field."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django.fixtures import Settings

from agents.models import Agent, AgentKey, Member, User
from audit.models import AuditEvent
from platforms.models import Connection, Grant, Scope, credential_aad
from platforms.vault import Sealed, open_sealed
from tests.world import public_key

FILE = """\
owner: Acme
members:     [{email: owner@example.com, role: admin, password_env: OWNER_PASSWORD}]
platforms:
  - id: acme-chat
    name: Acme Chat
    base_url: http://127.0.0.1:9101
    auth: {type: bearer}
    scopes: {"chat:read": ["GET /api/**"], "chat:write": ["POST /api/messages", "DELETE /api/messages/*"]}
connections: [{platform: acme-chat, label: Main, default: true, credential_env: ACME_TOKEN}]
agents:
  - name: deploy-bot
    public_key_file: deploy-bot.pub.pem
    grants: [{platform: acme-chat, scope: "chat:write", require_approval: true}, {platform: acme-chat, scope: "chat:read"}]
"""


@pytest.fixture
def folder(db: None, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings.PRIVATE_TARGETS = ["127.0.0.1:9101"]
    monkeypatch.setenv("OWNER_PASSWORD", "correct horse battery")
    monkeypatch.setenv("ACME_TOKEN", "tok-1")
    (tmp_path / "deploy-bot.pub.pem").write_text(public_key("deploy-bot"))
    return tmp_path


def provision(folder: Path, text: str = FILE) -> dict[str, Any]:
    (folder / "acme.yaml").write_text(text)
    out = StringIO()
    call_command("provision", str(folder / "acme.yaml"), stdout=out)
    made: dict[str, Any] = json.loads(out.getvalue())
    return made


def credential() -> str:
    row = Connection.objects.get()
    sealed = Sealed(row.credential_key_id, bytes(row.credential_wrapped_key), bytes(row.credential_ciphertext))
    return open_sealed(sealed, aad=credential_aad(connection_id=row.pk, version=row.credential_version))


def test_the_file_of_the_documentation_is_made_so(folder: Path) -> None:
    made = provision(folder)
    agent = Agent.objects.get()
    assert made == {
        "owner_id": str(agent.owner_id),
        "agents": [{"name": "deploy-bot", "agent_id": agent.pk}],
        "connections": [{"platform": "acme-chat", "label": "Main", "connection_id": str(Connection.objects.get().pk)}],
    }
    assert agent.status == "active"
    assert {(g.scope.name, g.require_approval) for g in Grant.objects.all()} == {
        ("chat:write", True),
        ("chat:read", False),
    }
    assert User.objects.get().check_password("correct horse battery")
    assert Member.objects.get().role == "admin"
    assert credential() == "tok-1"
    assert set(AuditEvent.objects.values_list("event", flat=True)) == {
        "owner.created",
        "member.added",
        "platform.changed",
        "platform.connected",
        "agent.created",
        "agent.key_bound",
        "permission.granted",
    }


def test_a_second_run_changes_nothing_and_records_nothing(folder: Path) -> None:
    first = provision(folder)
    rows = AuditEvent.objects.count()
    assert provision(folder) == first
    assert AuditEvent.objects.count() == rows


def test_no_secret_of_the_file_is_in_the_audit_log(folder: Path) -> None:
    provision(folder)
    texts = "".join(AuditEvent.objects.values_list("canonical", flat=True))
    assert "tok-1" not in texts
    assert "horse" not in texts


def test_an_invite_is_printed_until_it_is_used(folder: Path) -> None:
    text = FILE.replace("public_key_file: deploy-bot.pub.pem", "invite: true")
    first, second = provision(folder, text), provision(folder, text)
    assert first["agents"][0]["bind_secret"].startswith("bsec_")
    assert first["agents"][0]["bind_secret"] != second["agents"][0]["bind_secret"]
    AgentKey.objects.create(agent=Agent.objects.get(), public_key_pem="x", thumbprint="x")
    assert "bind_secret" not in provision(folder, text)["agents"][0]


def test_a_new_credential_is_a_new_version(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provision(folder)
    monkeypatch.setenv("ACME_TOKEN", "tok-2")
    provision(folder)
    assert (credential(), Connection.objects.get().credential_version) == ("tok-2", 2)


def test_a_changed_password_is_not_set_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provision(folder)
    monkeypatch.setenv("OWNER_PASSWORD", "something else entirely")
    provision(folder)
    assert User.objects.get().check_password("correct horse battery")


# (password, what the error says after line and field)
WEAK: list[tuple[str, str]] = [
    ("eleven-char", "This password is too short. It must contain at least 12 characters."),
    ("x", "This password is too short. It must contain at least 12 characters."),
    ("1q2w3e4r5t6y", "This password is too common."),
    ("owner@example.com", "The password is too similar to the email."),
]


@pytest.mark.parametrize(("password", "said"), WEAK, ids=[row[0] for row in WEAK])
def test_a_password_that_the_sign_in_would_not_take_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, password: str, said: str
) -> None:
    monkeypatch.setenv("OWNER_PASSWORD", password)
    with pytest.raises(CommandError) as refused:
        provision(folder)
    assert f"line 2: members[0].password_env: {said}" in str(refused.value)
    assert f"'{password}'" not in str(refused.value)
    assert not User.objects.exists()


def test_the_password_of_somebody_who_has_one_is_not_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provision(folder)
    monkeypatch.setenv("OWNER_PASSWORD", "x")
    provision(folder)
    assert User.objects.get().check_password("correct horse battery")


@pytest.mark.parametrize(
    ("roles", "opens"),
    [
        (["admin", "approver"], [True, False]),
        (["approver", "auditor"], [False, True]),
        (["auditor", "approver", "admin"], [True, False, True]),
    ],
)
def test_the_django_admin_opens_and_closes_with_the_role(folder: Path, roles: list[str], opens: list[bool]) -> None:
    for role, expected in zip(roles, opens, strict=True):
        provision(folder, FILE.replace("role: admin", f"role: {role}"))
        client = Client()
        client.force_login(User.objects.get())
        assert (User.objects.get().is_staff, client.get("/admin/").status_code == 200) == (expected, expected)


def test_the_django_admin_stays_open_for_whoever_inspects_another_owner(folder: Path) -> None:
    provision(folder)
    provision(folder, "owner: Other\nmembers: [{email: owner@example.com, role: approver}]\n")
    assert User.objects.get().is_staff
    provision(folder, FILE.replace("role: admin", "role: approver"))
    assert not User.objects.get().is_staff


def test_a_superuser_keeps_the_django_admin(folder: Path) -> None:
    User.objects.create_superuser("owner@example.com", "correct horse battery")
    provision(folder, FILE.replace("role: admin", "role: approver"))
    assert User.objects.get().is_staff


def test_a_new_key_file_retires_the_old_key(folder: Path) -> None:
    provision(folder)
    (folder / "deploy-bot.pub.pem").write_text(public_key("rotated"))
    provision(folder)
    old, new = AgentKey.objects.order_by("pk")
    assert (old.retired_at is None, new.retired_at is None) == (False, True)


def test_a_scope_demands_a_passkey_for_as_long_as_the_file_says_so(folder: Path) -> None:
    rules = '["POST /api/messages", "DELETE /api/messages/*"]'
    provision(folder, FILE.replace(rules, f"{{rules: {rules}, step_up: passkey}}"))
    assert Scope.objects.get(name="chat:write").step_up == "passkey"
    assert Scope.objects.get(name="chat:write").rules == ["POST /api/messages", "DELETE /api/messages/*"]
    assert Scope.objects.get(name="chat:read").step_up == ""
    provision(folder)
    assert Scope.objects.get(name="chat:write").step_up == ""
    assert AuditEvent.objects.filter(event="platform.changed").count() == 2


def test_a_grant_taken_out_of_the_file_is_revoked(folder: Path) -> None:
    provision(folder)
    provision(folder, FILE.replace(', {platform: acme-chat, scope: "chat:read"}', ""))
    assert [g.scope.name for g in Grant.objects.filter(revoked_at=None)] == ["chat:write"]
    assert AuditEvent.objects.filter(event="permission.revoked", action="chat:read").count() == 1


def test_what_changes_in_the_file_changes_in_the_product(folder: Path) -> None:
    provision(folder)
    text = FILE.replace("require_approval: true", "require_approval: false").replace('"POST /api/messages", ', "")
    provision(folder, text.replace("role: admin", "role: auditor"))
    assert Grant.objects.get(scope__name="chat:write").require_approval is False
    assert Scope.objects.get(name="chat:write").rules == ["DELETE /api/messages/*"]
    assert Member.objects.get().role == "auditor"
    assert AuditEvent.objects.filter(event="permission.approval_toggle_changed").count() == 1


# (what is wrong, replaced text, its replacement, what the error says after the file's name)
MISTAKES: list[tuple[str, str, str, str]] = [
    ("not YAML", "owner: Acme", "owner: [", "line 3: this is not valid YAML"),
    ("a key twice", "owner: Acme", "owner: Acme\nowner: Acme", "line 2: owner: this key stands twice"),
    ("an unknown field", "require_approval: true", "require_aproval: true", "line 13: agents[0].grants[0].require_aproval: There is no such field here"),
    ("no owner", "owner: Acme\n", "", "owner: This field is required."),
    ("no role", ", role: admin", "", "line 2: members[0].role: This field is required."),
    ("an unknown role", "role: admin", "role: king", 'line 2: members[0].role: This must be one of: admin, approver, auditor.'),
    ("no e-mail", "owner@example.com", "owner", "line 2: members[0].email: Enter a valid email address."),
    ("a number as name", "name: Acme Chat", "name: 7", "line 5: platforms[0].name: This must be text: put it in quotes."),
    ("text as a flag", "default: true", "default: yes please", "line 9: connections[0].default: This must be true or false."),
    ("a bad platform id", "id: acme-chat", "id: Acme:Chat", "line 4: platforms[0].id: Use a-z, 0-9"),
    ("a bad base URL", "http://127.0.0.1:9101", "ftp://example.com", "line 6: platforms[0].base_url:"),
    ("an unlisted private target", "127.0.0.1:9101", "127.0.0.1:9102", "list 127.0.0.1:9102 in AGENTVALET_PRIVATE_TARGETS,"),
    ("the metadata service", "127.0.0.1:9101", "169.254.169.254", "line 6: platforms[0].base_url:"),
    ("localhost", "127.0.0.1:9101", "localhost:9102", "line 6: platforms[0].base_url:"),
    ("an unknown kind of auth", "type: bearer", "type: oauth", "line 7: platforms[0].auth:"),
    ("a bad rule", "GET /api/**", "FETCH", "line 8: platforms[0].scopes.chat:read:"),
    ("an unknown step-up", '["GET /api/**"]', '{rules: ["GET /api/**"], step_up: sms}', "line 8: platforms[0].scopes.chat:read.step_up:"),
    ("a scope that is a word", '["GET /api/**"]', '"GET /api/**"', "line 8: platforms[0].scopes.chat:read:"),
    ("a bad scope name", '"chat:read": [', '"chat read": [', "line 8: platforms[0].scopes.chat read:"),
    ("an unknown platform", "{platform: acme-chat, label", "{platform: acme, label", "line 9: connections[0].platform: There is no platform acme; there are: acme-chat."),
    ("an unset secret", "ACME_TOKEN", "ACME_TOKEN_2", "line 9: connections[0].credential_env: The environment variable ACME_TOKEN_2 is not set"),
    ("an unset password", "OWNER_PASSWORD", "OWNER_PASSWORD_2", "line 2: members[0].password_env: The environment variable"),
    ("a missing key file", "deploy-bot.pub.pem", "gone.pem", "line 12: agents[0].public_key_file:"),
    ("key file and invite", "public_key_file: deploy-bot.pub.pem", "public_key_file: deploy-bot.pub.pem\n    invite: true", "line 11: agents[0]: Give either public_key_file or invite: true."),
    ("neither", "public_key_file: deploy-bot.pub.pem", "invite: false", "line 11: agents[0]: Give either public_key_file or invite: true."),
    ("an ungrantable scope", 'scope: "chat:read"', 'scope: "chat:admin"', "line 13: agents[0].grants[1].scope: There is no scope on acme-chat called chat:admin; there are: chat:read, chat:write."),
    ("a grant on an unknown platform", 'acme-chat, scope: "chat:read"', 'acme, scope: "chat:read"', "line 13: agents[0].grants[1].platform: There is no platform acme; there are: acme-chat."),
    ("a grant on an unknown connection", 'scope: "chat:read"', 'scope: "chat:read", connection: Man', "line 13: agents[0].grants[1].connection: There is no connection Man; there are: Main."),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES])
def test_a_mistake_is_named_with_line_and_field_and_nothing_changes(
    folder: Path, old: str, new: str, said: str
) -> None:
    assert old in FILE
    with pytest.raises(CommandError) as refused:
        provision(folder, FILE.replace(old, new, 1))
    assert str(refused.value).startswith(f"{folder / 'acme.yaml'}: line ")
    assert said in str(refused.value)
    assert not Agent.objects.exists()
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize("text", ["", "just words", "- a\n- list\n", "owner: Acme\nagents: 5\n", "[" * 3000])
def test_a_file_of_another_shape_is_refused(folder: Path, text: str) -> None:
    with pytest.raises(CommandError):
        provision(folder, text)


def test_all_mistakes_are_said_at_once(folder: Path) -> None:
    with pytest.raises(CommandError) as refused:
        provision(folder, FILE.replace("role: admin", "role: king").replace("type: bearer", "type: oauth"))
    assert len(str(refused.value).splitlines()) == 2


def test_a_private_key_in_the_key_file_is_refused_without_repeating_it(folder: Path) -> None:
    (folder / "deploy-bot.pub.pem").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(CommandError) as refused:
        provision(folder)
    assert "BEGIN PUBLIC KEY" in str(refused.value)
    assert "AAAA" not in str(refused.value)


def test_targets_that_are_none_are_said_in_one_sentence(folder: Path, settings: Settings) -> None:
    settings.PRIVATE_TARGETS = ["http://127.0.0.1:9333"]
    with pytest.raises(CommandError, match=r"is not host-or-cidr\[:port\], as in"):
        provision(folder)


def test_a_missing_file_is_said_in_one_sentence(db: None, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("provision", str(tmp_path / "gone.yaml"))
