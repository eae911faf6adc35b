"""The agent's own Idempotency-Key on POST /v1/actions: one call per key, whatever is repeated, raced or cut short."""

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db.models import F
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents.authentication import Caller
from agents.models import AgentStatus
from agentvalet.tasks import tidy
from approvals import call_log, direct
from approvals.execution import execute
from approvals.idempotency import MOST_KEPT_BYTES, KeyClaim, KeyRefused, take_key
from approvals.keyed_calls import KeyedCall
from approvals.models import ApprovalRequest
from audit.models import AuditEvent
from platforms.client import PlatformResponse
from tests.approvals.test_actions_api import READ, WRITE, events, post
from tests.approvals.test_decisions import approve, deny
from tests.approvals.test_races import ROUNDS, together
from tests.world import CountingPlatform, Side, make_side

KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"


class Killed(BaseException):
    """What a process sees of its own end: nothing below `except Exception` runs."""


def keyed(client: Client, side: Side, body: Any, key: str = KEY, **headers: str) -> Any:
    return post(client, side, body, **({"Idempotency-Key": key} | headers))


def later(**change: Any) -> None:
    """Let time pass for every key."""
    by = timedelta(**change)
    KeyedCall.objects.update(claimed_at=F("claimed_at") - by, sending_at=F("sending_at") - by)


def killed_while_sending(client: Client, side: Side, monkeypatch: pytest.MonkeyPatch, at: str = "send") -> None:
    """Begin a keyed call whose process ends where `at` is reached in `approvals.direct`."""

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(direct, at, die)
        with pytest.raises(Killed):
            keyed(client, side, READ)


def test_a_repeated_read_is_sent_once_and_answered_alike(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    first, *others = [keyed(client, acme, READ | {"endpoint": "/exact"}) for _ in range(4)]
    assert first.status_code == 200
    assert {(other.status_code, other.content) for other in others} == {(200, first.content)}
    assert len(platform.requests) == 1
    assert events(acme) == [("action.sending", ""), ("action.allowed", "")]


@pytest.mark.parametrize("endpoint", ["/status/404", "/status/503", "/own", "/html", "/text", "/empty", "/list"])
def test_whatever_the_platform_answered_is_answered_again(
    client: Client, acme: Side, platform: CountingPlatform, endpoint: str
) -> None:
    first, again = [keyed(client, acme, READ | {"endpoint": endpoint}) for _ in range(2)]
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert first["Content-Type"] == again["Content-Type"]
    assert first.get("Retry-After") == again.get("Retry-After")
    assert len(platform.requests) == 1


@pytest.mark.parametrize(
    ("endpoint", "code"),
    [("/status/401", "reauth_failed"), ("/redirect", "upstream_redirect"), ("/cut", "connection_lost")],
)
def test_a_failure_that_may_have_reached_the_platform_is_kept_too(
    client: Client, acme: Side, platform: CountingPlatform, endpoint: str, code: str
) -> None:
    answers = [keyed(client, acme, READ | {"endpoint": endpoint}) for _ in range(2)]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(502, code)] * 2
    assert len(platform.requests) == 1


def test_a_call_that_never_left_may_be_sent_again_with_its_key(
    client: Client, acme: Side, platform: CountingPlatform, settings: Settings
) -> None:
    listed, settings.PRIVATE_TARGETS = settings.PRIVATE_TARGETS, []
    assert keyed(client, acme, READ).json()["code"] == "target_refused"
    settings.PRIVATE_TARGETS = listed
    assert keyed(client, acme, READ).status_code == 200
    assert len(platform.requests) == 1


def test_a_refused_call_gives_its_key_back(client: Client, acme: Side, platform: CountingPlatform) -> None:
    grant = acme.grants["chat:read"]
    grant.revoked_at = timezone.now()
    grant.save()
    assert keyed(client, acme, READ).status_code == 403
    assert not KeyedCall.objects.exists()
    grant.revoked_at = None
    grant.save()
    assert keyed(client, acme, READ).status_code == 200
    assert len(platform.requests) == 1


def test_a_waiting_call_is_the_same_approval_whatever_became_of_it(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    first = keyed(client, acme, WRITE)
    assert first.status_code == 202
    approval = ApprovalRequest.objects.get()
    assert keyed(client, acme, WRITE).content == first.content
    approve(acme, approval)
    assert keyed(client, acme, WRITE).content == first.content
    execute(approval_id=approval.pk, now=timezone.now())
    assert keyed(client, acme, WRITE).content == first.content
    assert ApprovalRequest.objects.count() == len(platform.requests) == 1
    assert post(client, acme, WRITE).json()["approval_id"] != str(approval.pk)  # without the key it is a new call


def test_a_denied_call_is_not_asked_again_under_its_key(client: Client, acme: Side) -> None:
    first = keyed(client, acme, WRITE)
    deny(acme, ApprovalRequest.objects.get())
    assert keyed(client, acme, WRITE).content == first.content
    assert ApprovalRequest.objects.count() == 1


def test_two_keys_for_one_waiting_call_share_its_card_and_keep_it(client: Client, acme: Side) -> None:
    first, second = keyed(client, acme, WRITE, "one"), keyed(client, acme, WRITE, "two")
    deny(acme, ApprovalRequest.objects.get())
    ids = [keyed(client, acme, WRITE, key).json()["approval_id"] for key in ("one", "two")]
    assert ids == [first.json()["approval_id"], second.json()["approval_id"]]
    assert len(set(ids)) == 1


OTHER_CALLS = [
    {"endpoint": "/api/messages?limit=3"},
    {"scope": "chat:write", "method": "POST"},
    {"reason": "because"},
    {"data": None},
    {"platform": "other"},
]


@pytest.mark.parametrize("change", OTHER_CALLS, ids=lambda change: next(iter(change)))
def test_a_key_is_good_for_one_call(
    client: Client, acme: Side, platform: CountingPlatform, change: dict[str, Any]
) -> None:
    keyed(client, acme, READ)
    response = keyed(client, acme, READ | change)
    assert (response.status_code, response.json()["code"]) == (409, "idempotency_key_reused")
    assert events(acme)[-1] == ("action.denied", "idempotency_key_reused")
    assert len(platform.requests) == 1


def test_white_space_does_not_make_another_call(client: Client, acme: Side, platform: CountingPlatform) -> None:
    keyed(client, acme, json.dumps(READ))
    assert keyed(client, acme, json.dumps(READ, indent=4)).status_code == 200
    assert len(platform.requests) == 1


def test_a_key_belongs_to_its_agent(client: Client, acme: Side, stranger: Side, platform: CountingPlatform) -> None:
    assert keyed(client, acme, READ).json()["data"] == keyed(client, stranger, READ).json()["data"]
    assert len(platform.requests) == 2
    assert keyed(client, stranger, WRITE).json()["code"] == "idempotency_key_reused"


BAD_KEYS = ["", " ", '"', '""', '"half', 'half"', "a,b", "a b", "a;b", "a\\b", '"a\\b"', "é", "\x7f", "a\tb", "k" * 256]
BAD_KEYS += ['"' + "k" * 256 + '"', '"a", "b"', '"a";q=1']


@pytest.mark.parametrize("key", BAD_KEYS, ids=ascii)
def test_what_is_no_key_is_a_400_and_nothing_is_sent(
    client: Client, acme: Side, platform: CountingPlatform, key: str
) -> None:
    response = keyed(client, acme, READ, key)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_idempotency_key")
    assert events(acme) == [("action.denied", "invalid_request")]
    assert platform.requests == []


@pytest.mark.parametrize(
    ("one", "same"), [("abc", '"abc"'), ("k" * 255, '"' + "k" * 255 + '"'), ('"a \\" \\\\ b"', ' "a \\" \\\\ b" ')]
)
def test_quotes_are_not_part_of_a_key(
    client: Client, acme: Side, platform: CountingPlatform, one: str, same: str
) -> None:
    assert [keyed(client, acme, READ, key).status_code for key in (one, same)] == [200, 200]
    assert len(platform.requests) == 1


def test_the_first_call_under_way_makes_a_409_that_says_when(
    client: Client, acme: Side, platform: CountingPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_while_sending(client, acme, monkeypatch)
    response = keyed(client, acme, READ)
    assert (response.status_code, response.json()["code"]) == (409, "idempotency_in_progress")
    assert response["Retry-After"] == "1"
    assert events(acme)[-1] == ("action.denied", "idempotency_in_progress")
    assert keyed(client, acme, WRITE).json()["code"] == "idempotency_key_reused"
    assert platform.requests == []


@pytest.mark.parametrize("reached", ["send", "note_use"])
def test_a_process_that_dies_after_the_intent_leaves_an_unknown_outcome_that_is_never_sent_again(
    client: Client, acme: Side, platform: CountingPlatform, monkeypatch: pytest.MonkeyPatch, reached: str
) -> None:
    if reached == "note_use":  # the answer is there, its commit is not
        monkeypatch.setattr(call_log.CallLog, "end", lambda *_, **__: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            keyed(client, acme, READ)
    else:
        killed_while_sending(client, acme, monkeypatch)
    sent = len(platform.requests)
    later(seconds=28)
    for _ in range(2):
        response = keyed(client, acme, READ)
        assert (response.status_code, response.json()["code"]) == (502, "outcome_unknown")
        assert "not sent again" in response.json()["detail"]
    assert len(platform.requests) == sent
    assert events(acme) == [("action.sending", ""), ("action.failed", "outcome_unknown")]
    assert len(set(AuditEvent.objects.values_list("request_id", flat=True))) == 1


def test_the_end_of_a_lost_call_is_on_record_with_what_was_sent(
    client: Client, acme: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_while_sending(client, acme, monkeypatch)
    later(seconds=28)
    keyed(client, acme, READ)
    begun, ended = AuditEvent.objects.order_by("seq")
    assert (ended.platform, ended.action) == (begun.platform, begun.action) == ("acme-chat", "chat:read")
    assert ended.metadata == {name: begun.metadata[name] for name in ("method", "endpoint")}


def test_nobody_waits_for_a_clock_that_was_put_back(
    client: Client, acme: Side, platform: CountingPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_while_sending(client, acme, monkeypatch)
    later(seconds=-20)
    assert keyed(client, acme, READ).json()["code"] == "idempotency_in_progress"
    later(seconds=-3600)
    assert keyed(client, acme, READ).json()["code"] == "outcome_unknown"
    assert platform.requests == []


def test_a_process_that_dies_before_the_intent_holds_the_key_for_its_lease_only(
    client: Client, acme: Side, platform: CountingPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_while_sending(client, acme, monkeypatch, at="under_way")
    assert keyed(client, acme, READ).json()["code"] == "idempotency_in_progress"
    later(seconds=28)
    assert keyed(client, acme, READ).status_code == 200
    assert len(platform.requests) == 1


def caller(side: Side) -> Caller:
    return Caller(
        agent_id=side.agent.pk,
        agent_name=side.agent.name,
        owner_id=side.owner.pk,
        status=AgentStatus.ACTIVE,
        session_id="",
    )


def claim(side: Side, key: str = KEY) -> Any:
    return take_key(caller=caller(side), key=key, fingerprint="f", request_id=uuid4(), now=timezone.now())


def test_a_holder_that_was_held_up_until_another_took_over_sends_nothing(acme: Side) -> None:
    slow = claim(acme)
    later(seconds=28)
    assert isinstance(claim(acme), KeyClaim)
    with pytest.raises(KeyRefused):
        slow.sending(timezone.now())
    slow.give_back()  # it is not its own any more
    assert KeyedCall.objects.count() == 1


def test_an_answer_that_comes_after_the_key_was_given_up_is_not_kept(acme: Side) -> None:
    slow = claim(acme)
    slow.sending(timezone.now())
    later(seconds=28)
    with pytest.raises(Exception, match=r"^$"):
        claim(acme)
    slow.answered(PlatformResponse(200, {}, b"{}"), {}, now=timezone.now())
    assert KeyedCall.objects.get().error_code == "outcome_unknown"


def test_an_answer_too_long_to_keep_is_said_to_have_come(
    client: Client, acme: Side, platform: CountingPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("approvals.idempotency.MOST_KEPT_BYTES", 5)
    assert keyed(client, acme, READ).status_code == 200
    response = keyed(client, acme, READ)
    assert (response.status_code, response.json()["code"]) == (409, "idempotency_answer_not_kept")
    assert len(platform.requests) == 1
    assert KeyedCall.objects.get().body is None
    assert MOST_KEPT_BYTES >= 64 * 1024


def test_a_key_is_free_again_after_a_day_and_its_row_is_removed(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    keyed(client, acme, READ)
    later(hours=23, minutes=59)
    keyed(client, acme, READ)
    assert len(platform.requests) == 1
    later(minutes=1)
    assert keyed(client, acme, WRITE).status_code == 202
    keyed(client, acme, READ, "another")
    later(hours=24)
    keyed(client, acme, READ, "third")
    tidy()
    assert KeyedCall.objects.count() == 1


def test_an_agent_has_only_so_many_keys_a_day_and_repeating_costs_none(
    client: Client, acme: Side, platform: CountingPlatform, settings: Settings
) -> None:
    settings.IDEMPOTENCY_KEYS_PER_DAY = 2
    statuses = [keyed(client, acme, READ, key).status_code for key in ("a", "b", "a", "b", "c")]
    assert statuses == [200, 200, 200, 200, 429]
    assert len(platform.requests) == 2


def test_a_secret_as_a_key_is_nowhere_in_the_database(client: Client, acme: Side, platform: CountingPlatform) -> None:
    keyed(client, acme, READ, platform.token)
    row = KeyedCall.objects.values().get()
    assert platform.token not in str(row) + str(bytes(row["body"] or b"")) + str(list(AuditEvent.objects.values()))


def test_a_revoked_or_suspended_agent_gets_nothing_out_of_its_keys(client: Client, acme: Side) -> None:
    keyed(client, acme, READ)
    acme.agent.status = AgentStatus.SUSPENDED
    acme.agent.save()
    assert keyed(client, acme, READ).status_code == 403


@pytest.mark.django_db(transaction=True)
class TestRaces:
    @pytest.fixture
    def sides(self, transactional_db: None, platform: CountingPlatform) -> Side:
        return make_side("Acme", base_url=platform.url, token=platform.token)

    def test_of_many_requests_with_one_key_one_is_sent(self, sides: Side, platform: CountingPlatform) -> None:
        for round_ in range(ROUNDS):
            platform.log.write_text("")
            body = READ | {"endpoint": f"/slow/0.1?{round_}"}
            outcomes = list(together(*[lambda: keyed(Client(), sides, body, f"k{round_}")] * 4))  # noqa: B023 - run here
            assert len(platform.requests) == 1
            codes = sorted(outcome.status_code for outcome in outcomes)
            assert codes == [200, 409, 409, 409]

    def test_of_many_takeovers_one_wins(self, sides: Side) -> None:
        for round_ in range(ROUNDS):
            claim(sides, f"k{round_}")
            later(seconds=28)
            outcomes = list(together(*[lambda: claim(sides, f"k{round_}")] * 4))  # noqa: B023 - run here
            assert sum(isinstance(outcome, KeyClaim) for outcome in outcomes) == 1
            assert sum(isinstance(outcome, KeyRefused) for outcome in outcomes) == 3
