"""Every route, on one screen. The agent API has no trailing slashes: clients do not follow redirects.

What stands in `sure` asks the person at the screen again who they are (`agents.confirming`).
"""

from django.contrib import admin
from django.contrib.auth.models import Group
from django.urls import path
from django.views.generic import RedirectView

from agents import api as agents_api
from agents import audit_views, cli_api, cli_page
from agents import delegate_views as delegates
from agents import member_views as members
from agents import passkey_views as passkeys
from agents import settings_views as mine
from agents import views as people
from agents.confirming import sure
from agents.join_views import join
from agents.set_up_views import set_up
from agents.settings_page import settings_page
from agentvalet import api_docs, components, errors, health, installable, openapi
from approvals import api, link_views, views
from approvals import decision_views as decisions
from approvals import history_views as history
from approvals import receipt_views as receipts
from notifications import api as notifications_api
from notifications import device_views as devices
from platforms import agent_views, platform_views
from platforms import api as platforms_api
from platforms import connection_views as connections
from platforms import inbox_views as inbox
from platforms import permission_views as permissions
from platforms import platform_change_views as changes
from platforms import registration_api as registrations
from platforms.first_steps import first_steps

admin.site.unregister(Group)  # rights are roles here, and /admin only reads

urlpatterns = [
    # Agents
    path("v1/actions", api.ActionView.as_view()),
    path("v1/approvals/<uuid:approval_id>", api.ApprovalView.as_view()),
    path("v1/agents/me/pending-actions", api.PendingActionsView.as_view()),
    path("v1/audit/<uuid:audit_id>/receipt", receipts.ReceiptView.as_view()),
    path(".well-known/agentvalet-receipt-keys.json", receipts.keys, name="receipt-keys"),
    path("v1/observe/actions", api.ObserveView.as_view()),
    path("v1/agent/permissions", platforms_api.PermissionsView.as_view()),
    path("v1/authzen/access", platforms_api.EvaluationView.as_view()),
    path("v1/access-request", platforms_api.AccessRequestView.as_view()),
    path("v1/access-request/status/<uuid:token>", platforms_api.AccessStatusView.as_view()),
    path("v1/agents/children", platforms_api.ChildrenView.as_view()),
    path("v1/register", registrations.RegisterView.as_view()),
    path("v1/register/status/<str:token>", registrations.RegistrationStatusView.as_view()),
    path("v1/register/stream/<str:token>", registrations.RegistrationStreamView.as_view()),
    path("v1/register/claim-key/<str:token>", registrations.ClaimKeyView.as_view()),
    path("v1/invites/bind", agents_api.InviteBindView.as_view()),
    path("v1/agents/bind", agents_api.InstallBindView.as_view()),
    path("v1/bind-secret", agents_api.BindSecretView.as_view()),
    path("v1/agents/self/diagnostics", notifications_api.DiagnosticsView.as_view()),
    path("v1/revoke-request", notifications_api.RevokeRequestView.as_view()),
    path("v1/revoke-request/stream/<str:token>", notifications_api.RevokeStreamView.as_view()),
    # The registration command line
    path("functions/v1/cli-auth", cli_api.CliAuthView.as_view()),
    path("functions/v1/cli-register-agent", cli_api.CliRegisterView.as_view()),
    path("functions/v1/list-agents", cli_api.CliListView.as_view()),
    path("functions/v1/revoke-agent", cli_api.CliRevokeView.as_view()),
    path("functions/v1/cli-account", cli_api.GoneView.as_view()),
    path("v1/cli/account", cli_api.GoneView.as_view()),
    path("v1/cli/register-agent", cli_api.GoneView.as_view()),
    path("v1/openapi.json", openapi.OpenApiView.as_view()),
    path("api-docs", api_docs.api_docs, name="api-docs"),
    # People
    path("", RedirectView.as_view(pattern_name="approvals")),
    path("sign-in", people.sign_in, name="sign-in"),
    path("sign-in/passkey", passkeys.sign_in_with_passkey, name="passkey-sign-in"),
    path("sign-in/passkey/options", passkeys.sign_in_options, name="passkey-sign-in-options"),
    path("set-up", set_up, name="set-up"),
    path("set-up/steps", first_steps, name="first-steps"),
    path("join", join, name="join"),
    path("sign-out", people.sign_out, name="sign-out"),
    path("settings", settings_page, name="settings"),
    path("settings/name", mine.rename, name="rename-me"),
    path("settings/password", sure(mine.change_password), name="change-password"),
    path("settings/theme", mine.set_theme, name="set-theme"),
    path("settings/sessions/end", mine.end_everywhere, name="end-everywhere"),
    path("settings/sessions/<slug:session_id>/end", mine.end_session, name="end-session"),
    path("settings/command-lines/<int:token_id>/end", mine.end_command_line, name="end-command-line"),
    path("settings/approval-lifetime", mine.set_approval_lifetime, name="set-approval-lifetime"),
    path("settings/agents/suspend", mine.suspend_all, name="suspend-all"),
    path("settings/agents/reactivate", mine.reactivate_all, name="reactivate-all"),
    path("settings/members", members.members, name="members"),
    path("settings/members/invite", sure(members.invite), name="invite-member"),
    path("settings/members/<int:member_id>/role", sure(members.change_role), name="change-role"),
    path("settings/members/<int:member_id>/remove", sure(members.remove), name="remove-member"),
    path("settings/invitations/<int:invitation_id>/withdraw", sure(members.withdraw), name="withdraw-invitation"),
    path("settings/confirm", passkeys.confirm, name="confirm"),
    path("settings/confirm/passkey", passkeys.confirm_with_passkey, name="passkey-confirm"),
    path("settings/confirm/passkey/options", passkeys.confirm_options, name="passkey-confirm-options"),
    path("settings/passkeys", passkeys.register, name="register-passkey"),
    path("settings/passkeys/options", passkeys.register_options, name="register-passkey-options"),
    path("settings/passkeys/<uuid:passkey_id>/delete", passkeys.delete, name="delete-passkey"),
    path("settings/delegates", sure(delegates.add), name="add-delegate"),
    path("settings/delegates/<uuid:delegate_id>/active", sure(delegates.set_active), name="set-delegate"),
    path("settings/delegates/<uuid:delegate_id>/delete", sure(delegates.delete), name="delete-delegate"),
    path("settings/devices", devices.subscribe, name="add-device"),
    path("settings/devices/<uuid:device_id>/test", devices.test, name="test-device"),
    path("settings/devices/<uuid:device_id>/delete", devices.delete, name="delete-device"),
    path("cli-auth", cli_page.reaching_loopback(sure(cli_page.cli_auth)), name="cli-auth"),
    path("approve", link_views.approve, name="magic-link"),
    path("approvals", views.queue, name="approvals"),
    path("approvals/seen", views.seen, name="approvals-seen"),
    path("approvals/told", views.told, name="approvals-told"),
    path("approvals/deny", decisions.deny_selected, name="deny-selected"),
    path("approvals/history", history.history, name="approval-history"),
    path("approvals/<uuid:approval_id>", views.detail, name="approval"),
    path("approvals/<uuid:approval_id>/changes", views.changes, name="approval-changes"),
    path("approvals/<uuid:approval_id>/payload.txt", views.payload_text, name="approval-payload"),
    path("approvals/<uuid:approval_id>/answer.txt", views.answer_text, name="approval-answer"),
    path("approvals/<uuid:approval_id>/receipt.json", receipts.download, name="approval-receipt"),
    path("approvals/<uuid:approval_id>/approve", decisions.approve, name="approve"),
    path("approvals/<uuid:approval_id>/deny", decisions.deny, name="deny"),
    path(
        "approvals/<uuid:approval_id>/approve/options",
        decisions.passkey_options,
        {"verb": "approve"},
        "approve-options",
    ),
    path("approvals/<uuid:approval_id>/deny/options", decisions.passkey_options, {"verb": "deny"}, "deny-options"),
    path("approvals/<uuid:approval_id>/outcome", history.check_outcome, name="check-outcome"),
    path("approvals/<uuid:approval_id>/again", history.send_again, name="send-again"),
    path("m/approvals", views.queue, {"phone": True}, "phone-approvals"),
    path("m/approvals/<uuid:approval_id>", views.detail, {"phone": True}, "phone-approval"),
    path("notifications", inbox.inbox, name="inbox"),
    path(
        "notifications/registrations/<uuid:ask_id>/approve",
        sure(inbox.approve_registration),
        name="approve-registration",
    ),
    path("notifications/registrations/<uuid:ask_id>/reject", inbox.reject_registration, name="reject-registration"),
    path("notifications/access/<uuid:ask_id>/approve", inbox.approve_access, name="approve-access"),
    path("notifications/access/<uuid:ask_id>/deny", inbox.deny_access, name="deny-access"),
    path("notifications/uninstalls/<uuid:ask_id>/approve", inbox.approve_uninstall, name="approve-uninstall"),
    path("notifications/uninstalls/<uuid:ask_id>/keep", inbox.keep_agent, name="keep-agent"),
    path("notifications/reports/<uuid:report_id>/read", inbox.read_report, name="read-report"),
    path("agent-reports", inbox.agent_reports, name="agent-reports"),
    path("platforms", platform_views.platforms, name="platforms"),
    path("platforms/<slug:slug>", platform_views.platform, name="platform"),
    path("platforms/<slug:slug>/settings", platform_views.settings, name="platform-settings"),
    path("platforms/<slug:slug>/scopes", platform_views.add_scope, name="add-scope"),
    path("platforms/<slug:slug>/scopes/<int:scope_id>", platform_views.scope, name="change-scope"),
    path("platforms/<slug:slug>/scopes/<int:scope_id>/delete", sure(changes.delete_scope), name="delete-scope"),
    path("platforms/<slug:slug>/address", sure(changes.address), name="platform-address"),
    path("platforms/<slug:slug>/connect", sure(connections.connect), name="connect-platform"),
    path("catalogue/custom", platform_views.custom, name="custom-platform"),
    path("catalogue/<slug:entry_id>", sure(connections.connect_entry), name="connect-entry"),
    path("connections/<uuid:connection_id>/test", connections.test, name="test-connection"),
    path("connections/<uuid:connection_id>/reauth", sure(connections.reauthenticate), name="reauth-connection"),
    path("connections/<uuid:connection_id>/change", connections.change, name="change-connection"),
    path("connections/<uuid:connection_id>/disconnect", sure(connections.take_away), name="disconnect-connection"),
    path("agents", agent_views.agents, name="agents"),
    path("agents/new", sure(agent_views.new_agent), name="new-agent"),
    path("agents/<slug:agent_id>", agent_views.agent, name="agent"),
    path("agents/<slug:agent_id>/suspend", agent_views.suspend, name="suspend-agent"),
    path("agents/<slug:agent_id>/reactivate", agent_views.reactivate, name="reactivate-agent"),
    path("agents/<slug:agent_id>/delete", agent_views.delete, name="delete-agent"),
    path("agents/<slug:agent_id>/install-token", sure(agent_views.install_token), name="install-token"),
    path("agents/<slug:agent_id>/bind-code", sure(agent_views.bind_code), name="bind-code"),
    path("agents/<slug:agent_id>/permissions", permissions.add, name="add-permission"),
    path("agents/<slug:agent_id>/permissions/<int:grant_id>/approval", permissions.set_approval, name="set-approval"),
    path("agents/<slug:agent_id>/permissions/<int:grant_id>/revoke", permissions.revoke, name="revoke-permission"),
    path("audit", audit_views.audit_log, name="audit"),
    path("audit/check", audit_views.check_audit, name="check-audit"),
    path("audit/export.<str:kind>", audit_views.audit_export, name="export-audit"),
    path("audit/<uuid:audit_id>", audit_views.audit_event, name="audit-event"),
    path("sw.js", installable.service_worker, name="service-worker"),
    path("manifest.webmanifest", installable.manifest, name="manifest"),
    path("offline", installable.offline, name="offline"),
    path("components", components.components, name="components"),
    # Operators
    path("health", health.health, name="health"),
    # The admin's own forms count no guesses and leave nothing on record: these stand before them.
    path("admin/login/", RedirectView.as_view(pattern_name="sign-in")),
    path("admin/logout/", people.sign_out),
    path("admin/password_change/", RedirectView.as_view(pattern_name="settings")),
    path("admin/", admin.site.urls),
]

handler400 = errors.bad_request
handler403 = errors.permission_denied
handler404 = errors.page_not_found
handler500 = errors.server_error
