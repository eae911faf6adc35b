"""The queue in a real browser: what moves, what holds still, and what a person can do."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect

from agents.people_models import Session
from approvals import runs
from approvals.envelope import Answer
from approvals.models import ApprovalRequest, Decision
from approvals.services import deny
from tests.browser.conftest import OpenPage
from tests.pages.scene import Scene

pytestmark = pytest.mark.browser


def card(page: Page, approval: ApprovalRequest) -> Locator:
    return page.locator(f'[data-card="{approval.pk}"]')


def refresh(page: Page) -> None:
    """Let five seconds pass in the page, and wait for the answer to be worked in."""
    with page.expect_response(lambda answer: "version=" in answer.url):
        page.clock.fast_forward(5000)
    page.evaluate("() => new Promise(requestAnimationFrame)")


def row(approval: ApprovalRequest) -> ApprovalRequest:
    return ApprovalRequest.objects.get(pk=approval.pk)


def deny_elsewhere(scene: Scene, approval: ApprovalRequest) -> None:
    deny(member=scene.approver, approval_id=approval.pk, digest=approval.digest, via="dashboard", now=timezone.now())


def answered(approval: ApprovalRequest, status: int) -> None:
    runs.claim(approval_id=approval.pk, now=timezone.now())
    runs.finish(approval_id=approval.pk, answer=Answer(status, "{}"), now=timezone.now())


def finish(scene: Scene, approval: ApprovalRequest) -> None:
    scene.fail(row(approval), "the platform did not answer in time.")


def test_a_card_arrives_without_a_reload(scene: Scene, open_page: OpenPage) -> None:
    page = open_page("/approvals")
    expect(page.get_by_text("✓ No pending approvals")).to_be_visible()
    page.evaluate("window.sameDocument = true")
    approval = scene.submit({"text": "Hello"})
    refresh(page)
    expect(card(page, approval)).to_be_visible()
    expect(page.get_by_text("1 pending", exact=True)).to_be_visible()
    expect(page.get_by_text("✓ No pending approvals")).to_be_hidden()
    expect(page).to_have_title("(1) Pending Approvals · AgentValet")
    expect(page.locator("#announcer")).to_have_text(
        "New approval request: deploy-bot, acme-chat chat:write. 1 pending."
    )
    assert page.evaluate("window.sameDocument") is True


def test_a_refresh_without_news_touches_nothing(scene: Scene, open_page: OpenPage) -> None:
    scene.submit({"text": "Hello"})
    page = open_page("/approvals")
    page.evaluate(
        """() => { window.changes = 0; new MutationObserver((list) => { window.changes += list.length; })
        .observe(document.querySelector("[data-cards]"), {childList: true}); }"""
    )
    with page.expect_response(lambda answer: "version=" in answer.url and answer.status == 204):
        page.clock.fast_forward(5000)
    assert page.evaluate("window.changes") == 0


def test_the_timer_counts_down_by_the_servers_clock(scene: Scene, open_page: OpenPage) -> None:
    approval = scene.submit({"n": 1}, now=timezone.now() - timedelta(seconds=300))
    page = open_page("/approvals")
    page.route("**/approvals?*", lambda route: None)  # no answer: it would say that no minute has passed for the server
    timer = card(page, approval).locator("[data-time-left]")

    def seconds() -> int:
        minutes, rest = timer.inner_text().split(":")
        return int(minutes) * 60 + int(rest)

    before = seconds()
    assert 240 <= before <= 300
    page.clock.fast_forward(60_000)
    assert before - 90 <= seconds() <= before - 59


def test_deny_takes_the_card_away_and_hands_on_the_reason(scene: Scene, open_page: OpenPage) -> None:
    approval = scene.submit({"text": "Hello"})
    page = open_page("/approvals")
    page.get_by_placeholder("Reason for denying (optional)").fill("Not today")
    page.get_by_role("button", name="Deny").click()
    expect(card(page, approval)).to_have_count(0)
    expect(page.get_by_text("✓ No pending approvals")).to_be_visible()
    assert (row(approval).decision, row(approval).deny_reason) == (Decision.DENIED, "Not today")
    expect(page.get_by_text("All agent actions are within approved permissions.")).to_have_count(0)
    expect(page.locator("#said")).to_contain_text("Denied: POST /api/messages of deploy-bot. Nothing was sent.")
    page.locator("#said").get_by_role("link", name="View call").click()
    expect(page).to_have_url(re.compile(f"/approvals/{approval.pk}$"))


def test_a_call_that_ran_says_what_the_platform_answered(scene: Scene, open_page: OpenPage) -> None:
    first, second, _ = (scene.submit({"n": n}) for n in range(3))
    page = open_page("/approvals")
    said = page.locator("#said [data-toast]")
    card(page, second).get_by_role("button", name="Deny").click()
    expect(said).to_contain_text("Denied: ")
    card(page, first).get_by_role("button", name="Approve").click()
    expect(said).to_contain_text(
        "Approved: POST /api/messages of deploy-bot. The call is on its way."
    )  # the newest alone
    expect(card(page, first)).to_have_attribute("data-state", "processing")
    answered(first, 201)
    page.clock.fast_forward(1000)
    expect(said).to_contain_text("Approved: POST /api/messages of deploy-bot. Sent: 201. View call")
    slot = page.locator("[data-slot]").first  # the pointer is on it
    expect(slot).to_have_text("Sent: 201: deploy-bot, acme-chat chat:write View call")
    expect(slot.get_by_role("link")).to_have_attribute("href", f"/approvals/{first.pk}")


def test_approve_shows_processing_and_goes_when_the_call_has_finished(scene: Scene, open_page: OpenPage) -> None:
    approval = scene.submit({"text": "Hello"})
    page = open_page("/approvals")
    page.get_by_role("button", name="Approve").click()
    expect(card(page, approval).get_by_text("Processing…")).to_be_visible()
    expect(card(page, approval).get_by_role("button")).to_have_count(0)
    expect(page.locator("[data-pending-badge]")).to_be_hidden()
    expect(card(page, approval)).to_have_attribute("data-state", "processing")
    finish(scene, approval)
    page.clock.fast_forward(1000)  # it asks more often while something is running
    expect(card(page, approval)).to_have_count(0)
    toast = page.get_by_role("alert")
    expect(toast).to_contain_text("acme-chat: the platform did not answer in time.")
    scene.submit({"text": "Next"})
    refresh(page)
    expect(toast).to_have_count(1)
    toast.get_by_role("button", name="Dismiss").click()
    expect(toast).to_have_count(0)


def test_a_second_click_cannot_hit_the_next_card(scene: Scene, open_page: OpenPage) -> None:
    first, second = (scene.submit({"n": n}) for n in range(2))
    page = open_page("/approvals")
    box = card(page, second).bounding_box()
    card(page, first).get_by_role("button", name="Deny").dblclick()
    expect(card(page, first)).to_have_count(0)
    page.mouse.down()
    page.mouse.up()
    expect(page.locator("[data-slot]")).to_have_text("Denied: deploy-bot, acme-chat chat:write View call")
    assert card(page, second).bounding_box() == box
    assert row(second).decision == Decision.PENDING
    page.mouse.move(5, 5)
    page.clock.fast_forward(1000)
    expect(page.locator("[data-slot]")).to_have_count(0)


def test_a_double_click_on_approve_decides_once(scene: Scene, open_page: OpenPage) -> None:
    approval = scene.submit({"text": "Hello"})
    page = open_page("/approvals")
    posts = []
    page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    page.get_by_role("button", name="Approve").dblclick()
    page.evaluate("document.querySelector('.approve-form')?.requestSubmit()")  # faster than any finger
    expect(card(page, approval).get_by_text("Processing…")).to_be_visible()
    assert len(posts) == 1


def test_nothing_moves_under_the_pointer(scene: Scene, open_page: OpenPage) -> None:
    first, second, third = (scene.submit({"n": n}) for n in range(3))
    page = open_page("/approvals")
    card(page, second).get_by_role("button", name="Approve").hover()
    box = card(page, second).bounding_box()
    deny_elsewhere(scene, first)
    deny_elsewhere(scene, third)
    newest = scene.submit({"n": 9})
    refresh(page)
    expect(card(page, newest)).to_be_visible()
    expect(card(page, first)).to_have_count(0)
    expect(card(page, third)).to_have_count(0)
    expect(page.locator("[data-slot]")).to_have_count(1)  # above the pointer; the one below it could go
    assert card(page, second).bounding_box() == box


def test_an_open_card_a_typed_reason_and_the_focus_survive_a_refresh(scene: Scene, open_page: OpenPage) -> None:
    first, second = (scene.submit({"n": n}) for n in range(2))
    page = open_page("/approvals")
    card(page, second).locator("summary").click()
    reason = card(page, second).get_by_placeholder("Reason for denying (optional)")
    reason.fill("Half a sen")
    deny_elsewhere(scene, first)
    scene.submit({"n": 9})
    refresh(page)
    expect(page.locator("[data-card]")).to_have_count(2)
    expect(card(page, second).locator("details")).to_have_attribute("open", "")
    expect(reason).to_have_value("Half a sen")
    expect(reason).to_be_focused()
    page.keyboard.type("tence")
    expect(reason).to_have_value("Half a sentence")


def test_a_card_that_goes_while_it_has_the_focus_leaves_the_focus_in_its_place(
    scene: Scene, open_page: OpenPage
) -> None:
    first, second = (scene.submit({"n": n}) for n in range(2))
    page = open_page("/approvals")
    card(page, first).get_by_role("button", name="Approve").focus()
    deny_elsewhere(scene, first)
    refresh(page)
    slot = page.locator("[data-slot]")
    expect(slot).to_have_text("No longer pending: deploy-bot, acme-chat chat:write View call")
    expect(slot).to_be_focused()
    page.keyboard.press("Tab")
    expect(slot.get_by_role("link")).to_be_focused()
    page.keyboard.press("Tab")
    expect(card(page, second).locator("summary")).to_be_focused()
    expect(slot).to_have_count(1)  # above the focus: it stays


def test_everything_can_be_done_with_the_keyboard(scene: Scene, open_page: OpenPage) -> None:
    first, second = (scene.submit({"n": n}) for n in range(2))
    page = open_page("/approvals")
    card(page, first).locator("summary").focus()
    page.keyboard.press("Enter")
    expect(card(page, first).locator("details")).to_have_attribute("open", "")
    expect(card(page, first).get_by_text("Same call last made")).to_be_visible()
    page.keyboard.press("Tab")
    expect(card(page, first).get_by_role("link", name="download")).to_be_focused()
    page.keyboard.press("Tab")
    expect(card(page, first).get_by_role("group", name="Payload")).to_be_focused()
    page.keyboard.press("Tab")
    compare = card(page, first).get_by_text("What changed since the last approved call of this kind")
    expect(compare).to_be_focused()
    page.keyboard.press("Enter")
    expect(card(page, first).get_by_text("First call of this kind.")).to_be_visible()
    page.keyboard.press("Tab")
    expect(card(page, first).get_by_role("button", name="Approve")).to_be_focused()
    page.keyboard.press("Tab")
    deny_button = card(page, first).get_by_role("button", name="Deny")
    expect(deny_button).to_be_focused()
    assert deny_button.evaluate("(button) => getComputedStyle(button).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(card(page, first)).to_have_count(0)
    expect(page.locator("[data-slot]")).to_be_focused()
    page.keyboard.press("Enter")
    assert row(second).decision == Decision.PENDING
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(card(page, second).locator("summary")).to_be_focused()


def test_who_comes_second_reads_who_was_first_in_place(scene: Scene, open_page: OpenPage) -> None:
    approval = scene.submit({"text": "Hello"})
    page = open_page("/approvals", expected="409")
    scene.approve(approval, member=scene.approver)
    page.get_by_role("button", name="Approve").click()
    note = card(page, approval).locator("[data-note]")
    expect(note).to_contain_text("Already approved by approver@acme.example at ")
    finish(scene, approval)
    page.clock.fast_forward(1000)
    expect(page.get_by_role("alert")).to_be_visible()
    expect(note).to_be_visible()  # until it is dismissed
    note.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_text("✓ No pending approvals")).to_be_visible()


def test_a_call_that_is_not_the_one_displayed_is_shown_anew(scene: Scene, open_page: OpenPage) -> None:
    approval = scene.submit({"text": "Hello"})
    page = open_page("/approvals", expected="409")
    page.evaluate("document.querySelectorAll('[name=digest]').forEach((field) => { field.value = '0'.repeat(64) })")
    page.get_by_role("button", name="Approve").click()
    expect(card(page, approval).locator("[data-note]")).to_contain_text("This call is not the one you were shown.")
    assert row(approval).decision == Decision.PENDING
    page.get_by_role("button", name="Approve").click()
    expect(card(page, approval).get_by_text("Processing…")).to_be_visible()


def test_a_card_whose_time_runs_out_says_so_and_goes(scene: Scene, open_page: OpenPage) -> None:
    approval = scene.submit({"n": 1}, now=timezone.now() - timedelta(seconds=580))
    page = open_page("/approvals")
    page.route("**/approvals?version=*", lambda route: None)  # the server is slow today
    page.clock.fast_forward(21_000)
    expect(card(page, approval).get_by_text("Expired", exact=True)).to_be_visible()
    expect(card(page, approval).get_by_role("button")).to_have_count(0)
    page.unroute("**/approvals?version=*")
    ApprovalRequest.objects.filter(pk=approval.pk).update(expires_at=timezone.now())  # no sweep has come by
    page.reload()
    expect(card(page, approval)).to_have_count(0)


def test_an_expired_card_goes_without_waiting_for_the_sweep(scene: Scene, open_page: OpenPage) -> None:
    approval = scene.submit({"n": 1}, now=timezone.now() - timedelta(seconds=580))
    page = open_page("/approvals")
    ApprovalRequest.objects.filter(pk=approval.pk).update(expires_at=timezone.now())
    with page.expect_response(lambda answer: "expired=1" in answer.url and answer.status == 200):
        page.clock.fast_forward(21_000)
    expect(card(page, approval)).to_have_count(0)


def test_an_ended_session_stops_the_refresh_and_says_so(scene: Scene, open_page: OpenPage) -> None:
    approval = scene.submit({"text": "Hello"})
    page = open_page("/approvals", expected="401")
    Session.objects.all().delete()
    refresh(page)
    expect(page.get_by_text("Your session has ended.")).to_be_visible()
    expect(page.get_by_role("link", name="Sign in again")).to_have_attribute("href", "/sign-in?next=%2Fapprovals")
    expect(card(page, approval)).to_be_visible()
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "version=" in request.url else None)
    page.clock.fast_forward(30_000)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.evaluate("() => new Promise(requestAnimationFrame)")
    assert asked == []


def test_a_lost_connection_is_said_calmly_and_mends_itself(scene: Scene, open_page: OpenPage) -> None:
    page = open_page("/approvals", expected="ERR_INTERNET_DISCONNECTED")
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")  # its script has come, so none is missed offline
    page.context.set_offline(True)
    page.clock.fast_forward(5000)
    pill = page.get_by_text("Connection lost, retrying")
    expect(pill).to_be_visible()
    approval = scene.submit({"text": "Hello"})
    page.context.set_offline(False)
    refresh(page)
    expect(pill).to_be_hidden()
    expect(card(page, approval)).to_be_visible()


def test_a_decision_that_cannot_be_delivered_gives_the_buttons_back(scene: Scene, open_page: OpenPage) -> None:
    approval = scene.submit({"text": "Hello"})
    page = open_page(
        "/approvals", expected="ERR_INTERNET_DISCONNECTED|when fetching the script"
    )  # of the service worker
    page.context.set_offline(True)
    page.get_by_role("button", name="Approve").click()
    expect(card(page, approval).get_by_role("alert")).to_contain_text("The server did not answer.")
    expect(page.get_by_role("button", name="Approve")).to_be_visible()
    page.context.set_offline(False)
    page.get_by_role("button", name="Approve").click()
    expect(card(page, approval).get_by_text("Processing…")).to_be_visible()


def test_a_hidden_tab_does_not_ask_and_a_shown_one_asks_at_once(scene: Scene, open_page: OpenPage) -> None:
    page = open_page("/approvals")
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "version=" in request.url else None)
    show = """(hidden) => { Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
        document.dispatchEvent(new Event("visibilitychange")); }"""
    page.evaluate(show, True)
    page.clock.fast_forward(60_000)
    page.evaluate("() => new Promise(requestAnimationFrame)")
    assert asked == []
    approval = scene.submit({"text": "Hello"})
    page.evaluate(show, False)
    expect(card(page, approval)).to_be_visible()


def test_the_page_of_one_call_decides_and_tells_the_outcome(scene: Scene, open_page: OpenPage) -> None:
    approval = scene.submit({"text": "Hello"})
    page = open_page(f"/approvals/{approval.pk}")
    expect(page.get_by_text("Same call last made")).to_be_visible()
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Processing…")).to_be_visible()
    expect(card(page, approval)).to_have_attribute("data-state", "processing")  # by the server's word
    finish(scene, approval)
    page.clock.fast_forward(1000)
    expect(page.get_by_text("What went wrong")).to_be_visible()
    expect(page.get_by_text("Failed", exact=True)).to_be_visible()


@pytest.mark.parametrize(("button", "decision"), [("Approve", Decision.APPROVED), ("Deny", Decision.DENIED)])
def test_without_javascript_the_buttons_are_plain_forms(
    scene: Scene, open_page: OpenPage, button: str, decision: str
) -> None:
    approval = scene.submit({"text": "Hello"})
    page = open_page("/approvals", java_script_enabled=False)
    expect(page.get_by_role("link", name="refresh now")).to_be_visible()
    page.get_by_text("Show the whole call").click()
    expect(page.get_by_text("https://chat.example.com/api/messages")).to_be_visible()
    page.get_by_role("button", name=button).click()
    expect(page.get_by_role("status").first).to_contain_text(f"{decision.capitalize()}: POST /api/messages of")
    assert row(approval).decision == decision
