"""Platforms that take forms: the bytes are made once, when the call is asked for, and are what is decided on and sent."""

import json
from typing import Any
from urllib.parse import parse_qsl

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from approvals.binding import read_form
from approvals.models import ApprovalRequest
from audit.models import AuditEvent
from platforms.bodies import BodyRefused, make_body
from platforms.credentials import Auth
from platforms.models import Grant, Platform
from tests.approvals.test_actions_api import WRITE, post
from tests.approvals.test_decisions import approve
from tests.approvals.test_observe import CALL, observe
from tests.approvals.test_runs import run
from tests.world import CountingPlatform, Side

FORM = "application/x-www-form-urlencoded"
BEARER = Auth("bearer")


@pytest.mark.parametrize(
    ("kind", "text", "body"),
    [
        ("form", '{"amount":1000,"currency":"eur"}', "amount=1000&currency=eur"),
        ("form", '{"z":1,"a":{"y":"2","b":{"c":true}}}', "z=1&a[y]=2&a[b][c]=true"),
        ("form", '{"expand":["a.b","c"],"items":[{"price":"p","quantity":2}]}',
         "expand[0]=a.b&expand[1]=c&items[0][price]=p&items[0][quantity]=2"),
        ("form", '{"a":[[1],[2,3]]}', "a[0][0]=1&a[1][0]=2&a[1][1]=3"),
        ("form", '{"n":1.50,"e":1e3,"big":123456789012345678901234567890,"f":false}',
         "n=1.50&e=1e3&big=123456789012345678901234567890&f=false"),
        ("form", '{"unset":"","é &=+%":"ö\\n[x]"}', "unset=&%C3%A9+%26%3D%2B%25=%C3%B6%0A%5Bx%5D"),
        ("form", "{}", ""),
        ("flat-form", '{"To":"+15551","MediaUrl":["https://a.example/1","https://a.example/2"],"Smart":true}',
         "To=%2B15551&MediaUrl=https%3A%2F%2Fa.example%2F1&MediaUrl=https%3A%2F%2Fa.example%2F2&Smart=true"),
    ],
)  # fmt: skip
def test_a_form_is_made_of_the_data_in_one_way(kind: str, text: str, body: str) -> None:
    assert make_body(kind, text, auth=BEARER) == (FORM, body)
    assert all(len(pair) == 2 for pair in parse_qsl(body, keep_blank_values=True, strict_parsing=bool(body)))


REFUSED = [
    ("form", "[1]", "must be an object"),
    ("form", '"a=b"', "must be an object"),
    ("form", "null", "must be an object"),
    ("form", '{"a":null}', "null"),
    ("form", '{"a":[]}', "empty object or array"),
    ("form", '{"a":{"b":{}}}', "empty object or array"),
    ("form", '{"":1}', "brackets"),
    ("form", '{"a[b]":1}', "brackets"),
    ("form", '{"a":{"b]":1}}', "brackets"),
    ("form", '{"a":1,"a":2}', "same name twice"),
    ("form", '{"a":NaN}', "NaN"),
    *(
        ("form", json.dumps({name: "DELETE"}), "cannot set _method")
        for name in ("_Method", ".method", " _method", "_method\0x", "\t.method ")
    ),
    ("", '{"a":1,"_method":"DELETE"}', "cannot set _method"),
    ("", '{"\\u005fmethod":"DELETE"}', "cannot set _method"),
    ("form", '{"a":"\\ud800"}', "surrogate"),
    ("form", '{"a":' * 9 + "1" + "}" * 9, "8 levels"),
    ("form", '{"a":' * 90_000 + "1" + "}" * 90_000, "8 levels"),
    ("form", json.dumps({"k" * 10_000: dict.fromkeys(map(str, range(500)), 1)}), "larger than"),
    ("flat-form", '{"a":{"b":1}}', "flat"),
    ("flat-form", '{"a":[[1]]}', "flat"),
    ("flat-form", '{"a":[{"b":1}]}', "flat"),
]


@pytest.mark.parametrize(("kind", "text", "said"), REFUSED, ids=[text[:20] for _, text, _ in REFUSED])
def test_what_a_form_cannot_say_is_refused_in_one_sentence(kind: str, text: str, said: str) -> None:
    with pytest.raises(BodyRefused, match=said) as refused:
        make_body(kind, text, auth=BEARER)
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize("name", ["API_key", "api key", "api.key", "  api_key", "api_key\0[", "api.key "])
@pytest.mark.parametrize("placed", ["api_key", "api.key"])
def test_a_field_that_a_lenient_server_takes_for_the_credential_is_refused(name: str, placed: str) -> None:
    with pytest.raises(BodyRefused, match="carries the credential"):
        make_body("form", json.dumps({name: "mine"}), auth=Auth("query", placed))


def test_names_that_no_server_takes_for_another_are_sent() -> None:
    text = '{"method":"a","_methods":1,"apikey":1,"my_api_key":1,"in":{"_method":1}}'
    for kind in ("", "form"):
        assert make_body(kind, text, auth=Auth("query", "api_key"))[1]


def _data(**change: Any) -> dict[str, Any]:
    return WRITE | {"data": {"to": "cus_1", "metadata": {"order": 7}}} | change


def test_what_is_decided_on_is_the_form_and_exactly_that_is_sent(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    Platform.objects.update(body_kind="form")
    queued = post(client, acme, _data())
    approval = ApprovalRequest.objects.get(pk=queued.json()["approval_id"])
    form = read_form(bytes(approval.form))
    assert (form.content_type, form.body) == (FORM, "to=cus_1&metadata[order]=7")
    # Another kind from now on changes nothing for what was decided on.
    approve(acme, approval)
    Platform.objects.update(body_kind="")
    assert run(approval).result_status == 200
    (sent,) = platform.requests
    assert (sent["headers"]["Content-Type"], sent["body"]) == (FORM, form.body)


def test_a_direct_and_an_observed_call_carry_the_form_too(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    Platform.objects.update(body_kind="flat-form")
    Grant.objects.update(require_approval=False)
    assert post(client, acme, _data(data={"To": ["a", "b"]})).status_code == 200
    call = CALL | {"method": "POST", "endpoint": "/api/messages", "body": {"To": ["a", "b"]}}
    assert observe(client, acme, call, platform.token).status_code == 200
    assert [(sent["headers"]["Content-Type"], sent["body"]) for sent in platform.requests] == [(FORM, "To=a&To=b")] * 2


def test_a_body_that_cannot_be_made_is_a_400_on_record_and_nothing_is_sent(
    client: Client, acme: Side, platform: CountingPlatform, settings: Settings
) -> None:
    Platform.objects.update(body_kind="form")
    refusal = post(client, acme, _data(data=[1, 2]))
    assert (refusal.status_code, refusal.json()["code"]) == (400, "body_refused")
    row = AuditEvent.objects.latest("seq")
    assert (row.event, row.reason) == ("action.denied", "body_refused")
    assert platform.requests == []
    assert not ApprovalRequest.objects.exists()
