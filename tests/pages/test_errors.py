"""When there is no page to show: one sentence that says what to do next; JSON under /v1."""

import json

import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import HttpRequest, HttpResponse
from django.test import Client

from agentvalet.errors import bad_request, csrf_failure, page_not_found, permission_denied, server_error
from tests.pages.scene import Scene, make_scene, signed_in


def answers(request: HttpRequest) -> list[tuple[int, HttpResponse]]:
    return [
        (400, bad_request(request, SuspiciousOperation())),
        (403, permission_denied(request, PermissionDenied())),
        (404, page_not_found(request, Exception("secret detail"))),
        (500, server_error(request)),
        (403, csrf_failure(request, "secret detail")),
    ]


def a_request(path: str) -> HttpRequest:
    request = HttpRequest()
    request.path = path
    request.request_id = "3b1f"  # type: ignore[attr-defined]  # stamped by the middleware otherwise
    return request


def test_pages_say_what_to_do_and_carry_the_number() -> None:
    for status, answer in answers(a_request("/approvals")):
        html = answer.content.decode()
        assert answer.status_code == status
        assert "3b1f" in html
        assert "AgentValet" in html
        assert "secret detail" not in html
        assert '<a class="button" href="/approvals">' in html


def test_agents_get_json() -> None:
    for status, answer in answers(a_request("/v1/nothing")):
        assert (answer.status_code, answer["Content-Type"]) == (status, "application/json")
        body = json.loads(answer.content)
        assert set(body) == {"error", "code", "correlation_id", "report_hint"}
        assert body["correlation_id"] == "3b1f"


def test_an_unknown_address_is_a_plain_404(db: None) -> None:
    page = Client().get("/nothing-here")
    assert page.status_code == 404
    assert "There is nothing here" in page.content.decode()
    assert page["X-Request-Id"] in page.content.decode()
    agent = Client().get("/v1/nothing-here")
    assert agent.json() | {"report_hint": {}} == {
        "error": "Not found",
        "code": "not_found",
        "correlation_id": agent["X-Request-Id"],
        "report_hint": {},
    }


def test_a_crash_shows_no_inside(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_args: object, **_more: object) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr("approvals.views.make_cards", crash)
    client = signed_in(scene.admin)
    client.raise_request_exception = False
    response = client.get("/approvals")
    assert response.status_code == 500
    assert "Something went wrong on our side" in response.content.decode()
    assert "hunter2" not in response.content.decode()


@pytest.mark.parametrize("path", ["/sign-in", "/approvals", "/admin/"])
def test_a_host_that_is_not_ours_is_refused(db: None, path: str) -> None:
    response = Client().get(path, headers={"Host": "evil.example"})
    assert response.status_code == 400
    assert "evil.example" not in response.content.decode()


@pytest.mark.parametrize("path", ["/sign-in", "/approvals", "/nothing-here"])
def test_every_page_forbids_what_it_does_not_need(scene: Scene, path: str) -> None:
    response = signed_in(scene.admin).get(path, follow=True)
    policy = response["Content-Security-Policy"]
    assert "script-src 'self';" in f"{policy};"
    assert "style-src 'self';" in f"{policy};"
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert response["X-Frame-Options"] == "DENY"
    html = response.content.decode()
    assert " style=" not in html
    assert " onclick=" not in html
    assert "<script>" not in html


def test_the_admin_carries_our_name_and_is_for_staff(scene: Scene) -> None:
    stranger = Client().get("/admin/", follow=True)
    assert stranger.redirect_chain[-1][0].startswith("/sign-in?next=/admin/")
    assert b"password" in stranger.content
    for path in ("/admin/", "/admin/login/"):
        member = signed_in(scene.admin).get(path)
        assert member.status_code == 403
        assert b"The admin is for staff" in member.content
        assert Client().post(path, {"username": "x", "password": "y"})["Location"] == "/sign-in?next=/"
    scene.admin.user.is_staff = True
    scene.admin.user.is_superuser = True
    scene.admin.user.save()
    staff = signed_in(scene.admin)
    assert b">AgentValet</a>" in staff.get("/admin/").content
    assert b'href="/admin/"' in staff.get("/approvals").content


def test_the_menu_has_no_admin_for_others(db: None) -> None:
    assert b'href="/admin/"' not in signed_in(make_scene().approver).get("/approvals").content
