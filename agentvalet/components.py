"""`/components`: what pages are put together from, side by side, for who works on them. Not in production."""

from datetime import timedelta
from types import SimpleNamespace
from uuid import UUID

from django.conf import settings
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from agents.middleware import MemberRequest
from agents.models import AgentStatus
from approvals.changes import Change
from approvals.presentation import STATE_NAMES, CardState
from audit.events import Result
from notifications.models import Severity
from platforms.models import ConnectionStatus

ENDED = (CardState.FINISHED, CardState.FAILED, CardState.UNKNOWN, CardState.DENIED, CardState.EXPIRED)
_APPROVAL = UUID(int=1)  # nobody's, so its links lead nowhere


@never_cache
@require_safe
def components(request: MemberRequest) -> HttpResponse:
    """The real templates with made-up content. Nothing is read, and no button decides on anything."""
    if settings.PRODUCTION:
        raise Http404
    approval = SimpleNamespace(pk=_APPROVAL, digest="5e1f" * 16, expires_at=request.now + timedelta(minutes=9))
    context = {
        "statuses": AgentStatus.choices,
        "connections": ConnectionStatus.choices,
        "results": list(Result),
        "severities": Severity.choices,
        "states": [(state, STATE_NAMES[state]) for state in ENDED],
        "cards": [_card(approval, state) for state in (CardState.PENDING, CardState.PROCESSING, CardState.EXPIRED)],
        "outcome": SimpleNamespace(approval=approval, sentence="acme-chat: the platform did not answer in time."),
        "approval": approval,
        "payload": SimpleNamespace(lines=_lines()),
        "changes": SimpleNamespace(
            earlier=SimpleNamespace(pk=_APPROVAL, executed_at=request.now), lines=_changes(), sentence=""
        ),
    }
    return render(request, "components/page.html", context)


def _card(approval: SimpleNamespace, state: CardState) -> SimpleNamespace:
    """What approvals/_phone_row.html shows of a call."""
    return SimpleNamespace(
        approval=approval,
        state=state,
        state_name=STATE_NAMES[state],
        agent_name="deploy-bot",
        platform="acme-chat",
        scope="chat:write",
        time_left="9:00",
        key=state.value,
        plain_name=f"deploy-bot, acme-chat chat:write ({STATE_NAMES[state]})",
        expires_ms=int(approval.expires_at.timestamp() * 1000),
    )


def _line(text: str) -> SafeString:
    return format_html("{}", text)


def _lines() -> list[SimpleNamespace]:
    """A payload, line by line."""
    pair = format_html(
        '<span class="json-key">{}</span>: <span class="json-string">{}</span>', '"text"', '"4.2 is out"'
    )
    return [
        SimpleNamespace(indent=indent, html=html) for indent, html in (("", _line("{")), ("  ", pair), ("", _line("}")))
    ]


def _changes() -> list[Change]:
    lines = (("", "", "{"), ("-", "  ", '"text": "4.1 is out"'), ("+", "  ", '"text": "4.2 is out"'), ("", "", "}"))
    return [Change(sign, indent, _line(text)) for sign, indent, text in lines]
