"""A start that cannot work says why in one sentence and leaves: no traceback, nothing running."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from pytest_django.fixtures import Settings

from agents.models import Owner
from agentvalet import embedded, environment, keys, startup
from agentvalet.settings import env as settings_of_environment
from platforms import vault
from platforms.models import Connection, Platform, credential_aad
from tests.runtime.installation import free_port, manage

SETTINGS = settings_of_environment.scheme
PRODUCTION = {
    "AGENTVALET_MODE": "production",
    "AGENTVALET_PUBLIC_URL": "https://valet.example.com",
    "DATABASE_URL": "postgres://nobody:wrong@127.0.0.1:9/none",
    "REDIS_URL": "redis://127.0.0.1:9/0",
    "AGENTVALET_PROXY_HOPS": "1",
} | keys.fresh()


@pytest.fixture
def data() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "data"


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in PRODUCTION.items() if key != name}


REFUSED = {
    "unknown mode": ({"AGENTVALET_MODE": "prod"}, "AGENTVALET_MODE"),
    **{f"no {name}": (without(name), f"{name} is not set") for name in keys.fresh()},
    "no token key": (without("AGENTVALET_TOKEN_KEY"), "make_keys"),
    "no receipt key": (without("AGENTVALET_RECEIPT_KEY"), "make_keys"),
    "no database": (without("DATABASE_URL"), "DATABASE_URL"),
    "no broker": (without("REDIS_URL"), "REDIS_URL"),
    "no word on proxies": (without("AGENTVALET_PROXY_HOPS"), "AGENTVALET_PROXY_HOPS is not set"),
    "an empty word on proxies": (PRODUCTION | {"AGENTVALET_PROXY_HOPS": ""}, "AGENTVALET_PROXY_HOPS"),
    "fewer proxies than none": (PRODUCTION | {"AGENTVALET_PROXY_HOPS": "-1"}, "AGENTVALET_PROXY_HOPS"),
    "a single thread": ({"AGENTVALET_WEB_THREADS": "1"}, "AGENTVALET_WEB_THREADS"),
    "crash points in production": (PRODUCTION | {"AGENTVALET_CRASH_POINTS": "/tmp"}, "AGENTVALET_CRASH_POINTS"),
    "crash points in local mode": ({"AGENTVALET_CRASH_POINTS": "/tmp"}, "AGENTVALET_CRASH_POINTS"),
    "test mode for others than this machine": (
        {"AGENTVALET_MODE": "test", "AGENTVALET_PUBLIC_URL": "https://valet.example.com"},
        "AGENTVALET_PUBLIC_URL",
    ),
    "no https": (PRODUCTION | {"AGENTVALET_PUBLIC_URL": "http://valet.example.com"}, "https://"),
    "a secret file that is not there": (
        without("AGENTVALET_SEAL_KEY") | {"AGENTVALET_SEAL_KEY_FILE": "/nowhere"},
        "AGENTVALET_SEAL_KEY_FILE",
    ),
    "a number that is none": ({"AGENTVALET_APPROVAL_LIFETIME": "soon"}, "AGENTVALET_APPROVAL_LIFETIME is 'soon'"),
    "nothing at all": ({"AGENTVALET_MODE": "production"}, "AGENTVALET_PUBLIC_URL is not set (as in https://"),
    "a misspelt name": (PRODUCTION | {"AGENTVALET_MAX_PENDNG": "5"}, "is AGENTVALET_MAX_PENDING meant?"),
    "another machine in local mode": ({"AGENTVALET_PUBLIC_URL": "http://10.0.0.1"}, "AGENTVALET_PUBLIC_URL"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_setting_is_one_sentence(case: str, data: Path) -> None:
    env, word = REFUSED[case]
    ended = manage("up", "--port", str(free_port()), env={**env, "AGENTVALET_DATA": str(data)})
    assert ended.returncode in {1, 2}
    assert ended.stdout == ""
    assert ended.stderr.startswith("agentvalet: ")
    assert ended.stderr.count("\n") == 1
    assert word in ended.stderr
    assert not (data / "postgres").exists()


def test_all_that_production_lacks_is_said_at_once(data: Path) -> None:
    ended = manage("up", env={"AGENTVALET_MODE": "production", "AGENTVALET_DATA": str(data)})
    for name in PRODUCTION.keys() - {"AGENTVALET_MODE"}:
        assert f"{name} is not set" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_secret_file_stands_for_its_secret() -> None:
    given = PRODUCTION | {"AGENTVALET_SEAL_KEY": "", "AGENTVALET_SEAL_KEY_FILE": "/run/secrets/seal"}
    assert environment.lacking(given) == ""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("AGENTVALET_MOD", "is AGENTVALET_MODE meant?"),
        ("AGENTVALET_VAULT_KEY", "is AGENTVALET_VAULT_KEYS meant?"),
        ("AGENTVALET_WEBTHREADS", "is AGENTVALET_WEB_THREADS meant?"),
        ("AGENTVALET_COLOUR_OF_THE_SKY", "is not looked at."),
    ],
)
def test_a_name_that_is_no_setting_is_told_of(name: str, said: str) -> None:
    sentences = environment.unknown({name: "secret-value"}, known=SETTINGS)
    assert sentences[name].endswith(said)
    assert "secret-value" not in sentences[name]


@pytest.mark.parametrize(
    "name", ["AGENTVALET_MODE", "AGENTVALET_SEAL_KEY_FILE", "AGENTVALET_PROXY_URL", "DATABASE_URI"]
)
def test_our_names_those_of_clients_and_everybody_elses_pass(name: str) -> None:
    assert environment.unknown({name: "x"}, known=SETTINGS) == {}


@pytest.mark.services
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AGENTVALET_SEAL_KEY", "short"),
        ("AGENTVALET_AUDIT_KEY", "not base64 at all!"),
        ("AGENTVALET_VAULT_KEYS", "k1"),
        ("AGENTVALET_PRIVATE_TARGETS", "10.0.0.0/99"),
    ],
)
def test_a_setting_that_makes_no_sense_is_one_sentence(name: str, value: str, data: Path) -> None:
    reachable = {"DATABASE_URL": os.environ["DATABASE_URL"], "REDIS_URL": os.environ["REDIS_URL"]}
    ended = manage("up", "--only", "worker", env=PRODUCTION | reachable | {name: value, "AGENTVALET_DATA": str(data)})
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert name in ended.stderr


@pytest.mark.services
@pytest.mark.parametrize(
    ("name", "value"),
    [("DATABASE_URL", PRODUCTION["DATABASE_URL"]), ("REDIS_URL", PRODUCTION["REDIS_URL"])],
)
def test_a_server_that_does_not_answer_is_one_sentence(name: str, value: str, data: Path) -> None:
    reachable = {"DATABASE_URL": os.environ["DATABASE_URL"], "REDIS_URL": os.environ["REDIS_URL"]}
    env = PRODUCTION | reachable | {name: value, "AGENTVALET_DATA": str(data)}
    ended = manage("up", "--only", "worker", env=env)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert f"check {name}" in ended.stderr


@pytest.mark.services
def test_a_database_without_migrations_is_one_sentence(data: Path) -> None:
    # The server's own database, in which nothing was made.
    empty = f"{os.environ['DATABASE_URL'].rpartition('/')[0]}/postgres"
    reachable = {"DATABASE_URL": empty, "REDIS_URL": os.environ["REDIS_URL"]}
    ended = manage("up", "--only", "beat", env=PRODUCTION | reachable | {"AGENTVALET_DATA": str(data)})
    assert ended.returncode == 1
    assert ended.stderr == ("agentvalet: The database lacks migrations: run `python manage.py migrate` first.\n")


@pytest.mark.parametrize(("flag", "value"), [("--port", "70000"), ("--host", "no.such.host.invalid")])
def test_an_impossible_address_is_one_sentence(flag: str, value: str, data: Path) -> None:
    ended = manage("up", flag, value, env={"AGENTVALET_DATA": str(data)})
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert flag in ended.stderr


def test_keys_are_printed_before_anything_is_configured() -> None:
    printed = manage("make_keys", env={"AGENTVALET_MODE": "production"})
    assert printed.returncode == 0
    names = [line.partition("=")[0] for line in printed.stdout.splitlines()]
    assert names == list(keys.fresh())


@pytest.fixture
def stored_credential(db: None) -> Connection:
    owner = Owner.objects.create(name="Acme")
    platform = Platform.objects.create(
        owner=owner, slug="acme", name="Acme", base_url="https://acme.example", auth={"type": "bearer"}
    )
    row = Connection(id=uuid4(), platform=platform, label="Main")
    sealed = vault.seal("token", aad=credential_aad(connection_id=row.id, version=row.credential_version))
    row.credential_key_id, row.credential_wrapped_key, row.credential_ciphertext = sealed
    row.save()
    return row


def test_vault_keys_that_open_the_stored_credentials_pass(stored_credential: Connection) -> None:
    startup.check_vault()


def test_a_vault_key_that_was_lost_is_one_sentence(stored_credential: Connection, settings: Settings) -> None:
    settings.VAULT_KEYS = keys.fresh()["AGENTVALET_VAULT_KEYS"]
    with pytest.raises(startup.StartRefused, match=r"lacks the key 'k1'.*AGENTVALET_VAULT_KEYS"):
        startup.check_vault()


def test_a_vault_key_that_is_another_one_is_one_sentence(stored_credential: Connection, settings: Settings) -> None:
    other = keys.fresh()["AGENTVALET_VAULT_KEYS"].partition(":")[2]
    settings.VAULT_KEYS = f"k1:{other}"
    with pytest.raises(startup.StartRefused, match=r"does not open.*AGENTVALET_VAULT_KEYS"):
        startup.check_vault()


@pytest.mark.django_db
def test_the_migrations_of_the_test_database_are_complete() -> None:
    startup.check_migrations()


@pytest.mark.skipif(os.getuid() != 0, reason="only root has to hand the server to another user")
def test_root_can_keep_data_where_others_cannot_walk() -> None:
    with tempfile.TemporaryDirectory() as folder:  # mode 0700
        postgres = embedded.Postgres(data_dir=Path(folder) / "data", durable=False)
        place = embedded.socket_dir(postgres.data_dir).parent
        try:
            postgres.start()
            assert postgres.health()
            assert place.parent == Path("/var/lib/agentvalet")
        finally:
            postgres.stop()
            shutil.rmtree(place)
