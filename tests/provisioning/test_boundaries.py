"""The provisioning file says what agents see of platforms and connections, and takes a grant's end back."""

from pathlib import Path

import pytest
from django.core.management import CommandError
from django.utils import timezone

from agents.models import Agent
from audit.models import AuditEvent
from platforms.models import Connection, Grant, Platform
from tests.provisioning.test_provision import FILE, folder, provision

__all__ = ["folder"]  # a fixture

GRAPHQL = FILE.replace('{"chat:read": ["GET /api/**"], "chat:write": ["POST /api/messages", "DELETE /api/messages/*"]}',
                       '{"chat:read": ["POST /"], "chat:write": ["POST /"]}\n    call_style: graphql')  # fmt: skip
KNOWN = FILE.replace(
    "credential_env: ACME_TOKEN}", "credential_env: ACME_TOKEN, hint: the team's, identity: {email: team@acme.example}}"
)


def test_a_graphql_platform(folder: Path) -> None:
    provision(folder, GRAPHQL)
    assert Platform.objects.get().call_style == "graphql"
    provision(folder, GRAPHQL)
    assert AuditEvent.objects.filter(event="platform.changed").count() == 1
    provision(folder, FILE)
    assert Platform.objects.get().call_style == ""


def test_a_platform_is_said_to_honour_keys_for_as_long_as_the_file_says_so(folder: Path) -> None:
    says_so = FILE.replace(
        "    auth: {type: bearer}\n", "    auth: {type: bearer}\n    honours_idempotency_key: true\n"
    )
    for text, honours in ((FILE, False), (says_so, True), (FILE, False)):
        provision(folder, text)
        assert Platform.objects.get().honours_idempotency_key is honours
        changed = AuditEvent.objects.filter(event="platform.changed").order_by("seq").last()
        assert changed is not None
        assert changed.metadata["honours_idempotency_key"] is honours
    with pytest.raises(CommandError, match="true or false"):
        provision(folder, says_so.replace("honours_idempotency_key: true", "honours_idempotency_key: 'yes'"))


def test_a_platform_takes_the_kind_of_body_that_the_file_says(folder: Path) -> None:
    for word, kind in (("form", "form"), ("flat-form", "flat-form"), ("json", ""), ("", "")):
        line = f"    body: {word}\n" if word else ""
        provision(folder, FILE.replace("    auth: {type: bearer}\n", "    auth: {type: bearer}\n" + line))
        assert Platform.objects.get().body_kind == kind
    with pytest.raises(CommandError, match=r"platforms\[0\].body: This must be one of: json, form, flat-form"):
        provision(folder, FILE.replace("    auth: {type: bearer}\n", "    auth: {type: bearer}\n    body: xml\n"))


@pytest.mark.parametrize("rule", ["GET /", "POST /graphql", "POST /**", "* /"])
def test_a_graphql_platform_takes_one_rule_only(folder: Path, rule: str) -> None:
    with pytest.raises(CommandError, match="the only rule is"):
        provision(folder, GRAPHQL.replace('"chat:write": ["POST /"]', f'"chat:write": ["{rule}"]'))
    assert not Platform.objects.exists()


def test_hint_and_identity(folder: Path) -> None:
    provision(folder, KNOWN)
    row = Connection.objects.get()
    assert (row.hint, row.identity) == ("the team's", {"email": "team@acme.example"})
    count = AuditEvent.objects.count()
    provision(folder, KNOWN)
    assert AuditEvent.objects.count() == count
    provision(folder)
    row = Connection.objects.get()
    assert (row.hint, row.identity) == ("", {"email": "team@acme.example"})  # as if a test had found it
    assert AuditEvent.objects.latest("seq").metadata["changed"] == ["hint"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("call_style: graphql", "call_style: rest"),
        ("call_style: graphql", "call_style: [graphql]"),
        ("hint: the team's", "hint: 5"),
        ("hint: the team's", f"hint: {'x' * 501}"),
        ("{email: team@acme.example}", "{phone: 5}"),
        ("{email: team@acme.example}", "{email: 5}"),
        ("{email: team@acme.example}", "team"),
    ],
)
def test_a_mistake_in_these_is_named(folder: Path, old: str, new: str) -> None:
    text = (GRAPHQL if old in GRAPHQL else KNOWN).replace(old, new)
    assert new in text
    with pytest.raises(CommandError, match=r"line \d+: (platforms|connections)\[0\]"):
        provision(folder, text)


def test_the_file_takes_the_end_of_a_grant_back(folder: Path) -> None:
    provision(folder)
    Grant.objects.update(expires_at=timezone.now())
    provision(folder)
    assert set(Grant.objects.values_list("expires_at", "revoked_at")) == {(None, None)}
    assert Grant.objects.filter(agent=Agent.objects.get()).count() == 2
