"""Every route, on one screen. The agent API has no trailing slashes: clients do not follow redirects."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from agents import api as agents_api
from agents import views as people
from agentvalet import errors, health
from approvals import api, views

urlpatterns = [
    # Agents
    path("v1/actions", api.ActionView.as_view()),
    path("v1/approvals/<uuid:approval_id>", api.ApprovalView.as_view()),
    path("v1/invites/bind", agents_api.InviteBindView.as_view()),
    # People
    path("", RedirectView.as_view(pattern_name="approvals")),
    path("sign-in", people.sign_in, name="sign-in"),
    path("sign-out", people.sign_out, name="sign-out"),
    path("approvals", views.queue, name="approvals"),
    path("approvals/<uuid:approval_id>", views.detail, name="approval"),
    path("approvals/<uuid:approval_id>/approve", views.approve, name="approve"),
    path("approvals/<uuid:approval_id>/deny", views.deny, name="deny"),
    # Operators
    path("health", health.health, name="health"),
    path("admin/", admin.site.urls),
]

handler400 = errors.bad_request
handler403 = errors.permission_denied
handler404 = errors.page_not_found
handler500 = errors.server_error
