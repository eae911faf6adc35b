"""What is sealed opens only with its key, in its place, unchanged."""

import base64
import os

import pytest
from pytest_django.fixtures import Settings

from platforms.vault import Sealed, VaultError, check_keys, open_sealed, rewrap, seal

AAD = b"connection 1 version 1"
SECRET = "s3cret-t\u00f6ken"


def fresh_key(key_id: str) -> str:
    return f"{key_id}:{base64.b64encode(os.urandom(32)).decode()}"


def bytes_of(sealed: Sealed, field: str) -> bytes:
    return sealed.wrapped_key if field == "wrapped_key" else sealed.ciphertext


def with_bytes(sealed: Sealed, field: str, value: bytes) -> Sealed:
    return sealed._replace(wrapped_key=value) if field == "wrapped_key" else sealed._replace(ciphertext=value)


@pytest.fixture(autouse=True)
def vault_keys(settings: Settings) -> str:
    settings.VAULT_KEYS = fresh_key("2026")
    return str(settings.VAULT_KEYS)


def test_what_is_sealed_opens_and_is_not_readable_in_between() -> None:
    sealed = seal(SECRET, aad=AAD)
    assert open_sealed(sealed, aad=AAD) == SECRET
    assert sealed.key_id == "2026"
    assert SECRET.encode() not in sealed.ciphertext + sealed.wrapped_key


def test_nothing_repeats_when_the_same_text_is_sealed_twice() -> None:
    one, two = seal(SECRET, aad=AAD), seal(SECRET, aad=AAD)
    assert one.ciphertext[:12] != two.ciphertext[:12]
    assert one.wrapped_key[:12] != two.wrapped_key[:12]
    assert one.ciphertext[12:] != two.ciphertext[12:]


def test_a_sealed_text_does_not_open_in_another_place() -> None:
    with pytest.raises(VaultError):
        open_sealed(seal(SECRET, aad=AAD), aad=b"connection 2 version 1")


def test_the_parts_of_two_sealed_texts_do_not_mix() -> None:
    one, two = seal(SECRET, aad=AAD), seal("other", aad=AAD)
    with pytest.raises(VaultError):
        open_sealed(one._replace(ciphertext=two.ciphertext), aad=AAD)
    with pytest.raises(VaultError):
        open_sealed(one._replace(wrapped_key=two.wrapped_key), aad=AAD)


@pytest.mark.parametrize("field", ["wrapped_key", "ciphertext"])
def test_no_bit_can_be_flipped(field: str) -> None:
    sealed = seal(SECRET, aad=AAD)
    original = bytes_of(sealed, field)
    for bit in range(len(original) * 8):
        changed = bytearray(original)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(VaultError):
            open_sealed(with_bytes(sealed, field, bytes(changed)), aad=AAD)


@pytest.mark.parametrize("field", ["wrapped_key", "ciphertext"])
@pytest.mark.parametrize("length", [0, 1, 11, 12, 27, 28])
def test_no_end_can_be_cut_off(field: str, length: int) -> None:
    sealed = seal(SECRET, aad=AAD)
    with pytest.raises(VaultError):
        open_sealed(with_bytes(sealed, field, bytes_of(sealed, field)[:length]), aad=AAD)


def test_another_key_does_not_open_it(settings: Settings) -> None:
    sealed = seal(SECRET, aad=AAD)
    settings.VAULT_KEYS = fresh_key("2026")
    with pytest.raises(VaultError, match="does not open"):
        open_sealed(sealed, aad=AAD)


def test_a_missing_key_is_named(settings: Settings) -> None:
    sealed = seal(SECRET, aad=AAD)
    settings.VAULT_KEYS = fresh_key("2027")
    with pytest.raises(VaultError, match="'2026'"):
        open_sealed(sealed, aad=AAD)


def test_the_same_key_under_another_id_does_not_open_it(settings: Settings, vault_keys: str) -> None:
    sealed = seal(SECRET, aad=AAD)
    settings.VAULT_KEYS = vault_keys.replace("2026:", "2027:")
    with pytest.raises(VaultError):
        open_sealed(sealed._replace(key_id="2027"), aad=AAD)


def test_a_rotation_needs_the_old_key_only_until_all_is_rewrapped(settings: Settings, vault_keys: str) -> None:
    old = seal(SECRET, aad=AAD)
    new_key = fresh_key("2027")
    settings.VAULT_KEYS = f"{new_key},{vault_keys}"
    assert open_sealed(old, aad=AAD) == SECRET
    assert seal(SECRET, aad=AAD).key_id == "2027"
    new = rewrap(old, aad=AAD)
    assert new.key_id == "2027"
    assert new.ciphertext == old.ciphertext
    assert new.wrapped_key != old.wrapped_key
    assert rewrap(new, aad=AAD) is new
    settings.VAULT_KEYS = new_key
    assert open_sealed(new, aad=AAD) == SECRET
    with pytest.raises(VaultError):
        rewrap(old, aad=AAD)


def test_a_rewrap_does_not_move_a_text_to_another_place(settings: Settings, vault_keys: str) -> None:
    sealed = seal(SECRET, aad=AAD)
    settings.VAULT_KEYS = f"{fresh_key('2027')},{vault_keys}"
    with pytest.raises(VaultError):
        rewrap(sealed, aad=b"connection 2 version 1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "2026",
        "2026:",
        ":" + "A" * 43 + "=",
        "2026:AAAA",
        "2026:" + "A" * 43,
        "2026:" + "!" * 44,
        "k/1:" + "A" * 43 + "=",
        "2026:" + "A" * 43 + "=,",
        "2026:" + "A" * 43 + "=,2026:" + "B" * 43 + "=",
        "A" * 43 + "=",
    ],
)
def test_unusable_keys_are_refused_with_a_sentence_that_does_not_show_them(settings: Settings, text: str) -> None:
    settings.VAULT_KEYS = text
    with pytest.raises(VaultError, match=r"AGENTVALET_VAULT_KEYS.*\.$") as refused:
        check_keys()
    assert "AAA" not in str(refused.value)
    with pytest.raises(VaultError):
        open_sealed(Sealed("2026", b"", b""), aad=AAD)
