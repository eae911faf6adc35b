"""Forensics on approvals in Django's admin: the whole story of one call on one page; nobody edits history here."""

import json
import logging
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import Q, QuerySet
from django.db.models.functions import Length, Substr
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from agents.http import stamped
from agents.models import User
from agents.reveal import reveal
from approvals import sheets
from approvals.binding import Tampered, check_row, check_seal
from approvals.models import ApprovalRequest, Decision
from approvals.rights import RightLost
from approvals.step_up import check_evidence
from audit import exports
from audit.admin import ReadOnlyAdmin, export_link, revealed, story_table
from audit.admin_lists import PeriodFilter
from audit.browse import story

logger = logging.getLogger(__name__)

MOST_SHOWN = 64 * 1024  # characters of a call or an answer


class DecisionFilter(admin.SimpleListFilter):
    """By decision, without asking the table which there are."""

    title = "decision"
    parameter_name = "decision"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, str(label)) for value, label in Decision.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(decision=self.value()) if self.value() else queryset


@admin.register(ApprovalRequest)
class ApprovalRequestAdmin(ReadOnlyAdmin):
    change_list_template = "admin/approvals_list.html"
    list_display = [
        "created_at", "owner", revealed("agent_name"), "platform", revealed("scope"), "decision", "decided_by",
        "result_status",
    ]  # fmt: skip
    list_filter = [DecisionFilter, PeriodFilter]
    list_select_related = ["owner"]
    period_field = "created_at"
    ordering = ["-created_at"]
    search_fields = ["agent_name"]  # shows the box; get_search_results says what it finds
    search_help_text = "Approval id, request id, owner id, agent id, or a part of an agent's name"
    fields: ClassVar[Any] = [
        "integrity", "id", "request_id", "owner", "agent_id", revealed("agent_name"), "platform", revealed("scope"),
        "connection_id", revealed("connection_label"), revealed("reason"), "requester_address", "created_at",
        "expires_at", "again_of_id", "again_by", revealed("idempotency_key"), "stored_call", "digest",
        "step_up", "decision", "decided_at", "decided_by", "decided_by_id", "decided_via", revealed("deny_reason"),
        "evidence_digest", "seal_hex",
        "execution_started_at", "executed_at", "result_status", "stored_result", revealed("execution_error"),
        "outcome_unknown", "outcome_found", "outcome_checked_at", "outcome_checked_by", "outcome_checked_by_id",
        revealed("outcome_note"), "story",
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApprovalRequest]:
        """Without the long columns: of an answer no more is read than the page shows, and the list needs none."""
        rows = super().get_queryset(request).select_related("owner", "agent")
        return rows.defer("form", "result_json", "disclosure")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ApprovalRequest], search_term: str
    ) -> tuple[QuerySet[ApprovalRequest], bool]:
        """Ids go through their indexes; a part of a name has to read the rows."""
        term = search_term.strip()
        try:
            wanted = UUID(term)
        except ValueError:
            if term.startswith("agt_"):
                return queryset.filter(agent_id=term), False
            return queryset.filter(agent_name__icontains=term), False
        return queryset.filter(Q(pk=wanted) | Q(request_id=wanted) | Q(owner_id=wanted)), False

    def get_urls(self) -> list[URLPattern]:
        export = path("export.csv", self.admin_site.admin_view(self.export), name="approvals_approvalrequest_export")
        return [export, *super().get_urls()]

    def export(self, request: HttpRequest) -> HttpResponseBase:
        """The rows of the list's filters, all of them, as CSV. A POST, because it is put on record."""
        if not self.has_view_permission(request) or not isinstance(request.user, User):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponse(status=405, headers={"Allow": "POST"})
        try:
            rows = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters as error:
            raise BadRequest from error
        stamp = stamped(request)
        asked = {name: str(value) for name, value in request.GET.items() if value}
        begin = partial(
            sheets.begin_export, rows=rows, user=request.user, asked=asked, request_id=stamp.request_id, now=stamp.now
        )
        try:
            pieces = exports.one_of_few(begin)
        except exports.TooManyExports:
            sentence = "Other exports are under way. Go back and try again in a minute."
            return HttpResponse(sentence, status=429, content_type="text/plain")
        name = f"approvals-{stamp.now:%Y%m%dT%H%M%SZ}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Accel-Buffering": "no"}
        return StreamingHttpResponse(pieces, content_type="text/csv; charset=utf-8", headers=headers)

    @admin.display(description="Integrity")
    def integrity(self, approval: ApprovalRequest) -> str:
        """What the worker would say of this row, before looking at rights."""
        try:
            check_row(approval)
            if approval.decision in {Decision.APPROVED, Decision.DENIED}:
                check_seal(approval)
                check_evidence(approval)
        except RightLost as error:
            return f"Digest, columns and seal fit the stored call. {error}"
        except Tampered as error:
            return f"TAMPERED: {error}"
        except Exception:
            logger.exception("approval %s cannot be checked", approval.pk)
            return "TAMPERED: the row cannot be checked"
        return "Digest, columns and seal fit the stored call."

    @admin.display(description="Stored call")
    def stored_call(self, approval: ApprovalRequest) -> SafeString:
        text = bytes(approval.form).decode("utf-8", errors="backslashreplace")
        if len(text) <= MOST_SHOWN:
            with suppress(ValueError, RecursionError):
                text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        return _shown(text[:MOST_SHOWN], len(text))

    @admin.display(description="result_json")
    def stored_result(self, approval: ApprovalRequest) -> SafeString | str:
        columns = (Substr("result_json", 1, MOST_SHOWN), Length("result_json"))
        head, length = ApprovalRequest.objects.filter(pk=approval.pk).values_list(*columns).get()
        return _shown(head, length) if head else "-"

    @admin.display(description="seal")
    def seal_hex(self, approval: ApprovalRequest) -> str:
        return bytes(approval.seal).hex() if approval.seal else "-"

    @admin.display(description="Every audit row of this request")
    def story(self, approval: ApprovalRequest) -> SafeString:
        events = story(owner_id=approval.owner_id, request_id=approval.request_id, approval_id=approval.pk)
        more = f"{reverse('admin:audit_auditevent_changelist')}?{urlencode({'q': str(approval.request_id)})}"
        link = format_html('<a href="{}">Audit log, request {}</a>', more, approval.request_id)
        return story_table(events) + link + export_link(approval.request_id)


def _shown(head: str, length: int) -> SafeString:
    """`head` revealed, and a mark if it is not all of the text's `length` characters."""
    cut = format_html("<p>… cut here, {} characters in all</p>", length) if length > len(head) else ""
    return format_html("<pre>{}</pre>{}", "\n".join(map(reveal, head.split("\n"))), cut)
