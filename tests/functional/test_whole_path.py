"""The product, whole: the published client, a real server, worker and Chromium, a platform that counts.

One installation serves all of it, so these tests run in one process, in this order.
"""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.functional.conftest import EMAIL, PASSWORD, Valet, answer_of
from tests.runtime.installation import eventually, manage
from tests.world import CountingPlatform

pytestmark = [pytest.mark.browser, pytest.mark.services, pytest.mark.xdist_group("functional")]


@pytest.fixture(scope="module")
def desk(chromium: Browser, valet: Valet) -> Iterator[Page]:
    """Somebody signed in, looking at /approvals; it refreshes itself, nobody reloads it."""
    context = chromium.new_context(base_url=f"http://localhost:{valet.port}")
    page = context.new_page()
    page.goto("/approvals")
    page.get_by_label("E-mail").fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_text("✓ No pending approvals")).to_be_visible()
    yield page
    context.close()


@pytest.fixture
def sent(running_platform: CountingPlatform) -> CountingPlatform:
    """The platform with an empty log."""
    running_platform.log.write_text("")
    return running_platform


def card(page: Page, words: str) -> Locator:
    found = page.locator("[data-card]", has_text=words)
    expect(found).to_be_visible(timeout=15_000)
    return found


def test_approve_makes_exactly_one_call_and_the_agent_gets_the_answer(
    desk: Page, valet: Valet, sent: CountingPlatform
) -> None:
    agent = valet.agent_asks("/slow/1.5", text="ship it")
    found = card(desk, "ship it")
    assert sent.requests == []
    found.get_by_role("button", name="Approve").click()
    expect(desk.get_by_text("Processing…")).to_be_visible()
    expect(desk.get_by_text("✓ No pending approvals")).to_be_visible(timeout=15_000)
    assert answer_of(agent)["returned"]["data"] == {"late": True}
    (request,) = sent.requests
    assert request["body"] == '{"text":"ship it"}'
    assert request["headers"]["Authorization"] == f"Bearer {sent.token}"


def test_deny_sends_nothing_and_the_agent_learns_of_it(desk: Page, valet: Valet, sent: CountingPlatform) -> None:
    agent = valet.agent_asks(text="drop the table")
    card(desk, "drop the table").get_by_role("button", name="Deny").click()
    expect(desk.get_by_text("✓ No pending approvals")).to_be_visible(timeout=15_000)
    assert answer_of(agent)["raised"] == "ApprovalDeniedError"
    assert sent.requests == []


def test_no_click_expires_and_sends_nothing(desk: Page, valet: Valet, sent: CountingPlatform) -> None:
    agent = valet.agent_asks(text="nobody looks")
    card(desk, "nobody looks")
    valet.minutes_pass(10)
    expect(desk.get_by_text("✓ No pending approvals")).to_be_visible(timeout=15_000)
    assert answer_of(agent)["raised"] == "ApprovalExpiredError"
    assert sent.requests == []


def test_a_failing_call_says_so_on_the_page_and_to_the_agent(desk: Page, valet: Valet, sent: CountingPlatform) -> None:
    agent = valet.agent_asks("/status/503", text="try this")
    card(desk, "try this").get_by_role("button", name="Approve").click()
    toast = desk.get_by_role("alert").filter(has_text="503")
    expect(toast).to_be_visible(timeout=15_000)
    assert answer_of(agent)["raised"] == "UpstreamError"
    assert len(sent.requests) == 1


def test_a_worker_killed_before_it_heard_of_the_click_loses_nothing(
    desk: Page, valet: Valet, sent: CountingPlatform
) -> None:
    agent = valet.agent_asks(text="survive")
    found = card(desk, "survive")
    before = valet.pids("worker")
    valet.kill_worker()
    found.get_by_role("button", name="Approve").click()
    assert answer_of(agent)["returned"]["data"] == {"id": 7, "ok": True}
    assert len(sent.requests) == 1
    assert valet.pids("worker").isdisjoint(before)


def test_a_worker_killed_while_it_sends_leaves_an_unknown_outcome_and_never_a_second_call(
    desk: Page, valet: Valet, sent: CountingPlatform
) -> None:
    agent = valet.agent_asks("/slow/3", text="kill me")
    card(desk, "kill me").get_by_role("button", name="Approve").click()
    assert eventually(lambda: sent.requests)
    valet.kill_worker()
    valet.minutes_pass(1)  # of which the lease is a part
    answer = answer_of(agent)
    assert answer["raised"] == "ProxyError"
    assert "outcome unknown" in answer["text"]
    assert len(sent.requests) == 1


def test_nothing_is_stuck_and_the_chain_verifies(valet: Valet) -> None:
    states = valet.rows(
        "SELECT decision, executed_at IS NOT NULL, count(*) FROM approvals_approvalrequest GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert states == [("approved", True, 4), ("denied", False, 1), ("expired", False, 1)]
    done = manage("verify_audit", env=valet.env)
    assert done.returncode == 0, done.stdout + done.stderr
