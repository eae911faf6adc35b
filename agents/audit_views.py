"""The pages under /audit: the log with its filters, one row with the story of its request, exports, "Check now"."""

import json
import re
from functools import partial
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from agents.audit_log import agent_named, agents_to_offer, begin_export, have_chain_checked
from agents.lifecycle import NotAllowed
from agents.masking import Secret, in_address, revealed
from agents.middleware import MemberRequest, wants_fragment
from agents.parents import parent_names
from audit import browse, checks, exports, tasks
from audit.filters import FilterForm, Filters
from audit.models import AuditEvent

EXPORTS = {"jsonl": "application/jsonl", "csv": "text/csv; charset=utf-8", "bundle": "application/jsonl"}
_ADDRESS = re.compile(r'  "(?:endpoint|url)": "(.*)",?')  # the line of a call's own in the metadata


@never_cache
@require_safe
def audit_log(request: MemberRequest) -> HttpResponse:
    """A page of the log, newest first; `before` goes on where the last page ended."""
    form = FilterForm(request.GET)
    before = browse.parse_key(request.GET.get("before", ""))
    page = browse.Page(rows=[], older=None, examined_to=None)
    if form.is_valid():
        page = browse.read_page(owner_id=request.member.owner_id, filters=_filters(request, form), before=before)
    parents = parent_names(owner_id=request.member.owner_id, agent_ids=[event.agent_id for event in page.rows])
    context = {
        "form": form,
        "page": page,
        "rows": [(event, parents.get(event.agent_id, "")) for event in page.rows],
        "before": before,
        "standing": checks.standing(owner_id=request.member.owner_id, now=request.now),
        "agents": agents_to_offer(owner=request.member.owner),
        "is_decisions": form.is_valid() and form.cleaned_data["tab"] == "decisions",
        "is_filtered": any(request.GET.get(name) for name in form.fields if name != "tab"),
        "query": _query(request, form),
        "may_audit": request.member.may_audit,
        "most_examined": browse.MOST_EXAMINED,
    }
    return render(request, "audit/list.html", context, status=200 if form.is_valid() else 400)


@never_cache
@require_safe
def audit_event(request: MemberRequest, audit_id: UUID) -> HttpResponse:
    """One row, all of its metadata and the story of its request. With `X-Fragment: 1` no page around it."""
    try:
        event = AuditEvent.objects.for_owner(request.member.owner_id).get(pk=audit_id)
    except AuditEvent.DoesNotExist as error:
        raise Http404 from error
    story = browse.story_of(event=event)
    parents = parent_names(owner_id=request.member.owner_id, agent_ids=[event.agent_id])
    context = {
        "event": event,
        "parent": parents.get(event.agent_id, ""),
        "metadata": _as_lines(event),
        "hash": bytes(event.hash).hex(),
        "story": story,
        "is_cut": len(story) == browse.MOST_OF_A_STORY,
    }
    template = "audit/_event.html" if wants_fragment(request) else "audit/detail.html"
    response = render(request, template, context)
    patch_vary_headers(response, ["X-Fragment", "Cookie"])
    return response


@never_cache
@require_POST
def audit_export(request: MemberRequest, kind: str) -> HttpResponseBase:
    """The rows of the filters as a file, oldest first, written while they are read. A bundle heeds the times only.

    The filters are those of the page, in the address; it is a POST because it is put on record.
    """
    if kind not in EXPORTS:
        raise Http404
    form = FilterForm(request.GET)
    if not form.is_valid():
        return _refusal(request, "These filters cannot be read", status=400)
    begin = partial(
        begin_export,
        member=request.member,
        kind=kind,
        filters=_filters(request, form),
        asked={name: request.GET[name] for name in form.fields if request.GET.get(name)},
        request_id=request.request_id,
        now=request.now,
    )
    try:
        pieces = exports.one_of_few(begin)
    except exports.TooManyExports:
        return _refusal(request, "Other exports are under way", status=429)
    ending = "audit.jsonl" if kind == "bundle" else kind
    name = f"audit-{request.now:%Y%m%dT%H%M%SZ}.{ending}"
    return StreamingHttpResponse(
        pieces,
        content_type=EXPORTS[kind],
        headers={"Content-Disposition": f'attachment; filename="{name}"', "X-Accel-Buffering": "no"},
    )


@never_cache
@require_POST
def check_audit(request: MemberRequest) -> HttpResponse:
    """Queue a check of the whole chain."""
    try:
        is_new = have_chain_checked(member=request.member, request_id=request.request_id, now=request.now)
    except NotAllowed as error:
        raise PermissionDenied from error
    if is_new:
        transaction.on_commit(tasks.check_soon)
        messages.success(request, "The whole chain is being checked. Reload this page for the outcome.")
    else:
        messages.warning(request, "A check of the whole chain is waiting or under way already.")
    return HttpResponse(status=303, headers={"Location": reverse("audit")})


def _filters(request: MemberRequest, form: FilterForm) -> Filters:
    agent_id = agent_named(owner=request.member.owner, text=form.cleaned_data["agent"])
    return Filters.of(form.cleaned_data, agent_id=agent_id)


def _query(request: HttpRequest, form: FilterForm) -> str:
    """The filters for links, without the place in the log."""
    query = request.GET.copy()
    for name in [name for name in query if name not in form.fields or not query[name]]:
        del query[name]
    return query.urlencode()


def _as_lines(event: AuditEvent) -> list[SafeString]:
    """The metadata as indented JSON, revealed. Line breaks within values are written as such by JSON."""
    metadata = event.metadata
    return [_line(line) for line in json.dumps(metadata, indent=2, ensure_ascii=False).split("\n")] if metadata else []


def _line(text: str) -> SafeString:
    found = _ADDRESS.fullmatch(text)
    at = found.start(1) if found else 0
    secrets = in_address(found[1]) if found else ()
    return revealed(text, [Secret(one.start + at, one.end + at, one.length) for one in secrets])


def _refusal(request: HttpRequest, title: str, *, status: int) -> HttpResponse:
    sentence = "Go back to the audit log and try again in a minute."
    return render(request, "errors/error.html", {"title": title, "sentence": sentence}, status=status)
