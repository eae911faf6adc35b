"""Forensics on the audit log in Django's admin: look, search, change nothing."""

from collections.abc import Callable
from typing import Any, ClassVar
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit.admin_lists import BoundedPaginator, PeriodFilter
from audit.browse import MOST_EXAMINED, story_of
from audit.events import Result
from audit.models import AuditEvent, ChainHead, Checkpoint


def inspected_owner_ids(request: HttpRequest) -> list[UUID] | None:
    """Whose history the signed-in person may look into; None for every owner's."""
    return request.user.inspected_owner_ids() if request.user.is_authenticated else []


def revealed(field: str) -> Callable[[Any], SafeString | str]:
    """A column, or a line of a page, whose text an agent or a person had a hand in: what is hidden in it is marked."""

    @admin.display(description=field.replace("_", " "))
    def shown(row: Any) -> SafeString | str:
        text = getattr(row, field)
        return render_to_string("admin/_revealed.html", {"text": text}) if text else "-"

    shown.__name__ = field
    return shown


class ReadOnlyAdmin(admin.ModelAdmin[Any]):
    """Nobody adds, changes or deletes, whatever permissions an account has been given; a tenant sees its own rows.

    The user model says whose rows those are.
    """

    actions = None
    paginator = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        owner_ids = inspected_owner_ids(request)
        return owner_ids is None or (bool(owner_ids) if obj is None else obj.owner_id in owner_ids)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        owner_ids = inspected_owner_ids(request)
        rows = super().get_queryset(request)
        return rows if owner_ids is None else rows.filter(owner_id__in=owner_ids)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """404 for what is not there, as everywhere here; Django's own admin goes back to the index with a sentence."""
        found = super().get_object(request, object_id, from_field)
        if found is None:
            raise Http404
        return found

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ResultFilter(admin.SimpleListFilter):
    """The known results. Asking the table for the values in use would read all of it."""

    title = "result"
    parameter_name = "result"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(result.value, result.value.capitalize()) for result in Result]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(result=self.value()) if self.value() else queryset


def story_table(events: list[AuditEvent]) -> SafeString:
    """The rows of a story, each a link to its page."""
    return render_to_string("admin/_story.html", {"events": events})


def export_link(request_id: UUID) -> SafeString:
    """To the page of the log with these rows alone, which makes files of them; a member's, so within the own owner."""
    address = f"{reverse('audit')}?{urlencode({'q': str(request_id)})}"
    return format_html('<p><a href="{}">Export these rows</a> on the page of the audit log</p>', address)


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    list_display = [
        "at",
        "owner_id",
        "seq",
        revealed("agent_name"),
        "platform",
        revealed("action"),
        "event",
        "result",
        revealed("reason"),
    ]
    list_filter = [ResultFilter, PeriodFilter]
    period_field = "at"
    ordering = ["-at"]
    search_fields = ["agent_name"]  # shows the box; get_search_results says what it finds
    search_help_text = (
        "Request id, approval id, audit id, owner id, agent id, or a part of an agent's name "
        f"(in the newest {MOST_EXAMINED} rows of what is filtered)"
    )
    fields: ClassVar[Any] = [
        "same_request", "id", "owner_id", "seq", "at", "event", "result", "actor_kind", "actor_id",
        revealed("actor_label"), "agent_id", revealed("agent_name"), "platform", revealed("action"), "request_id",
        "approval_id", revealed("session_id"), revealed("reason"),
        "canonical", "hash_hex",
    ]  # fmt: skip

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AuditEvent], search_term: str
    ) -> tuple[QuerySet[AuditEvent], bool]:
        """Ids go through their indexes; a part of a name has to read rows."""
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            wanted = UUID(term)
        except ValueError:
            pass
        else:
            if ChainHead.objects.filter(pk=wanted).exists():
                return queryset.filter(owner_id=wanted), False
            return queryset.filter(Q(request_id=wanted) | Q(approval_id=wanted) | Q(id=wanted)), False
        if term.startswith("agt_"):
            # The index begins with the owner; naming the few owners lets it be used.
            return queryset.filter(owner_id__in=ChainHead.objects.values("owner_id"), agent_id=term), False
        # No index has parts of names: look through the newest rows only.
        newest = queryset.order_by("-at").values_list("at", flat=True)
        oldest = newest[MOST_EXAMINED - 1 : MOST_EXAMINED].first()
        return (queryset.filter(at__gte=oldest) if oldest else queryset).filter(agent_name__icontains=term), False

    @admin.display(description="The whole story of this request")
    def same_request(self, event: AuditEvent) -> SafeString | str:
        if event.request_id is None:
            return "-"
        url = f"{reverse('admin:audit_auditevent_changelist')}?{urlencode({'q': str(event.request_id)})}"
        link = format_html('<a href="{}">every audit row of request {}</a>', url, event.request_id)
        return story_table(story_of(event=event)) + link + export_link(event.request_id)

    @admin.display(description="hash")
    def hash_hex(self, event: AuditEvent) -> str:
        return bytes(event.hash).hex()


@admin.register(Checkpoint)
class CheckpointAdmin(ReadOnlyAdmin):
    list_display = ["at", "owner_id", "seq", "hash_hex"]
    ordering = ["-id"]
    fields: ClassVar = ["owner_id", "seq", "at", "hash_hex"]

    @admin.display(description="hash")
    def hash_hex(self, checkpoint: Checkpoint) -> str:
        return bytes(checkpoint.hash).hex()
