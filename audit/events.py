"""The words of the record: what can happen, how it came out, who did it."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, TypeAlias

JSON: TypeAlias = "str | int | float | bool | Sequence[JSON] | Mapping[str, JSON] | None"


class Event(StrEnum):
    """What happened, as `subject.verb`. A value is never changed or used again: stored rows keep it for ever."""

    OWNER_CREATED = "owner.created"
    OWNER_CHANGED = "owner.changed"

    MEMBER_ADDED = "member.added"
    MEMBER_INVITED = "member.invited"
    MEMBER_INVITATION_WITHDRAWN = "member.invitation_withdrawn"
    MEMBER_JOINED = "member.joined"
    MEMBER_ROLE_CHANGED = "member.role_changed"
    MEMBER_REMOVED = "member.removed"
    MEMBER_SIGNED_IN = "member.signed_in"
    MEMBER_SIGNED_OUT = "member.signed_out"
    MEMBER_SIGN_IN_FAILED = "member.sign_in_failed"
    MEMBER_SESSIONS_ENDED = "member.sessions_ended"
    MEMBER_PROFILE_CHANGED = "member.profile_changed"
    MEMBER_PASSWORD_CHANGED = "member.password_changed"  # noqa: S105 - the name of an event
    MEMBER_CLI_SIGNED_IN = "member.cli_signed_in"
    MEMBER_CLI_SIGNED_OUT = "member.cli_signed_out"
    PASSKEY_REGISTERED = "passkey.registered"
    PASSKEY_DELETED = "passkey.deleted"
    PASSKEY_REFUSED = "passkey.refused"  # of somebody who is signed in

    DELEGATE_ADDED = "delegate.added"
    DELEGATE_ACTIVATED = "delegate.activated"
    DELEGATE_DEACTIVATED = "delegate.deactivated"
    DELEGATE_REMOVED = "delegate.removed"

    # Devices that get push notifications.
    PUSH_SUBSCRIBED = "push.subscribed"
    PUSH_UNSUBSCRIBED = "push.unsubscribed"
    PUSH_DROPPED = "push.dropped"  # its push service knows it no longer

    AGENT_CREATED = "agent.created"
    AGENT_INVITED = "agent.invited"
    AGENT_KEY_BOUND = "agent.key_bound"
    AGENT_KEY_RETIRED = "agent.key_retired"
    AGENT_ACTIVATED = "agent.activated"
    AGENT_SUSPENDED = "agent.suspended"
    AGENT_REACTIVATED = "agent.reactivated"
    AGENT_DELETED = "agent.deleted"  # revoked for good; its row stays
    AGENT_REPORTED = "agent.reported"
    AGENT_REPORT_READ = "agent.report_read"  # a person took it out of the inbox
    AGENT_UNINSTALL_REQUESTED = "agent.uninstall_requested"
    AGENT_UNINSTALL_REJECTED = "agent.uninstall_rejected"
    AGENT_UNINSTALL_EXPIRED = "agent.uninstall_expired"

    PLATFORM_CONNECTED = "platform.connected"
    PLATFORM_REAUTHENTICATED = "platform.reauthenticated"  # another credential for a connection that there was
    PLATFORM_CHANGED = "platform.changed"
    PLATFORM_DISCONNECTED = "platform.disconnected"
    CONNECTION_TESTING = "connection.testing"  # the intent, committed just before the call
    CONNECTION_TESTED = "connection.tested"
    CONNECTION_RENEWED = "connection.renewed"  # its refresh token was exchanged for an access token
    CONNECTION_NOT_RENEWED = "connection.not_renewed"  # the platform refused that, or did not answer
    PLATFORM_CIRCUIT_OPENED = "platform.circuit_opened"  # it failed too often in a row and is not called
    PLATFORM_CIRCUIT_CLOSED = "platform.circuit_closed"  # the probe was answered
    PLATFORM_CREDENTIAL_REWRAPPED = "platform.credential_rewrapped"  # under another vault key
    PLATFORM_CREDENTIAL_FORGOTTEN = "platform.credential_forgotten"  # no vault key opened it

    PERMISSION_GRANTED = "permission.granted"
    PERMISSION_REVOKED = "permission.revoked"
    PERMISSION_APPROVAL_TOGGLE_CHANGED = "permission.approval_toggle_changed"

    # What agents ask an owner for, outside of any call.
    ACCESS_REQUESTED = "access.requested"
    ACCESS_APPROVED = "access.approved"
    ACCESS_DENIED = "access.denied"
    REGISTRATION_REQUESTED = "registration.requested"
    REGISTRATION_APPROVED = "registration.approved"
    REGISTRATION_REJECTED = "registration.rejected"

    # A call that needs nobody's approval. `sending` is the intent, committed just before the call.
    ACTION_SENDING = "action.sending"
    ACTION_ALLOWED = "action.allowed"
    ACTION_OBSERVED = "action.observed"  # relayed with the agent's own credential
    ACTION_DENIED = "action.denied"
    ACTION_FAILED = "action.failed"

    # A call that waits for a person. `sending` is the intent, committed just before the call.
    APPROVAL_REQUESTED = "approval.requested"
    APPROVAL_APPROVED = "approval.approved"
    APPROVAL_DENIED = "approval.denied"
    APPROVAL_EXPIRED = "approval.expired"
    APPROVAL_SENDING = "approval.sending"
    APPROVAL_EXECUTED = "approval.executed"
    APPROVAL_FAILED = "approval.failed"
    APPROVAL_OUTCOME_UNKNOWN = "approval.outcome_unknown"
    APPROVAL_OUTCOME_CHECKED = "approval.outcome_checked"  # a person has looked on the platform
    APPROVAL_TAMPERED = "approval.tampered"
    APPROVAL_PASSKEY_MISSING = "approval.passkey_missing"  # a decision without one, where the scope demands it

    AUDIT_CHECK_REQUESTED = "audit.check_requested"  # of the whole chain
    AUDIT_EXPORTED = "audit.exported"  # the log, or a part of it, left as a file
    APPROVAL_EXPORTED = "approval.exported"  # so did the list of calls at /admin, without what was called


# Where it was decided whether a call may be made: by a grant, by a person, by the clock, by the seal. A partial index
# of AuditEvent holds them, so a new one needs a migration.
DECISIONS = frozenset(
    {
        Event.ACTION_ALLOWED,
        Event.ACTION_OBSERVED,
        Event.ACTION_FAILED,  # it was allowed, and no answer came
        Event.ACTION_DENIED,
        Event.APPROVAL_REQUESTED,
        Event.APPROVAL_APPROVED,
        Event.APPROVAL_DENIED,
        Event.APPROVAL_EXPIRED,
        Event.APPROVAL_TAMPERED,
    }
)


class Result(StrEnum):
    """How it came out, for the Result column and its filter."""

    ALLOWED = "allowed"
    DENIED = "denied"
    PENDING = "pending"
    ERROR = "error"
    UNKNOWN = "unknown"  # sent, and nobody knows whether it arrived
    INFO = "info"  # a change or a fact that nobody had to allow


class Actor(NamedTuple):
    """Who did it, as known at that moment."""

    kind: str  # "agent" | "member" | "system"
    id: str  # agt_…, the user's primary key, or the name of the process
    label: str  # agent name or e-mail address
