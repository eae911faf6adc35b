"""`manage.py rotate_vault_key`: every credential under the new key, also after a stop, a loss and a race."""

import base64
import os
import threading
import time
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone
from pytest_django.fixtures import Settings

from agentvalet.provisioning import provision
from agentvalet.startup import StartRefused, check_vault
from audit.models import AuditEvent
from audit.verify import verify_owner
from platforms.models import Connection, credential_aad
from platforms.stored_credentials import rotate
from platforms.vault import Sealed, VaultError, open_sealed
from tests.approvals.test_races import together
from tests.world import CountingPlatform, Side, make_connection, make_side


def fresh_key(key_id: str) -> str:
    return f"{key_id}:{base64.b64encode(os.urandom(32)).decode()}"


OLD, NEW = fresh_key("old"), fresh_key("new")


@pytest.fixture(autouse=True)
def old_key(settings: Settings) -> None:
    settings.VAULT_KEYS = OLD


@pytest.fixture
def side(old_key: None, acme: Side) -> Side:
    """Three connections: Main, Second, Third."""
    for label in ("Second", "Third"):
        make_connection(acme.platform, f"tok-{label}", label=label, default=False)
    return acme


def run(*options: str) -> str:
    out = StringIO()
    call_command("rotate_vault_key", *options, stdout=out)
    return out.getvalue()


def credentials() -> dict[str, str]:
    """What opens, by label."""
    found = {}
    for row in Connection.objects.order_by("label"):
        sealed = Sealed(row.credential_key_id, bytes(row.credential_wrapped_key), bytes(row.credential_ciphertext))
        try:
            found[row.label] = open_sealed(
                sealed, aad=credential_aad(connection_id=row.pk, version=row.credential_version)
            )
        except VaultError:
            found[row.label] = ""
    return found


def key_ids() -> set[str]:
    return set(Connection.objects.values_list("credential_key_id", flat=True))


def rows(event: str) -> list[dict[str, Any]]:
    return [row.metadata for row in AuditEvent.objects.filter(event=event).order_by("owner_id", "seq")]


def damage(label: str) -> None:
    Connection.objects.filter(label=label).update(credential_ciphertext=b"x" * 40)


def test_every_credential_comes_under_the_first_key_and_the_old_one_is_needed_no_more(
    side: Side, stranger: Side, settings: Settings
) -> None:
    before = credentials()
    settings.VAULT_KEYS = f"{NEW},{OLD}"
    said = run()
    assert key_ids() == {"new"}
    settings.VAULT_KEYS = NEW
    assert credentials() == before
    check_vault()
    assert "Key new: 4 re-wrapped, 0 there already, 0 given up, 0 without a credential." in said
    assert f"acme-chat / Second, {Connection.objects.get(label='Second').pk} (key old): re-wrapped" in said
    assert not any(secret in said for secret in before.values())


def test_it_is_on_record_with_each_owner(side: Side, stranger: Side, settings: Settings) -> None:
    settings.VAULT_KEYS = f"{NEW},{OLD}"
    run()
    facts = rows("platform.credential_rewrapped")
    assert sorted(fact["connection"] for fact in facts) == ["Main", "Main", "Second", "Third"]
    assert {(fact["from_key"], fact["to_key"]) for fact in facts} == {("old", "new")}
    assert AuditEvent.objects.filter(owner_id=stranger.owner.pk).count() == 1
    assert {row.actor_label for row in AuditEvent.objects.all()} == {"manage.py rotate_vault_key"}


def test_a_run_that_was_stopped_is_finished_by_the_next(side: Side, settings: Settings) -> None:
    settings.VAULT_KEYS = f"{NEW},{OLD}"
    first = next(rotate(forget_unreadable=False, request_id=uuid4(), now=timezone.now()))
    assert key_ids() == {"old", "new"}
    assert all(credentials().values())  # calls go on meanwhile
    said = run()
    assert "2 re-wrapped, 1 there already" in said
    assert str(first.connection_id) not in said
    assert "0 re-wrapped, 3 there already" in run()
    assert len(rows("platform.credential_rewrapped")) == 3


def test_a_missing_key_is_said_and_the_others_are_rotated(side: Side, settings: Settings) -> None:
    settings.VAULT_KEYS = fresh_key("third")
    provision_main(side, "tok-new")
    settings.VAULT_KEYS = f"{NEW},{settings.VAULT_KEYS}"
    with pytest.raises(CommandError, match=r"2 cannot be opened: .* --forget-unreadable"):
        run()
    assert sorted(key_ids()) == ["new", "old"]
    settings.VAULT_KEYS = f"{NEW},{OLD}"
    assert "2 re-wrapped, 1 there already" in run()
    assert all(credentials().values())


def test_what_no_key_opens_can_be_given_up_so_that_the_server_starts(side: Side, settings: Settings) -> None:
    damage("Second")
    settings.VAULT_KEYS = f"{NEW},{OLD}"
    assert "2 re-wrapped, 0 there already, 1 given up" in run("--forget-unreadable")
    second = Connection.objects.get(label="Second")
    assert (second.status, second.credential_key_id, bytes(second.credential_wrapped_key)) == ("reauth_needed", "", b"")
    assert bytes(second.credential_ciphertext) == b""
    assert {label for label, text in credentials().items() if text} == {"Main", "Third"}
    (fact,) = rows("platform.credential_forgotten")
    assert (fact["connection"], fact["from_key"], fact["to_key"]) == ("Second", "old", "")
    settings.VAULT_KEYS = NEW
    check_vault()
    assert "0 given up, 1 without a credential" in run("--forget-unreadable")


def test_the_start_without_the_key_names_both_ways_out(side: Side, settings: Settings) -> None:
    settings.VAULT_KEYS = NEW
    with pytest.raises(StartRefused) as refused:
        check_vault()
    for part in ("AGENTVALET_VAULT_KEYS", "manage.py provision", "manage.py rotate_vault_key --forget-unreadable"):
        assert part in str(refused.value)
    run("--forget-unreadable")
    check_vault()
    assert set(credentials().values()) == {""}


@pytest.mark.parametrize(
    "keys", ["", "nonsense", f"{OLD},{OLD}", f"{OLD},new:c2hvcnQ="], ids=["none", "nonsense", "twice", "too short"]
)
@pytest.mark.parametrize("options", [[], ["--forget-unreadable"]])
def test_keys_that_are_none_give_nothing_up(side: Side, settings: Settings, keys: str, options: list[str]) -> None:
    settings.VAULT_KEYS = keys
    with pytest.raises(CommandError, match="AGENTVALET_VAULT_KEYS"):
        run(*options)
    with pytest.raises(VaultError):
        list(rotate(forget_unreadable=bool(options), request_id=uuid4(), now=timezone.now()))
    settings.VAULT_KEYS = OLD
    assert all(credentials().values())
    assert not AuditEvent.objects.exists()


def provision_main(side: Side, token: str) -> None:
    text = f"owner: {side.owner.name}\nconnections: [{{platform: acme-chat, label: Main, default: true, credential_env: T}}]\n"
    provision(text, base=Path("/nowhere"), env={"T": token})


@pytest.mark.parametrize("loss", ["key", "bytes", "given up"])
def test_a_new_credential_is_provisioned_without_opening_the_old_one(side: Side, settings: Settings, loss: str) -> None:
    if loss == "bytes":
        damage("Main")
    else:
        settings.VAULT_KEYS = NEW
    if loss == "given up":
        run("--forget-unreadable")
        assert Connection.objects.get(label="Main").status == "reauth_needed"
    before = Connection.objects.get(label="Main").credential_version
    provision_main(side, "tok-new")
    main = Connection.objects.get(label="Main")
    assert (credentials()["Main"], main.credential_version) == ("tok-new", before + 1)
    assert main.status == "untested"
    assert len(rows("platform.reauthenticated")) == 1
    provision_main(side, "tok-new")
    assert Connection.objects.get(label="Main").credential_version == before + 1


class TestRaces:
    """On real PostgreSQL, in threads with connections of their own."""

    pytestmark = pytest.mark.django_db(transaction=True)

    @pytest.fixture
    def side(self, old_key: None, transactional_db: None, platform: CountingPlatform) -> Side:
        return make_side("Acme", base_url=platform.url, token="tok-1")

    @pytest.mark.parametrize("turn", range(int(os.environ.get("RACE_ROUNDS", "4"))))
    def test_a_new_credential_of_the_same_moment_is_not_lost(self, side: Side, settings: Settings, turn: int) -> None:
        settings.VAULT_KEYS = f"{NEW},{OLD}"
        outcomes = list(together(lambda: provision_main(side, "tok-2"), run))
        assert not [one for one in outcomes if isinstance(one, Exception)]
        settings.VAULT_KEYS = NEW
        assert credentials() == {"Main": "tok-2"}
        assert Connection.objects.get().credential_version == 2
        assert verify_owner(owner_id=side.owner.pk).verifies

    def test_provisioning_does_not_put_back_what_is_being_rotated(self, side: Side, settings: Settings) -> None:
        """Or the credential would be under the old key again, and dropping that key would lose it."""
        settings.VAULT_KEYS = f"{NEW},{OLD}"
        text = "owner: Acme\nconnections: [{platform: acme-chat, label: Main, credential_env: T, hint: fresh}]\n"

        def provisioning() -> None:
            provision(text, base=Path("/nowhere"), env={"T": "tok-1"})
            connection.close()

        thread = threading.Thread(target=provisioning)
        with transaction.atomic():
            steps = rotate(forget_unreadable=False, request_id=uuid4(), now=timezone.now())
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("platforms.stored_credentials.transaction", nested)
                next(steps)
            thread.start()
            wait_for_a_lock()
        thread.join()
        assert Connection.objects.get().hint == "fresh"
        assert (key_ids(), credentials()) == ({"new"}, {"Main": "tok-1"})


class nested:  # noqa: N801
    """Makes `rotate` part of the test's own transaction."""

    @staticmethod
    def atomic(**_: object) -> Any:
        return transaction.atomic()


def wait_for_a_lock() -> None:
    """Until another connection waits for a lock of ours."""
    deadline = time.monotonic() + 10
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone()[0]:
                return
    raise AssertionError("nobody waited")
