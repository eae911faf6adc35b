"""A vault key in AWS KMS: what it wraps opens with it alone, and while it is away nothing is sent, lost or given up."""

import base64
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection as database
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from agentvalet.provision_file import ProvisionError
from agentvalet.provisioning import provision
from agentvalet.startup import StartRefused, check_vault
from approvals import services
from approvals.execution import execute
from audit.models import AuditEvent
from platforms import aws_kms, leaks, vault
from platforms.models import Connection, credential_aad
from platforms.stored_credentials import rotate
from platforms.vault import KeyServiceError, Sealed, VaultError, open_sealed, rewrap, seal
from tests.platforms.kms import KeyService, key_service
from tests.world import CountingPlatform, Side, bearer, make_connection, make_side, submit

AAD = b"agentvalet.credential.v1|connection 1|1"
SECRET = "s3cret-t\u00f6ken-of-the-platform"
READ = {"platform": "acme-chat", "scope": "chat:read", "method": "GET", "endpoint": "/api/messages"}


@pytest.fixture(scope="module")
def service() -> Iterator[KeyService]:
    with key_service() as running:
        yield running


@pytest.fixture
def mortal() -> Iterator[KeyService]:
    """One for a test that kills it."""
    with key_service() as running:
        yield running


def settings_key(key_id: str) -> str:
    return f"{key_id}:{base64.b64encode(os.urandom(32)).decode()}"


@pytest.fixture
def arn(service: KeyService, settings: Settings) -> str:
    """The only vault key is in the key service."""
    arn = service.new_key()
    settings.VAULT_KEYS = f"kms:{arn}"
    return arn


def test_what_is_sealed_opens_and_the_row_keeps_the_arn(arn: str) -> None:
    sealed = seal(SECRET, aad=AAD)
    assert open_sealed(sealed, aad=AAD) == SECRET
    assert sealed.key_id == f"kms:{arn}"
    assert SECRET.encode() not in sealed.ciphertext + sealed.wrapped_key


def test_it_does_not_open_in_another_place(arn: str) -> None:
    with pytest.raises(VaultError, match="does not open"):
        open_sealed(seal(SECRET, aad=AAD), aad=b"agentvalet.credential.v1|connection 2|1")


def test_the_place_is_what_the_service_is_told_and_no_more(arn: str, service: KeyService) -> None:
    sealed = seal(SECRET, aad=AAD)
    opened = service.admin.decrypt(
        KeyId=arn,
        CiphertextBlob=sealed.wrapped_key,
        EncryptionContext={"application": "agentvalet", "credential": AAD.decode()},
    )
    assert len(opened["Plaintext"]) == 32
    assert opened["Plaintext"] not in sealed.ciphertext


@pytest.mark.parametrize("place", [40, 60, -1])
def test_an_edited_data_key_does_not_open(arn: str, place: int) -> None:
    sealed = seal(SECRET, aad=AAD)
    edited = bytearray(sealed.wrapped_key)
    edited[place] ^= 1
    with pytest.raises(VaultError) as refused:
        open_sealed(sealed._replace(wrapped_key=bytes(edited)), aad=AAD)
    assert not isinstance(refused.value, KeyServiceError)


@pytest.mark.parametrize("wrapped", [b"", b"short"])
def test_a_cut_data_key_does_not_open(arn: str, wrapped: bytes) -> None:
    with pytest.raises(VaultError):
        open_sealed(seal(SECRET, aad=AAD)._replace(wrapped_key=wrapped), aad=AAD)


def test_an_edited_credential_does_not_open(arn: str) -> None:
    sealed = seal(SECRET, aad=AAD)
    with pytest.raises(VaultError, match="does not open"):
        open_sealed(sealed._replace(ciphertext=sealed.ciphertext[:-1] + b"x"), aad=AAD)


def test_no_row_can_choose_a_key_that_is_not_in_the_list(arn: str, service: KeyService) -> None:
    """Whoever writes to the database would else have us use any key that our AWS role may use."""
    other = service.new_key()
    sealed = seal(SECRET, aad=AAD)
    with pytest.raises(VaultError, match=r"lacks the key 'kms:arn:"):
        open_sealed(sealed._replace(key_id=f"kms:{other}"), aad=AAD)


def test_an_alias_is_followed_to_its_key(service: KeyService, settings: Settings) -> None:
    arn = service.new_key()
    settings.VAULT_KEYS = f"kms:{service.alias('alias/agentvalet-one', arn)}"
    sealed = seal(SECRET, aad=AAD)
    assert sealed.key_id == f"kms:{arn}"
    settings.VAULT_KEYS = f"kms:{arn}"
    assert open_sealed(sealed, aad=AAD) == SECRET


@pytest.mark.parametrize("text", ["kms:alias/no-such-key", "kms:00000000-0000-0000-0000-000000000000"])
def test_a_key_that_is_not_there_is_said(service: KeyService, settings: Settings, text: str) -> None:
    settings.VAULT_KEYS = text
    with pytest.raises(KeyServiceError, match=r"NotFoundException\.$"):
        seal(SECRET, aad=AAD)


def test_a_key_for_signing_is_not_taken(service: KeyService, settings: Settings) -> None:
    arn = service.new_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    settings.VAULT_KEYS = f"kms:{service.alias('alias/signing', arn)}"
    with pytest.raises(KeyServiceError, match="symmetric"):
        seal(SECRET, aad=AAD)


@pytest.mark.parametrize("text", ["kms:", "kms: ", "kms:arn:aws:s3:::bucket", "kms:alias/", "kms:a b", "kms:../etc"])
def test_what_cannot_be_a_key_is_one_sentence(settings: Settings, text: str) -> None:
    settings.VAULT_KEYS = text
    with pytest.raises(VaultError, match=r"^Key 1 of AGENTVALET_VAULT_KEYS .*\.$"):
        vault.check_keys()


def test_without_credentials_for_aws_it_is_one_sentence(
    service: KeyService, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    settings.VAULT_KEYS = f"kms:{service_key(service)}"
    with pytest.raises(KeyServiceError, match=r"^AWS KMS cannot be asked: NoCredentialsError\.$"):
        seal(SECRET, aad=AAD)


def service_key(service: KeyService) -> str:
    return f"arn:aws:kms:eu-central-1:123456789012:key/{uuid4()}"


def test_without_the_extra_everything_but_kms_works() -> None:
    """In a process where botocore cannot be imported."""
    code = """
import sys
sys.modules["botocore"] = None
from platforms.key_ring import KeyRing
from platforms.key_wrappers import VaultError
KeyRing("k1:" + "A" * 43 + "=")
try:
    KeyRing("kms:alias/agentvalet")
except VaultError as error:
    print(error)
"""
    ran = subprocess.run(
        [sys.executable, "-c", f"import django; from django.conf import settings\n{code}"],
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "agentvalet.settings"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.count("\n") == 1
    assert "deploy/kms.lock" in ran.stdout


class TestRotation:
    """Between keys in the settings and in the service, while everything runs."""

    @pytest.fixture
    def side(self, service: KeyService, acme: Side, settings: Settings) -> Side:
        settings.VAULT_KEYS = self.old = settings_key("old")
        Connection.objects.all().delete()
        for label in ("Main", "Second", "Third"):
            make_connection(acme.platform, f"tok-{label}", label=label, default=label == "Main")
        return acme

    def run(self) -> str:
        out = StringIO()
        call_command("rotate_vault_key", stdout=out)
        return out.getvalue()

    def credentials(self) -> set[str]:
        return {opened(row) for row in Connection.objects.all()}

    def test_it_goes_into_the_service_and_back(self, side: Side, service: KeyService, settings: Settings) -> None:
        before, arn = self.credentials(), service.new_key()
        settings.VAULT_KEYS = f"kms:{arn},{self.old}"
        assert f"Key kms:{arn}: 3 re-wrapped" in self.run()
        settings.VAULT_KEYS = f"kms:{arn}"
        assert self.credentials() == before
        check_vault()
        settings.VAULT_KEYS = f"{self.old},kms:{arn}"
        assert "Key old: 3 re-wrapped" in self.run()
        settings.VAULT_KEYS = self.old
        assert self.credentials() == before

    def test_one_that_was_stopped_is_finished_by_the_next(
        self, side: Side, service: KeyService, settings: Settings
    ) -> None:
        before = self.credentials()
        settings.VAULT_KEYS = f"kms:{service.new_key()},{self.old}"
        next(rotate(forget_unreadable=False, request_id=uuid4(), now=timezone.now()))
        assert self.credentials() == before
        assert "2 re-wrapped, 1 there already" in self.run()
        assert self.credentials() == before

    @pytest.mark.parametrize("options", [[], ["--forget-unreadable"]])
    def test_one_without_the_service_gives_nothing_up(
        self, side: Side, mortal: KeyService, settings: Settings, options: list[str]
    ) -> None:
        settings.VAULT_KEYS = f"kms:{mortal.new_key()},{self.old}"
        next(rotate(forget_unreadable=False, request_id=uuid4(), now=timezone.now()))
        mortal.kill()
        before = list(Connection.objects.order_by("pk").values())
        with pytest.raises(CommandError, match=r"AWS KMS cannot be asked.* run it again"):
            call_command("rotate_vault_key", *options, stdout=StringIO())
        assert list(Connection.objects.order_by("pk").values()) == before

    def test_a_credential_that_changes_meanwhile_is_not_put_back(
        self, side: Side, service: KeyService, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.VAULT_KEYS = f"kms:{service.new_key()},{self.old}"
        changed: list[bool] = []

        def slow_rewrap(sealed: Sealed, *, aad: bytes) -> Sealed:
            if not changed:
                changed.append(True)
                store(Connection.objects.order_by("pk")[0], "tok-fresh")
            return rewrap(sealed, aad=aad)

        monkeypatch.setattr("platforms.stored_credentials.rewrap", slow_rewrap)
        self.run()
        assert "tok-fresh" in self.credentials()
        assert set(Connection.objects.values_list("credential_key_id", flat=True)) == {
            settings.VAULT_KEYS.split(",")[0]
        }


def store(connection: Connection, credential: str) -> None:
    connection.credential_version += 1
    sealed = seal(credential, aad=credential_aad(connection_id=connection.pk, version=connection.credential_version))
    connection.credential_key_id, connection.credential_wrapped_key, connection.credential_ciphertext = sealed
    connection.save()


def opened(row: Connection) -> str:
    sealed = Sealed(row.credential_key_id, bytes(row.credential_wrapped_key), bytes(row.credential_ciphertext))
    return open_sealed(sealed, aad=credential_aad(connection_id=row.pk, version=row.credential_version))


class TestCalls:
    @pytest.fixture
    def side(self, mortal: KeyService, acme: Side, settings: Settings) -> Side:
        """The credential of Acme is under a key of a service that can be killed."""
        settings.VAULT_KEYS = f"kms:{mortal.new_key()}"
        store(acme.connection, SECRET.replace("\u00f6", "o"))
        leaks._by_owner.clear()
        leaks._cache.clear()
        return acme

    def test_a_direct_call_is_not_sent_while_the_service_is_away(
        self, client: Client, side: Side, mortal: KeyService, platform: CountingPlatform, known: Callable[[], None]
    ) -> None:
        known()
        mortal.kill()
        answer = client.post("/v1/actions", READ, content_type="application/json", headers=bearer(side.agent))
        assert (answer.status_code, answer.json()["code"]) == (502, "credential_unavailable")
        assert platform.requests == []
        last = AuditEvent.objects.filter(owner_id=side.owner.pk).order_by("seq").last()
        assert last is not None
        assert (last.event, last.reason) == ("action.failed", "credential_unavailable")

    def test_nothing_is_stored_that_could_not_be_searched_for_secrets(
        self, client: Client, side: Side, mortal: KeyService, platform: CountingPlatform
    ) -> None:
        mortal.kill()
        answer = client.post(
            "/v1/actions", READ | {"endpoint": "/x?words"}, content_type="application/json", headers=bearer(side.agent)
        )
        assert (answer.status_code, answer.json()["code"]) == (502, "credential_unavailable")
        last = AuditEvent.objects.filter(owner_id=side.owner.pk).order_by("seq").last()
        assert last is not None
        assert (last.event, last.reason) == ("action.denied", "credential_unavailable")
        assert "words" not in json.dumps(last.metadata)
        assert platform.requests == []

    def test_an_approved_call_is_not_sent_and_says_why(
        self, side: Side, mortal: KeyService, platform: CountingPlatform
    ) -> None:
        approval = submit(side)
        services.approve(
            member=side.approver, approval_id=approval.pk, digest=approval.digest, via="page", now=timezone.now()
        )
        mortal.kill()
        execute(approval_id=approval.pk, now=timezone.now())
        approval.refresh_from_db()
        assert platform.requests == []
        assert approval.execution_error == "AWS KMS cannot be asked: EndpointConnectionError. Nothing was sent."

    def test_the_start_says_what_to_do(self, side: Side, mortal: KeyService) -> None:
        check_vault()
        mortal.kill()
        with pytest.raises(StartRefused, match=r"AWS KMS cannot be asked.*Check the AWS credentials") as refused:
            check_vault()
        assert "forget" not in str(refused.value)

    def test_provisioning_says_so_and_changes_nothing(self, side: Side, mortal: KeyService) -> None:
        mortal.kill()
        before = list(Connection.objects.order_by("pk").values())
        with pytest.raises(ProvisionError, match="AWS KMS cannot be asked"):
            provision_main(side, "tok-2")
        assert list(Connection.objects.order_by("pk").values()) == before

    def test_no_log_at_any_level_shows_a_data_key(
        self, side: Side, mortal: KeyService, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.DEBUG):
            row = Connection.objects.get()
            assert opened(row)
        plain = mortal.admin.decrypt(
            CiphertextBlob=bytes(row.credential_wrapped_key),
            EncryptionContext={
                "application": "agentvalet",
                "credential": credential_aad(connection_id=row.pk, version=row.credential_version).decode(),
            },
        )["Plaintext"]
        assert base64.b64encode(plain).decode() not in caplog.text
        assert not [one for one in caplog.records if one.name.startswith("botocore") and one.levelno < logging.INFO]

    @pytest.fixture
    def known(self, side: Side) -> Callable[[], None]:
        """Has this process learned what credentials look like, as it has after the first call of an owner."""
        return lambda: leaks.refuse_secrets(owner_id=side.owner.pk, texts={})


def provision_main(side: Side, token: str) -> None:
    text = f"owner: {side.owner.name}\nconnections: [{{platform: acme-chat, label: Main, default: true, credential_env: T}}]\n"
    provision(text, base=Path("/nowhere"), env={"T": token})


@pytest.mark.django_db(transaction=True)
def test_the_service_is_never_asked_inside_a_transaction(
    service: KeyService, settings: Settings, platform: CountingPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.VAULT_KEYS = settings_key("old")
    side = make_side("Acme", base_url=platform.url, token=platform.token)
    settings.VAULT_KEYS = f"kms:{service.new_key()},{settings.VAULT_KEYS}"
    asked: list[bool] = []
    context = aws_kms._context

    def watched(aad: bytes) -> dict[str, str]:
        asked.append(database.in_atomic_block)
        return context(aad)

    monkeypatch.setattr(aws_kms, "_context", watched)
    call_command("rotate_vault_key", stdout=StringIO())
    provision_main(side, "tok-2")
    provision_main(side, platform.token)
    approval = submit(side)
    services.approve(
        member=side.approver, approval_id=approval.pk, digest=approval.digest, via="page", now=timezone.now()
    )
    execute(approval_id=approval.pk, now=timezone.now())
    approval.refresh_from_db()
    assert (approval.execution_error, len(platform.requests)) == (None, 1)
    assert len(asked) >= 6
    assert not any(asked)
