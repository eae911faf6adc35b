"""What an approved call rests on, read again just before it is sent."""

from datetime import datetime, timedelta

from agents.delegate_model import Delegate
from agents.models import Agent, AgentStatus, Member
from approvals.binding import Form
from approvals.link_tokens import VIA
from approvals.models import ApprovalRequest
from platforms.coverage import Coverage, NotConnected, NotCovered, find_coverage
from platforms.endpoints import EndpointRefused, parse_endpoint

# How long after the decision a call may still begin. What could not run by then is reported, not run late.
START_WITHIN = timedelta(hours=1)


class RightLost(Exception):
    """A right that the call needs is gone. The text is one sentence; `reason` is its code."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


def current_coverage(*, approval: ApprovalRequest, form: Form, now: datetime) -> Coverage:
    """The grant and connection that still cover the approved call, unchanged since it was asked for.

    Raises:
        RightLost: agent, decider, grant, connection, credential or platform are not what they were, or it is too late.
    """
    if approval.decided_at is None or now > approval.decided_at + START_WITHIN:
        raise RightLost("too_late", "No worker could begin the call within an hour of the decision.")
    agent = Agent.objects.get(pk=approval.agent_id)
    if agent.status != AgentStatus.ACTIVE:
        raise RightLost(f"agent_{agent.status}", f"The agent is {agent.status}.")
    if not _may_decide_still(approval):
        raise RightLost("decider_not_allowed", "The person who approved may no longer decide.")
    coverage = coverage_of(approval=approval, form=form, now=now)
    if coverage.credential_version != form.credential_version:
        raise RightLost("credential_changed", "The connection's credential was replaced after the request.")
    if approval.same_key_as is not None and not coverage.honours_idempotency_key:
        raise RightLost("platform_changed", "The platform is no longer said to honour an Idempotency-Key.")
    return coverage


def _may_decide_still(approval: ApprovalRequest) -> bool:
    """Whether who approved has the right at this moment. The seal vouches for who it was, and by which way."""
    if approval.decided_via == VIA:
        delegates = Delegate.objects.for_owner(approval.owner)
        return delegates.filter(pk=approval.decided_by_id, email=approval.decided_by, is_active=True).exists()
    decider = (
        Member.objects.for_owner(approval.owner)
        .filter(pk=approval.decided_by_id, user__email=approval.decided_by, user__is_active=True)
        .first()
    )
    return decider is not None and decider.may_decide


def coverage_of(*, approval: ApprovalRequest, form: Form, now: datetime) -> Coverage:
    """The grant and connection that cover the row's call now, at the address that it was asked for.

    Raises:
        RightLost: there is none.
    """
    try:
        coverage = find_coverage(
            owner_id=approval.owner_id,
            agent_id=approval.agent_id,
            platform=form.platform,
            scope=form.scope,
            method=form.method,
            endpoint=parse_endpoint(form.endpoint),
            connection_id=approval.connection_id,
            now=now,
        )
    except NotCovered as error:
        raise RightLost(error.reason, str(error)) from error
    except EndpointRefused as error:
        raise RightLost("endpoint_refused", str(error)) from error
    except NotConnected as error:
        raise RightLost("no_credential", "The connection is gone.") from error
    if coverage.url != form.url:
        raise RightLost("platform_changed", "The platform's address was changed after the request.")
    if (coverage.auth.placement, dict(coverage.auth.headers)) != (form.placement, dict(form.headers)):
        raise RightLost("platform_changed", "The platform's headers, or the place of its credential, were changed.")
    return coverage
