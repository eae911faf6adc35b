"""The owner's pages in a real browser: everybody can use them, and a person walks through what agents ask for."""

import pytest
from playwright.sync_api import expect

from agents.models import Agent, AgentStatus, Invite
from agents.onetime import hash_of
from approvals.models import Decision
from platforms.models import Connection, Grant, Scope
from tests.browser.conftest import OpenPage
from tests.browser.rules import check
from tests.browser.test_queue_live import card, deny_elsewhere, refresh, row
from tests.pages import asks
from tests.pages.passkeys import Person
from tests.pages.scene import Scene

pytestmark = pytest.mark.browser


def test_a_new_agent_and_its_secret(scene: Scene, open_page: OpenPage) -> None:
    page = open_page("/agents", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("link", name="New agent").click()
    page.get_by_label("Name").fill("Release bot")
    page.get_by_label("Bind code").check()
    page.get_by_role("button", name="Make the agent").click()
    expect(page.get_by_role("heading", name="Connect Release bot")).to_be_visible()
    page.get_by_role("button", name="Copy Secret").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    secret = page.evaluate("navigator.clipboard.readText()")
    assert Invite.objects.get().secret_hash == hash_of(secret)
    page.clock.fast_forward(3000)
    expect(page.get_by_role("button", name="Copy Secret")).to_be_visible()
    expect(page.get_by_text("agentvalet register")).to_have_count(2)
    expect(page.get_by_text("agentvalet register").first).to_be_visible()
    page.get_by_role("radio", name="Cursor").check()
    expect(page.get_by_text("mcpServers").last).to_be_visible()
    expect(page.get_by_text("agentvalet register").first).to_be_hidden()
    page.get_by_role("link", name="Give it a permission").click()
    expect(page.get_by_role("heading", name="Permissions")).to_be_in_viewport()


@pytest.mark.parametrize("script", [True, False])
def test_letting_a_program_in(scene: Scene, open_page: OpenPage, script: bool) -> None:
    scene.add_platform("github", base_url="https://g.example", connection="org", scopes={"read": ["GET /**"]})
    asked = [{"platform": "acme-chat", "scopes": ["chat:write"]}, {"platform": "github", "scopes": ["read"]}]
    asks.register(scene, "Release bot", requested=asked)
    page = open_page("/agents", java_script_enabled=script)
    page.get_by_role("link", name="Pending Approval 1").click()
    approve = page.get_by_role("button", name="Approve with")
    expect(approve).to_have_text("Approve with 2 platforms: Release bot")
    page.get_by_label("read", exact=True).uncheck()
    if script:
        expect(approve).to_have_text("Approve with 1 platform: Release bot")
        expect(page.get_by_label("Require human approval per request for github read")).to_be_disabled()
    page.get_by_label("Require human approval per request for acme-chat chat:write").uncheck()
    approve.click()
    expect(page.get_by_role("status")).to_have_text("Release bot is an agent now, with 1 permission.")
    made = Grant.objects.get(agent__name="Release bot")
    assert (made.scope.name, made.require_approval) == ("chat:write", False)


def test_answering_everything_clears_the_inbox(scene: Scene, open_page: OpenPage) -> None:
    asks.add_scope(scene)
    second = scene.add_agent("second")
    asks.register(scene, "curious")
    asks.ask_access(scene)
    asks.ask_access(scene, "")
    asks.ask_uninstall(scene, agent=second)
    asks.ask_uninstall(scene)
    asks.report(scene)
    page = open_page("/approvals")
    page.get_by_role("link", name="Notifications 6 waiting").click()
    for button, sentence in (
        ("Reject : curious", "curious was turned away."),
        ("Approve : deploy-bot, acme-chat chat:admin", "deploy-bot may use acme-chat / chat:admin from now on"),
        ("Deny : deploy-bot, acme-chat", "Denied. deploy-bot keeps the permissions it has."),
        ("Approve : uninstall and revoke second", "second revoked for good."),
        ("Keep deploy-bot", "deploy-bot stays as it is."),
        ("Mark as read : deploy-bot", "Marked as read."),
    ):
        page.get_by_role("button", name=button).click()
        expect(page.get_by_role("status")).to_contain_text(sentence)
    expect(page.get_by_text("✓ All clear — nothing needs attention.")).to_be_visible()
    expect(page.locator(".nav-count:visible")).to_have_count(0)


def test_the_life_of_an_agent(scene: Scene, open_page: OpenPage) -> None:
    asks.add_scope(scene)
    page = open_page(f"/agents/{scene.agent.pk}")
    switch = page.get_by_role("switch", name="Require human approval per request: acme-chat chat:write")
    expect(switch).to_have_attribute("aria-checked", "true")
    switch.focus()
    page.keyboard.press("Enter")
    expect(switch).to_have_attribute("aria-checked", "false")
    assert not asks.grant(scene).require_approval

    page.get_by_role("button", name="Undo : acme-chat chat:write").click()
    expect(switch).to_have_attribute("aria-checked", "true")

    page.get_by_role("radio", name="chat:admin").check()
    label = Connection.objects.get().label
    page.get_by_label("Connection").select_option(f"acme-chat / {label}")
    page.get_by_role("button", name="Add permission").click()
    expect(page.get_by_role("row", name="chat:admin")).to_contain_text(label)
    page.get_by_role("row", name="chat:admin").get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("row", name="chat:admin")).to_have_count(0)
    page.get_by_role("button", name="Undo : give acme-chat chat:admin back").click()
    expect(page.get_by_role("row", name="chat:admin")).to_contain_text(label)

    page.get_by_label("Under the scope").select_option(value="acme-chat:chat:admin")
    page.get_by_label("Endpoint").fill("/elsewhere")
    page.get_by_role("button", name="Try").click()
    expect(page.locator(".verdict")).to_contain_text("endpoint_scope_mismatch")

    page.get_by_role("button", name="Rotate & Issue Install Token").click()
    expect(page.get_by_role("region", name="Secret")).to_contain_text("itok_")
    page.get_by_role("link", name="deploy-bot").click()
    expect(page.get_by_text("An install token issued")).to_be_visible()

    page.get_by_role("button", name="Suspend").click()
    expect(page.get_by_role("status")).to_contain_text("deploy-bot is suspended")
    page.get_by_role("button", name="Reactivate").click()
    expect(page.get_by_role("status")).to_contain_text("deploy-bot is active again")
    page.get_by_label("To delete it for good").fill("deploy")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("status")).to_contain_text("That is not the agent’s name.")
    page.get_by_label("To delete it for good").fill("deploy-bot")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("status")).to_contain_text("deploy-bot deleted.")
    assert Agent.objects.get().status == AgentStatus.REVOKED


def test_keys_move_ask_and_decide_and_the_refresh_leaves_them_alone(scene: Scene, open_page: OpenPage) -> None:
    first, second, third = (scene.submit({"n": n}) for n in range(3))
    page = open_page("/approvals")
    press, confirm = page.keyboard.press, page.locator("#confirm")
    press("a")  # no card has the focus: it only goes there
    expect(card(page, first).locator("summary")).to_be_focused()
    expect(confirm).to_be_hidden()
    ring = "(card) => [card, card.querySelector('summary')].map((part) => getComputedStyle(part).outlineStyle)"
    assert card(page, first).evaluate(ring) == ["solid", "none"]  # round the whole card
    for key, focused in (("j", second), ("k", first), ("k", first), ("j", second)):
        press(key)
        expect(card(page, focused).locator("summary")).to_be_focused()
    press("Enter")
    expect(card(page, second).locator("details")).to_have_attribute("open", "")
    deny_elsewhere(scene, first)
    refresh(page)
    expect(card(page, first)).to_have_count(0)
    expect(card(page, second).locator("summary")).to_be_focused()
    press("Control+d")
    expect(confirm).to_be_hidden()
    press("d")
    expect(confirm).to_contain_text("Deny this call?")
    expect(confirm).to_contain_text(second.digest[:12])
    press("Escape")
    expect(confirm).to_be_hidden()
    expect(card(page, second).locator("details")).to_have_attribute("open", "")  # Esc has closed the question alone
    press("Escape")
    expect(card(page, second).locator("details[open]")).to_have_count(0)
    card(page, second).get_by_placeholder("Reason for denying (optional)").fill("")
    page.keyboard.type("adjkx?")
    expect(card(page, second).get_by_placeholder("Reason for denying (optional)")).to_have_value("adjkx?")
    expect(page.locator("dialog[open]")).to_have_count(0)
    card(page, second).locator("summary").focus()
    press("d")
    page.keyboard.type(" Not today")
    press("Enter")
    expect(card(page, second)).to_have_count(0)
    assert (row(second).decision, row(second).deny_reason) == (Decision.DENIED, "adjkx? Not today")
    press("j")  # from the place where the card was
    expect(card(page, third).locator("summary")).to_be_focused()
    press("a")
    expect(confirm.get_by_role("button", name="Approve")).to_be_focused()
    press("Enter")
    expect(card(page, third).get_by_text("Processing…")).to_be_visible()
    press("a")
    expect(confirm).to_be_hidden()


def test_a_question_about_a_call_that_goes_is_withdrawn(scene: Scene, open_page: OpenPage) -> None:
    first, second = (scene.submit({"n": n}) for n in range(2))
    page = open_page("/approvals")
    page.keyboard.press("j")
    page.keyboard.press("a")
    expect(page.locator("#confirm")).to_be_visible()
    deny_elsewhere(scene, first)
    refresh(page)
    expect(page.locator("#confirm")).to_be_hidden()
    expect(page.locator("#announcer")).to_contain_text("Nothing was decided.")
    expect(card(page, second).locator("summary")).to_be_focused()
    assert row(second).decision == Decision.PENDING


def test_the_list_of_keys_turns_them_off(scene: Scene, open_page: OpenPage) -> None:
    approval = scene.submit({"n": 1})
    page = open_page("/approvals")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("to the next card")
    check(page)
    page.get_by_label("Use these keys in this browser").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(card(page, approval).locator("summary")).not_to_be_focused()
    page.get_by_role("button", name="Keys").click()
    page.get_by_label("Use these keys in this browser").check()
    page.get_by_role("button", name="Close").click()
    page.keyboard.press("j")
    expect(card(page, approval).locator("summary")).to_be_focused()


def test_a_leads_to_the_passkey_where_the_scope_demands_one(scene: Scene, open_page: OpenPage) -> None:
    approval = scene.submit({"n": 1})
    Scope.objects.update(step_up="passkey")
    page = open_page("/approvals")
    page.keyboard.press("j")
    page.keyboard.press("a")
    expect(card(page, approval).get_by_role("link", name="Register one")).to_be_focused()
    expect(page.locator("#confirm")).to_be_hidden()
    Person(scene.admin).register()
    page.reload()
    page.keyboard.press("j")
    page.keyboard.press("a")
    expect(page.locator("#confirm").get_by_role("button", name="Approve with biometric")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("d")
    expect(page.locator("#confirm").get_by_role("button", name="Deny with biometric")).to_be_visible()


@pytest.mark.parametrize("script", [True, False])
def test_several_calls_of_one_agent_are_denied_together(scene: Scene, open_page: OpenPage, script: bool) -> None:
    calls = [scene.submit({"n": n}) for n in range(3)]
    other = scene.submit({"n": 1}, agent=scene.add_agent("other"))
    page = open_page("/approvals", java_script_enabled=script)
    selection = page.get_by_role("form", name="The selected calls")
    expect(selection).to_be_hidden()
    page.set_viewport_size({"width": 1280, "height": 480})
    chosen = card(page, calls[1]).locator(".card-select")
    chosen.evaluate("(label) => label.scrollIntoView({block: 'end'})")  # to where the bar will be
    chosen.click()
    expect(selection).to_be_visible()
    if script:
        edge, bar = (part.bounding_box() for part in (chosen, selection))
        assert edge is not None
        assert bar is not None
        assert edge["y"] + edge["height"] <= bar["y"]
    card(page, calls[0]).get_by_role("checkbox").check()
    if script:
        expect(card(page, other).get_by_role("checkbox")).to_be_disabled()
        expect(selection.get_by_role("button", name="Deny 2 selected")).to_be_visible()
        check(page)
        deny_elsewhere(scene, calls[1])
        refresh(page)
        expect(selection.get_by_role("button", name="Deny 1 selected")).to_be_visible()
        expect(selection).to_contain_text("Only calls of deploy-bot can be added")
    reason = selection.get_by_label("One reason for all (optional)")
    reason.fill("Too many")
    reason.press("Enter")  # denies nothing by itself
    if script:
        confirm = page.get_by_role("dialog", name="Deny 1 call of deploy-bot?")
        expect(confirm).to_contain_text("Too many")
        expect(confirm.get_by_role("button", name="Deny")).to_be_focused()
        page.keyboard.press("Escape")
        expect(confirm).to_be_hidden()
        assert row(calls[0]).decision == Decision.PENDING
        reason.press("Enter")
        page.keyboard.press("Enter")
    else:
        selection.get_by_role("button", name="Deny").click()
    words = "Denied: POST /api/messages of deploy-bot. Nothing was sent." if script else "Denied 2 calls."
    expect(page.get_by_role("status").first).to_contain_text(words)
    assert (row(calls[0]).decision, row(calls[0]).deny_reason) == (Decision.DENIED, "Too many")
    assert {row(calls[2]).decision, row(other).decision} == {Decision.PENDING}
    if script:
        box = card(page, calls[2]).bounding_box()
        card(page, calls[2]).get_by_role("button", name="Deny").click()
        expect(page.locator("#said")).to_contain_text(words)
        expect(page.locator(".notice")).to_be_hidden()  # it spoke of an earlier one
        assert page.locator("[data-slot]").bounding_box() == box
