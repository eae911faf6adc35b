"""/approvals: what it says, what a refresh costs, who sees what."""

import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from agents.models import Agent, AgentStatus
from approvals.models import ApprovalRequest, Queue
from approvals.transitions import expire_due
from tests.pages.scene import Scene, signed_in

FRAGMENT = {"X-Fragment": "1"}


def version_of(html: str) -> int:
    found = re.search(r'data-version="(\d+)"', html)
    assert found
    return int(found[1])


def refresh(client: Client, version: int) -> tuple[int, str]:
    response = client.get(f"/approvals?version={version}", headers=FRAGMENT)
    return response.status_code, response.content.decode()


def test_the_empty_queue_says_so(admin: Client) -> None:
    html = admin.get("/approvals").content.decode()
    assert "<title>Pending Approvals · AgentValet</title>" in html
    assert ">Pending Approvals</h1>" in html
    assert ">Auto-refreshes every 5 seconds.</p>" in html
    assert ">✓ No pending approvals</p>" in html
    assert ">All agent actions are within approved permissions.</p>" in html
    assert re.search(r"data-pending-badge hidden", html)
    Agent.objects.update(status=AgentStatus.REVOKED)
    without = admin.get("/approvals").content.decode()
    assert ">✓ No pending approvals</p>" in without
    assert 'There are no agents yet. <a href="/set-up/steps">First steps</a>' in without
    assert "All agent actions are within approved permissions." not in without


def test_a_card_says_who_wants_what_and_for_how_long(scene: Scene, admin: Client) -> None:
    approval = scene.submit({"channel": "#ops", "text": "Deploy 4.2"}, reason="The release is due")
    html = admin.get("/approvals").content.decode()
    assert ">1 pending</span>" in html
    assert "<title>(1) Pending Approvals · AgentValet</title>" in html
    for shown in (
        "deploy-bot",
        "acme-chat",
        "chat:write",
        "POST /api/messages",
        "{&quot;channel&quot;: &quot;#ops&quot;, &quot;text&quot;: &quot;Deploy 4.2&quot;}",
        "https://chat.example.com/api/messages",
        "The release is due",
        "Main",
        "192.0.2.1",
        approval.digest[:12],
        approval.digest,
        "Never before",
    ):
        assert shown in html, shown
    assert re.search(r"data-time-left>(10:00|9:5\d)</time>", html)
    assert f'name="digest" value="{approval.digest}"' in html
    assert ">Approve<" in html
    assert ">Deny<" in html
    assert re.search(r"data-empty hidden", html)


def test_cards_come_oldest_first(scene: Scene, admin: Client) -> None:
    now = timezone.now()
    ids = [scene.submit({"n": n}, now=now - timedelta(seconds=9 - n)).pk for n in range(3)]
    html = admin.get("/approvals").content.decode()
    assert re.findall(r'data-card="([^"]+)"', html) == [str(pk) for pk in ids]


def test_more_than_a_page_is_counted_and_said(scene: Scene, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("approvals.listing.MOST_CARDS", 2)
    for n in range(5):
        scene.submit({"n": n})
    html = admin.get("/approvals").content.decode()
    assert html.count("data-card=") == 2
    assert "5 pending" in html
    assert "3 more are waiting." in html


def test_a_refresh_without_news_is_204_and_reads_one_row(
    scene: Scene, admin: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    scene.submit({"n": 1})
    version = version_of(admin.get("/approvals").content.decode())
    with django_assert_num_queries(4) as captured:  # session, user, member with owner, and the queue's row
        status, html = refresh(admin, version)
    assert (status, html) == (204, "")
    assert [query["sql"].startswith('SELECT "approvals_queue"."version"') for query in captured].count(True) == 1
    assert not any("approvals_approvalrequest" in query["sql"] for query in captured)


def test_a_refresh_with_news_is_the_list_alone(scene: Scene, admin: Client) -> None:
    version = version_of(admin.get("/approvals").content.decode())
    approval = scene.submit({"n": 1})
    status, html = refresh(admin, version)
    assert status == 200
    assert version_of(html) > version
    assert f'data-card="{approval.pk}"' in html
    assert "<html" not in html


@pytest.mark.parametrize("version", ["", "x", "-1", "9" * 30, "١"])
def test_nonsense_as_version_gets_the_whole_list(scene: Scene, admin: Client, version: str) -> None:
    scene.submit({"n": 1})
    response = admin.get("/approvals", {"version": version}, headers=FRAGMENT)
    assert response.status_code == 200
    assert b"data-card=" in response.content


def test_a_page_asked_for_without_the_header_is_always_whole(scene: Scene, admin: Client) -> None:
    version = version_of(admin.get("/approvals").content.decode())
    response = admin.get(f"/approvals?version={version}")
    assert response.status_code == 200
    assert b"<html" in response.content
    assert "X-Fragment" in response["Vary"]
    assert "no-store" in response["Cache-Control"]


def test_a_card_whose_time_is_up_goes_before_the_sweep_comes(scene: Scene, admin: Client) -> None:
    approval = scene.submit({"n": 1})
    version = version_of(admin.get("/approvals").content.decode())
    ApprovalRequest.objects.filter(pk=approval.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    asked = admin.get(f"/approvals?version={version}&expired=1", headers=FRAGMENT)
    assert asked.status_code == 200
    assert b"data-card=" not in asked.content
    assert refresh(admin, version)[0] == 204  # nothing has counted the queue on yet
    expire_due(now=timezone.now())
    assert refresh(admin, version)[0] == 200


def test_an_approved_call_is_processing_until_it_has_an_outcome(scene: Scene, admin: Client) -> None:
    approval = scene.approve(scene.submit({"n": 1}))
    html = admin.get("/approvals").content.decode()
    assert "Processing…" in html
    assert 'data-state="processing"' in html
    assert ">Approve<" not in html
    assert re.search("data-pending-badge hidden", html)
    scene.fail(approval, "the platform did not answer in time.")
    assert "data-card=" not in admin.get("/approvals").content.decode()


def test_a_failed_call_is_told_once_to_pages_that_saw_it_before(scene: Scene, admin: Client) -> None:
    approval = scene.approve(scene.submit({"n": 1}))
    before = version_of(admin.get("/approvals").content.decode())
    scene.fail(approval, "the platform did not answer in time.")
    status, html = refresh(admin, before)
    assert status == 200
    assert 'role="alert"' in html
    assert "acme-chat: the platform did not answer in time." in html
    assert f'data-outcome="{approval.pk}"' in html
    assert "data-outcome" not in admin.get("/approvals").content.decode()
    scene.submit({"n": 2})
    assert "data-outcome" not in refresh(admin, version_of(html))[1]


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(503, "acme-chat answered 503 Service Unavailable to chat:write."), (299, ""), (599, "599 unknown status")],
)
def test_what_the_platform_answered_is_told_and_a_refusal_in_one_sentence(
    scene: Scene, admin: Client, status: int, sentence: str
) -> None:
    approval = scene.approve(scene.submit({"n": 1}))
    before = version_of(admin.get("/approvals").content.decode())
    now = timezone.now()
    version = Queue.objects.get(owner=scene.owner).version + 1
    Queue.objects.filter(owner=scene.owner).update(version=version)
    ApprovalRequest.objects.filter(pk=approval.pk).update(
        execution_started_at=now,
        executed_at=now,
        result_status=status,
        result_json=f'{{"status":{status},"data":null}}',
        queue_version=version,
    )
    html = refresh(admin, before)[1]
    assert f'data-words="{"Failed" if sentence else "Sent"}: {status}"' in html
    assert ('role="alert"' in html) is bool(sentence)
    assert sentence in html


def test_the_same_call_made_before_is_said(scene: Scene, admin: Client) -> None:
    first = scene.approve(scene.submit({"n": 1}))
    at = timezone.now() - timedelta(days=1)
    ApprovalRequest.objects.filter(pk=first.pk).update(
        execution_started_at=at, executed_at=at, result_status=200, result_json='{"status":200,"data":null}'
    )
    scene.submit({"n": 1})
    html = admin.get("/approvals").content.decode()
    assert "Never before" not in html
    assert f"{at:%Y-%m-%d %H:%M} UTC" in html


def test_an_auditor_sees_cards_and_no_buttons(scene: Scene) -> None:
    scene.submit({"n": 1})
    html = signed_in(scene.auditor).get("/approvals").content.decode()
    assert "data-card=" in html
    assert "Your role reads only." in html
    assert "data-decide" not in html


def test_a_strangers_queue_and_pages_show_nothing_of_ours(scene: Scene, stranger: Client) -> None:
    approval = scene.submit({"n": 1})
    assert b"data-card=" not in stranger.get("/approvals").content
    assert stranger.get(f"/approvals/{approval.pk}").status_code == 404
    assert stranger.get(f"/approvals/{uuid4()}").status_code == 404


def test_a_row_changed_behind_our_back_cannot_be_decided(scene: Scene, admin: Client) -> None:
    approval = scene.submit({"n": 1})
    ApprovalRequest.objects.filter(pk=approval.pk).update(scope="chat:read")
    html = admin.get("/approvals").content.decode()
    assert 'data-state="tampered"' in html
    assert "This row was changed; it cannot be decided." in html
    assert "data-decide" not in html


def test_strangers_to_the_site_are_sent_to_sign_in_and_scripts_get_a_bare_401(scene: Scene) -> None:
    page = Client().get("/approvals?version=3")
    assert (page.status_code, page["Location"]) == (302, "/sign-in?next=/approvals%3Fversion%3D3")
    part = Client().get("/approvals?version=3", headers=FRAGMENT)
    assert (part.status_code, part.content) == (401, b"")
