"""Canonical text: whatever goes in comes out again, so two different records never share a text."""

import json
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from audit.chain import canonical_body, column_text
from audit.models import AuditEvent
from audit.recordable import metadata_text, storable
from audit.verify import verify_owner
from tests.audit.conftest import Write

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)  # lone surrogates and NUL among it
STORABLE_TEXT = st.text(max_size=40)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | STORABLE_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(STORABLE_TEXT, inner, max_size=4),
    max_leaves=12,
)
METADATA = st.dictionaries(STORABLE_TEXT, VALUES, max_size=5)


def _sorted(value: Any) -> Any:
    """VALUE with the keys of its objects sorted, so that repr() compares types too (1, 1.0 and True are equal)."""
    if isinstance(value, dict):
        return {key: _sorted(item) for key, item in sorted(value.items())}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


@given(record=st.dictionaries(STORABLE_TEXT, STORABLE_TEXT | st.none(), min_size=1), metadata=METADATA)
def test_a_canonical_text_gives_back_exactly_what_it_was_made_of(
    record: dict[str, str | None], metadata: dict[str, Any]
) -> None:
    pairs = json.loads('{"seq":7' + canonical_body(record=record, metadata=metadata), object_pairs_hook=list)
    fields = pairs[2:-1]
    assert [name for name, _ in pairs[:2]] == ["seq", "v"]
    assert fields == list(record.items())
    assert repr(json.loads(metadata_text(metadata))) == repr(_sorted(metadata))


@given(metadata=METADATA)
def test_the_order_of_keys_makes_no_difference(metadata: dict[str, Any]) -> None:
    backwards = dict(reversed(metadata.items()))
    assert metadata_text(backwards) == metadata_text(metadata)


def test_texts_that_look_alike_stay_apart() -> None:
    alike = ["\0", "\\u0000", "\ufffd", "", "null", "é", "e\u0301", "\u2028", "😀", "\\ud83d\\ude00", '"', '\\"']
    assert len({metadata_text({"text": text}) for text in alike}) == len(alike)


def test_keys_that_differ_in_lone_surrogates_only_keep_both_values() -> None:
    metadata = dict(zip(["\ud800", "\ud801", "\ufffd"], [1, 2, 3], strict=True))
    assert sorted(json.loads(metadata_text(metadata)).values()) == [1, 2, 3]


@pytest.mark.django_db
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=ANY_TEXT, text=ANY_TEXT)
@example(key="\0", text="a\0b")
@example(key="\ud800", text="\udfff\ud800")
@example(key="", text="\\u0000")
def test_any_text_is_recorded_and_verifies(write: Write, key: str, text: str) -> None:
    owner_id = uuid4()
    [audit_id] = write(owner_id, metadata={"k" + key: text, "list": [text]}, agent_name=text, reason=text, action=text)
    row = AuditEvent.objects.get(id=audit_id)
    assert row.metadata == {"k" + storable(key): storable(text), "list": [storable(text)]}
    assert row.agent_name == row.reason == column_text(storable(text))
    assert verify_owner(owner_id=owner_id).verifies


@pytest.mark.django_db
def test_two_halves_of_a_pair_are_not_taken_for_the_whole(write: Write) -> None:
    """json.dumps writes both as the same escapes; only what can be stored apart is stored."""
    owner_id = uuid4()
    write(owner_id, metadata={"halves": "\ud83d\ude00", "whole": "😀"})
    assert AuditEvent.objects.get(owner_id=owner_id).metadata == {"halves": "\ufffd\ufffd", "whole": "😀"}
