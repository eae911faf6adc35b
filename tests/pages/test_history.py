"""/approvals/history, and what the page of an ended call says and offers."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from approvals import history, services
from approvals.models import ApprovalRequest
from approvals.stored_forms import MOST_BYTES
from approvals.transitions import expire_due
from audit.models import AuditEvent
from platforms.models import Platform
from tests.pages.scene import Scene, signed_in

PATH = "/approvals/history"


def deny(scene: Scene, approval: ApprovalRequest, reason: str = "") -> ApprovalRequest:
    return services.deny(
        member=scene.approver,
        approval_id=approval.pk,
        digest=approval.digest,
        reason=reason,
        via="dashboard",
        now=timezone.now(),
    )


def answer(scene: Scene, approval: ApprovalRequest, status: int = 200) -> ApprovalRequest:
    scene.approve(approval)
    now = timezone.now()
    ApprovalRequest.objects.filter(pk=approval.pk).update(
        execution_started_at=now,
        executed_at=now,
        result_status=status,
        result_json=f'{{"status":{status},"data":null}}',
    )
    return approval


@pytest.fixture
def ended(scene: Scene) -> dict[str, ApprovalRequest]:
    """One of each state, and one that waits and one that runs."""
    now = timezone.now()
    rows = {
        "approved": answer(scene, scene.submit({"n": 1})),
        "denied": deny(scene, scene.submit({"n": 2}), "Not on a <b>Friday</b>"),
        "expired": scene.submit({"n": 3}, now=now - timedelta(hours=1)),
        "failed": scene.approve(scene.submit({"n": 4})),
        "turned down": answer(scene, scene.submit({"n": 5}), status=404),
        "unknown": scene.lose(scene.submit({"n": 6})),
    }
    expire_due(now=now)
    scene.fail(rows["failed"], "the platform did not answer in time.")
    rows["waits"], rows["runs"] = scene.submit({"n": 7}), scene.approve(scene.submit({"n": 8}))
    return rows


def listed(html: str) -> list[str]:
    return re.findall(r'class="row-name"><a href="/approvals/([^"]+)"', html)


def get(client: Client, **query: str) -> str:
    response = client.get(PATH, query)
    assert response.status_code == 200
    return response.content.decode()


@pytest.mark.parametrize("role", ["admin", "approver", "auditor"])
def test_every_member_sees_what_has_ended_and_nothing_else(
    scene: Scene, ended: dict[str, ApprovalRequest], role: str
) -> None:
    html = get(signed_in(scene.members[role]))
    assert set(listed(html)) == {str(row.pk) for name, row in ended.items() if name not in {"waits", "runs"}}
    for shown in ("Outcome unknown", "Not on a &lt;b&gt;Friday&lt;/b&gt;", "answered 404 Not Found", "approver@acme"):
        assert shown in html
    for link in listed(html):
        assert f'<a href="/approvals/{link}">' in html


def test_a_stranger_sees_nothing_of_it(ended: dict[str, ApprovalRequest], stranger: Client) -> None:
    html = get(stranger)
    assert listed(html) == []
    assert "Nothing has been decided yet." in html
    assert listed(get(stranger, agent=ended["denied"].agent_id)) == []


@pytest.mark.parametrize(
    ("state", "names"),
    [
        ("approved", {"approved"}),
        ("denied", {"denied"}),
        ("expired", {"expired"}),
        ("failed", {"failed", "turned down"}),
        ("unknown", {"unknown"}),
    ],
)
def test_a_state_keeps_to_its_rows(
    admin: Client, ended: dict[str, ApprovalRequest], state: str, names: set[str]
) -> None:
    assert set(listed(get(admin, state=state))) == {str(ended[name].pk) for name in names}


def test_an_agent_stands_for_its_children_too(scene: Scene, admin: Client) -> None:
    child = scene.add_agent("deploy-bot child")
    other = scene.add_agent("other")
    rows = [deny(scene, scene.submit({"n": 1}, agent=agent)) for agent in (scene.agent, child, other)]
    assert listed(get(admin, agent=other.pk)) == [str(rows[2].pk)]
    child.parent, child.expires_at = scene.agent, timezone.now() + timedelta(hours=1)
    child.save()
    assert set(listed(get(admin, agent=scene.agent.pk))) == {str(rows[0].pk), str(rows[1].pk)}


def test_platform_and_days_keep_to_their_rows(scene: Scene, admin: Client) -> None:
    scene.add_platform("github", base_url="https://api.github.com", connection="x", scopes={"all": ["* /**"]})
    row = deny(scene, scene.submit({"n": 1}))
    theirs = deny(scene, scene.submit({"n": 1}, platform="github", scope="all", endpoint="/repos"))
    ApprovalRequest.objects.filter(pk=row.pk).update(decided_at="2026-03-01T23:59:59.999999Z")
    assert listed(get(admin, platform="github")) == [str(theirs.pk)]
    assert listed(get(admin, to="2026-03-01")) == [str(row.pk)]
    assert listed(get(admin, **{"from": "2026-03-01", "to": "2026-03-01"})) == [str(row.pk)]
    assert listed(get(admin, **{"from": "2026-03-02"})) == [str(theirs.pk)]
    assert 'value="2026-03-02"' in get(admin, **{"from": "2026-03-02"})


HOSTILE = ["\0", "x", "' OR 1=1 --", "9999-12-31", "0001-01-01", "²", "<script>", "agt_" + "x" * 300, "_"]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", ["state", "agent", "platform", "from", "to", "before"])
def test_nonsense_in_the_address_is_no_error(admin: Client, name: str, text: str) -> None:
    assert "<script>" not in get(admin, **{name: text}).replace("<script src", "")
    get(admin, before=f"{text}_{uuid4()}")


def test_pages_follow_each_other_without_gap_or_repetition(
    scene: Scene, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "PER_PAGE", 3)
    rows = [str(deny(scene, scene.submit({"n": n})).pk) for n in range(8)]
    same = timezone.now()  # decided at one moment: the id decides
    ApprovalRequest.objects.update(decided_at=same)
    seen: list[str] = []
    address: str | None = f"{PATH}?state=denied"
    while address:
        html = admin.get(address).content.decode()
        seen += listed(html)
        found = re.search(r'rel="next" href="([^"]+)"', html)
        address = found[1].replace("&amp;", "&") if found else None
        assert address is None or "state=denied" in unquote(address)
    assert seen == sorted(rows, reverse=True)
    assert len(seen) == 8


def test_a_row_names_the_call_and_what_the_platform_answered(scene: Scene, admin: Client) -> None:
    answer(scene, scene.submit({"n": 1}), 201)
    deny(scene, scene.submit({"n": "x" * MOST_BYTES}))
    html = get(admin)
    assert html.count("<code><bdi>POST /api/messages</bdi></code>") == 1
    assert "The platform answered 201." in html


def test_it_takes_as_many_queries_for_a_full_page_as_for_one_row(
    scene: Scene, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "PER_PAGE", 8)
    deny(scene, scene.submit({"n": 0}))

    def queries() -> list[str]:
        with CaptureQueriesContext(connection) as captured:
            get(admin)
        return [query["sql"] for query in captured]

    queries()  # the first visit of a session writes down when that was
    few = queries()
    for n in range(1, 10):
        deny(scene, scene.submit({"n": n}))
    many = queries()
    assert len(many) == len(few)
    assert not any("OFFSET" in sql for sql in many)
    (rows,) = [sql for sql in many if 'ORDER BY "approvals_approvalrequest"."decided_at" DESC' in sql]
    assert not any(f'"{column}",' in rows for column in ("form", "result_json", "disclosure", "seal"))


def test_the_empty_queue_leads_to_the_history(scene: Scene, admin: Client) -> None:
    deny(scene, scene.submit({"n": 1}))
    html = admin.get("/approvals").content.decode()
    assert ">All agent actions are within approved permissions.</p>" in html
    assert f'<a href="{PATH}">What was decided before</a>' in html


def test_the_page_of_an_ended_call_has_its_decision_and_every_audit_row(scene: Scene, admin: Client) -> None:
    approval = scene.lose(scene.submit({"n": 1}))
    html = admin.get(f"/approvals/{approval.pk}").content.decode()
    for shown in ("by admin@acme.example", "(dashboard)", approval.digest, "outcome unknown:", "Outcome unknown"):
        assert shown in html
    for event in AuditEvent.objects.filter(approval_id=approval.pk):
        assert f">{event.event}</code>" in html


def page(client: Client, approval: ApprovalRequest) -> str:
    return client.get(f"/approvals/{approval.pk}").content.decode()


def post(client: Client, approval: ApprovalRequest, verb: str, **data: str) -> Any:
    return client.post(f"/approvals/{approval.pk}/{verb}", data)


def test_an_outcome_is_checked_once_and_the_second_is_told_who_was_first(scene: Scene, admin: Client) -> None:
    approval = scene.lose(scene.submit({"n": 1}))
    assert "It did not happen" in page(admin, approval)
    response = post(signed_in(scene.approver), approval, "outcome", found="not_happened", note=" no <b>trace</b>\0 ")
    assert (response.status_code, response["Location"]) == (303, f"/approvals/{approval.pk}")
    post(admin, approval, "outcome", found="happened")
    html = page(admin, approval)
    assert "Already checked by approver@acme.example at" in html
    assert "<strong>It did not happen</strong>, as approver@acme.example found" in html
    assert "no &lt;b&gt;trace&lt;/b&gt;" in html
    assert 'name="found"' not in html


@pytest.mark.parametrize("found", ["", "maybe", "\0", "Happened"])
def test_a_finding_that_is_none_is_not_recorded(scene: Scene, admin: Client, found: str) -> None:
    approval = scene.lose(scene.submit({"n": 1}))
    assert post(admin, approval, "outcome", found=found).status_code == 303
    assert "Nothing was recorded" in page(admin, approval)
    approval.refresh_from_db()
    assert approval.outcome_checked_at is None


def test_sending_again_leads_to_a_new_card_that_warns_and_links_back(scene: Scene, admin: Client) -> None:
    first = scene.lose(scene.submit({"n": 1}))
    response = post(admin, first, "again")
    second = ApprovalRequest.objects.get(again_of=first)
    assert (response.status_code, response["Location"]) == (303, f"/approvals/{second.pk}")
    html = page(admin, second)
    assert "Nothing is sent before it is approved." in html
    for shown in (html, admin.get("/approvals").content.decode()):
        assert "it may have happened, and then this makes it a second time." in shown
        assert f'<a href="/approvals/{first.pk}">See the earlier call</a>' in shown
        assert "card-earlier-warns" in shown
    assert f'<a href="/approvals/{second.pk}">The newest request for the same call</a>' in page(admin, first)
    again = post(admin, first, "again")
    assert again["Location"] == f"/approvals/{second.pk}"
    assert "The same call waits already" in page(admin, second)


def test_the_card_says_what_is_known_of_the_earlier_call(scene: Scene, admin: Client) -> None:
    not_sent = scene.approve(scene.submit({"n": 1}))
    scene.fail(not_sent, "Nothing was sent.")
    post(admin, not_sent, "again")
    assert "Repeats an earlier call that was not sent." in admin.get("/approvals").content.decode()
    checked = scene.lose(scene.submit({"n": 2}))
    post(admin, checked, "outcome", found="not_happened")
    post(admin, checked, "again")
    assert "did not happen, as admin@acme.example found." in admin.get("/approvals").content.decode()
    Platform.objects.update(honours_idempotency_key=True)
    post(admin, scene.lose(scene.submit({"n": 3})), "again")
    assert "under the same Idempotency-Key" in admin.get("/approvals").content.decode()


def test_what_cannot_be_sent_again_is_said_in_one_sentence(scene: Scene, admin: Client) -> None:
    approval = scene.lose(scene.submit({"n": 1}))
    post(admin, approval, "outcome", found="happened")
    assert post(admin, approval, "again")["Location"] == f"/approvals/{approval.pk}"
    html = page(admin, approval)
    assert "Only a call that was not sent, or whose outcome is unknown, can be sent again." in html
    assert f"/approvals/{approval.pk}/again" not in html


VERBS: list[tuple[str, dict[str, str]]] = [("outcome", {"found": "happened"}), ("again", {})]


@pytest.mark.parametrize(("verb", "data"), VERBS)
def test_only_members_who_decide_do_either_and_only_by_a_form_of_ours(
    scene: Scene, stranger: Client, verb: str, data: dict[str, str]
) -> None:
    approval = scene.lose(scene.submit({"n": 1}))
    auditor = signed_in(scene.auditor)
    assert post(auditor, approval, verb, **data).status_code == 403
    assert f"/approvals/{approval.pk}/{verb}" not in page(auditor, approval)
    assert post(stranger, approval, verb, **data).status_code == 404
    assert post(signed_in(scene.admin, enforce_csrf_checks=True), approval, verb, **data).status_code == 403
    assert signed_in(scene.admin).get(f"/approvals/{approval.pk}/{verb}").status_code == 405
    assert Client().post(f"/approvals/{approval.pk}/{verb}", data).status_code == 302
    approval.refresh_from_db()
    assert approval.outcome_checked_at is None
    assert ApprovalRequest.objects.count() == 1


def _as_is(_: Scene) -> None:
    """Nothing is repeated."""


def _with_repeats(scene: Scene) -> None:
    for n in range(3):
        post(signed_in(scene.admin), scene.lose(scene.submit({"r": n})), "again")


@pytest.mark.parametrize(("prepare", "extra"), [(_as_is, 0), (_with_repeats, 1)])
def test_repeats_cost_the_queue_one_query(
    scene: Scene, admin: Client, prepare: Callable[[Scene], None], extra: int
) -> None:
    scene.submit({"n": 1})
    admin.get("/approvals")  # the first visit of a session writes down when that was
    with CaptureQueriesContext(connection) as before:
        admin.get("/approvals")
    prepare(scene)
    with CaptureQueriesContext(connection) as after:
        admin.get("/approvals")
    assert len(after) == len(before) + extra
