"""Every page of the site, with what product.md says stands on it: where the walk stops, and what the pictures show."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from playwright.sync_api import Page

from tests.browser.town import LINK, Town

STATE = "00000000-0000-4000-8000-000000000007"
CALL = "approvals/<uuid:approval_id>"
PHONE_CALL = "m/approvals/<uuid:approval_id>"
AGENT = "agents/<slug:agent_id>"


def _open_all(page: Page) -> None:
    page.evaluate("document.querySelectorAll('main details').forEach((details) => { details.open = true; })")


def _open_first(page: Page) -> None:
    page.locator("summary").first.click()
    page.mouse.move(0, 0)


def _open_row(page: Page) -> None:
    page.locator("[data-open]").first.click()
    page.get_by_text("The whole story of this request").wait_for()


def _make_agent(page: Page) -> None:
    page.get_by_label("Name").fill("nightly-import")
    page.get_by_label("Bind code").check()
    page.get_by_role("button", name="Make the agent").click()


def _issue_token(page: Page) -> None:
    page.get_by_role("button", name="Rotate & Issue Install Token").click()


def _invite(page: Page) -> None:
    page.get_by_label("E-mail").fill("joan@acme.example")
    page.get_by_role("button", name="Invite").click()


@dataclass(frozen=True, slots=True)
class Stop:
    """One page in one state; `route` is as in agentvalet/urls.py.

    `who` gets it: "public" everybody, "nobody" only who is not signed in, "own" every member of any owner, "admins"
    every admin of any owner, "member" every member of Acme (it is one of Acme's objects), "admin" Acme's admins.
    `call` is the town's call whose page it is. `act` is what an admin does there. `strings` is what an admin reads then.
    """

    name: str
    route: str
    who: str
    strings: tuple[str, ...] = ()
    query: str = ""
    call: str = "refund"
    act: Callable[[Page], None] | None = None
    status: int = 200
    is_confirmed: bool = True

    def path(self, town: Town) -> str:
        ids = town.ids | {"approval_id": str(town.calls[self.call].pk)}
        path = re.sub(r"<\w+:(\w+)>", lambda found: ids[found[1]], self.route)
        return f"/{path}{self.query.format(invitation=town.invitation, link=LINK, state=STATE)}"


WHOLE_CALL = ("POST https://api.stripe.com/v1/refunds", "ch_3PqX1k2eZvKYlo2C", "SUP-4411", "charged twice for order",
              "Live", "192.0.2.1", "Same call last made", "support-agent", "Deny")  # fmt: skip

STOPS = (
    Stop("components", "components", "own", ("Card and timer", "Badge", "Table", "Diff", "Dialog", "Toast", "Empty state")),
    Stop("sign-in", "sign-in", "nobody", ("Sign in", "E-mail", "Password")),
    Stop("join", "join", "nobody", ("Join Acme", "grace@acme.example"), "?token={invitation}"),
    Stop("magic-link", "approve", "public", ("deploy-bot", "acme-chat", "chat:write", "Acme", "#releases", "Approve",
                                             "Deny"), "?token={link}"),
    Stop("offline", "offline", "public", ("You are offline",)),
    Stop("api-docs", "api-docs", "public", ("/v1/actions",)),
    Stop("approvals", "approvals", "own", ("Pending Approvals", "Auto-refreshes every 5 seconds.", " pending",
                                           "Processing…", "Approve", *WHOLE_CALL), act=_open_first),
    Stop("approval-history", "approvals/history", "own", ("Not in #general, please.",)),
    Stop("approval", CALL, "member", ("Approve with biometric", *WHOLE_CALL)),
    Stop("approval-step-up", CALL, "member", ("Approve with biometric",), call="step-up"),
    Stop("approval-finished", CALL, "member", ("Platform’s status 200", "On record"), call="finished"),
    Stop("approval-failed", CALL, "member", ("What went wrong", "Send again"), call="failed"),
    Stop("approval-unknown", CALL, "member", ("Check outcome",), call="unknown"),
    Stop("approval-denied", CALL, "member", ("Not in #general, please.",), call="denied"),
    Stop("phone-approvals", "m/approvals", "own", ("Pending Approvals", "support-agent", "stripe", "refunds:write")),
    Stop("phone-approval", PHONE_CALL, "member", ("Approve with biometric", *WHOLE_CALL)),
    Stop("notifications", "notifications", "own",
         ("Agents awaiting activation", "Access requests", "Uninstall requests", "Agent reports",
          "Grant platform access", "Require human approval per request", "Approve with 2 platforms")),
    Stop("agent-reports", "agent-reports", "own", ("The chat answers 503 since 14:02.",), act=_open_all),
    Stop("agents", "agents", "own", ("Pending Approval", "deploy-bot", "Active", "Suspended")),
    Stop("agents-pending", "agents", "own", ("Grant platform access", "Approve with 2 platforms"), "?tab=pending"),
    Stop("agent", AGENT, "member", ("Created", "Last seen", "Add permission", "Suspend", "Delete", "Child agents",
                                    "Rotate & Issue Install Token", "release-notes", "Required")),
    Stop("agent-dry-run", AGENT, "member", ("Refused.", "endpoint_scope_mismatch"),
         "?scope=stripe:refunds:write&method=POST&endpoint=/v1/charges", act=_open_all),
    Stop("agent-new", "agents/new", "own", ("New agent", "Bind code", "Install token")),
    Stop("agent-confirm", "agents/new", "own", ("Confirm that it is you",), act=_make_agent, is_confirmed=False),
    Stop("agent-secret", "agents/new", "own", ("Connect nightly-import", "Claude Code"), act=_make_agent),
    Stop("agent-token", AGENT, "member", ("Connect deploy-bot", "itok_"), act=_issue_token),
    Stop("platforms", "platforms", "own",
         ("Slack", "GitHub", "Stripe", "Airtable", "Gmail", "Notion", "Linear", "Jira", "HubSpot", "Google Calendar",
          "Custom platform", "Active", "Untested", "Reauth needed", "Last used", "Connect", "Test", "Reauth",
          "Disconnect")),
    Stop("platform", "platforms/<slug:slug>", "member", ("Default", "Deploy Bot", "chat:write", "Disconnect")),
    Stop("platform-edit", "platforms/<slug:slug>", "member", ("Label", "Hint", "Require human approval per request"),
         act=_open_all),
    Stop("platform-connect", "platforms/<slug:slug>/connect", "admin", ("Connect Acme Chat", "Label", "Credential")),
    Stop("platform-address", "platforms/<slug:slug>/address", "admin", ("Address and authentication", "Base URL")),
    Stop("scope-delete", "platforms/<slug:slug>/scopes/<int:scope_id>/delete", "admin", ("Delete the scope",)),
    Stop("catalogue-entry", "catalogue/<slug:entry_id>", "admins", ("Connect Shopify", "Credential"), act=_open_all),
    Stop("platform-custom", "catalogue/custom", "admins", ("Custom platform", "Base URL")),
    Stop("connection-reauth", "connections/<uuid:connection_id>/reauth", "admin", ("Credential",)),
    Stop("connection-disconnect", "connections/<uuid:connection_id>/disconnect", "admin", ("access.", "Disconnect")),
    Stop("audit", "audit", "own",
         ("Audit Log", "Actions", "Policy Decisions", "Time", "Agent", "Platform", "Action", "Result", "From", "To",
          "Search", "The chain verifies", "Export")),
    Stop("audit-decisions", "audit", "own", ("approval.approved", "approval.denied", "approval.expired"),
         "?tab=decisions"),
    Stop("audit-open", "audit", "own", ("The whole story of this request",), "?action=approval.executed",
         act=_open_row),
    Stop("audit-row", "audit/<uuid:audit_id>", "member", ("The whole story of this request", "approval.approved")),
    Stop("settings", "settings", "own",
         ("Profile", "Passkeys", "Label", "Register", "Approval delegation", "Add delegate", "dana@partner.example",
          "Approval lifetime", "Members", "Owner ID", "Danger zone", "Suspend all agents", "SUSPEND",
          "Firefox on Linux", "A command line"), act=_open_all),
    Stop("members", "settings/members", "own", ("approver@acme.example", "Auditor", "grace@acme.example")),
    Stop("member-invited", "settings/members", "own", ("Invitation for joan@acme.example",), act=_invite),
    Stop("first-steps", "set-up/steps", "own", ("First steps",)),
    Stop("cli-auth", "cli-auth", "own", ("Sign in the command line?",), "?state={state}&port=4242"),
    Stop("cli-auth-refused", "cli-auth", "own", ("This link is incomplete",), status=400),
)  # fmt: skip

# Shown instead to an owner who has nothing yet.
EMPTY = {
    "approvals": ("Pending Approvals", "✓ No pending approvals", "There are no agents yet.", "First steps"),
    "phone-approvals": ("✓ No pending approvals",),
    "notifications": ("✓ All clear — nothing needs attention.",),
    "agents": ("No agents yet.",),
    "audit": ("Nothing has happened yet.",),
}
