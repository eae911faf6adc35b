"""A passkey's part in a decision: when it is demanded, what it signs, and whether what is stored still proves it."""

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from agents import webauthn_site
from agents.delegate_model import Delegate
from agents.delegates import has_passkey
from agents.models import Member
from agents.passkey_answers import PasskeyRefused
from agents.passkey_keys import spki
from agents.passkey_models import Passkey
from agents.passkeys import Signed, note_use
from approvals.binding import Tampered, read_form
from approvals.evidence import PasskeyEvidence, evidence_of
from approvals.models import ApprovalRequest
from approvals.rights import RightLost
from approvals.verify_receipt import FORM_TYPE, FORM_VERSION, canonical, check_assertion
from platforms.coverage import Coverage
from platforms.models import StepUp
from platforms.step_up import demands_passkey

VIA = "passkey"


class PasskeyDemanded(Exception):
    """The scope can be decided on with a passkey only. `approval` is the row, undecided."""

    def __init__(self, approval: ApprovalRequest) -> None:
        super().__init__(f"{approval.pk} demands a passkey")
        self.approval = approval


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A verified signature of the deciding person over `signed.form`."""

    signed: Signed


def is_demanded(approval: ApprovalRequest) -> bool:
    """What was demanded when the call was asked for counts, and so does what is demanded now."""
    return approval.step_up == StepUp.PASSKEY or demands_passkey(
        owner_id=approval.owner_id, platform=approval.platform, scope=approval.scope
    )


def is_demanded_of(decider: Member | Delegate, approval: ApprovalRequest) -> bool:
    """Also of a delegate whose mailbox is that of a member with a passkey: it decides on nothing without that."""
    return is_demanded(approval) or (isinstance(decider, Delegate) and has_passkey(decider))


def decided(approval: ApprovalRequest, decision: str, approver_id: str) -> dict[str, str]:
    """What a signature of the member `approver_id` has to say of this row (docs/passkeys.md). Raises FormError."""
    return {
        "approver_id": approver_id,
        "approval_id": str(approval.pk),
        "digest": approval.digest,
        "decision": str(decision),
        "scope": approval.scope,
        "expires_at": approval.expires_at.isoformat(),
        "policy_version": read_form(bytes(approval.form)).policy_version,
    }


def new_form(approval: ApprovalRequest, decision: str, member: Member) -> bytes:
    """The canonical bytes of a decision that the member is about to sign, with a fresh nonce."""
    fresh = {"type": FORM_TYPE, "version": FORM_VERSION, "nonce": secrets.token_hex(32)}
    return canonical(decided(approval, decision, str(member.pk)) | fresh)


def keep_proof(*, approval: ApprovalRequest, decision: str, proof: Proof, now: datetime) -> None:
    """Store what was signed, and name it on the row (unsaved); the caller holds the row's lock and seals it next.

    Locks the passkey's row: after the approval row, before the owner's queue.

    Raises:
        PasskeyRefused: it signs another decision, another call or what the row was before; or see `note_use`.
    """
    if any(problem for _, problem in _checked(_evidence(approval, proof, now), approval, decision)):
        raise PasskeyRefused("form", passkey=proof.signed.passkey)
    note_use(proof.signed, now=now)
    evidence = _evidence(approval, proof, now)
    evidence.save(force_insert=True)
    approval.evidence_digest = evidence.digest()


def check_unsigned(approval: ApprovalRequest) -> None:
    """Make sure that nothing is kept as signed for a row that nobody has decided on. The caller holds the row's lock.

    Raises:
        Tampered: somebody has put something there, which would also be in the way of a real decision.
    """
    if evidence_of(approval.pk) is not None:
        raise Tampered("something is kept as signed, and nobody has decided")


def check_evidence(approval: ApprovalRequest) -> None:
    """Verify again what the deciding person's passkey signed, just before the call is made.

    The evidence brings its own public key along; the one that counts is that of the decider's registered passkey.

    Raises:
        Tampered: see `check_stored`; or the passkey is another person's, or has another key.
        RightLost: the passkey was deleted after the decision.
    """
    evidence = check_stored(approval)
    if evidence is None:
        return
    passkey = Passkey.objects.filter(credential_id=evidence.credential_id).first()
    if passkey is None:
        raise RightLost("passkey_deleted", "The passkey that approved was deleted after the decision.")
    if bytes(evidence.public_key) != spki(bytes(passkey.public_key)):
        raise Tampered("what the passkey signed was signed with another key than the registered one")
    decider = Member.objects.for_owner(approval.owner).filter(pk=approval.decided_by_id).first()
    if decider is not None and decider.user_id != passkey.user_id:  # who is no member any more, `rights` turns away
        raise Tampered("the passkey is not that of the person who decided")


def check_stored(approval: ApprovalRequest) -> PasskeyEvidence | None:
    """What the deciding person's passkey signed, verified again; None for a decision without.

    Raises:
        Tampered: it is missing, changed, or proves something else.
    """
    if approval.decided_via != VIA and not approval.evidence_digest:
        if approval.step_up == StepUp.PASSKEY:
            raise Tampered("the decision needs a passkey and was taken without")
        return None
    evidence = evidence_of(approval.pk)
    if evidence is None:
        raise Tampered("what the passkey signed is missing")
    if not hmac.compare_digest(evidence.digest().encode(), approval.evidence_digest.encode()):
        raise Tampered("what the passkey signed was changed")
    for name, problem in _checked(evidence, approval, approval.decision):
        if problem:
            raise Tampered(f"what the passkey signed does not hold ({name}: {problem})")
    return evidence


def check_demand(approval: ApprovalRequest, coverage: Coverage) -> None:
    """Whether the decision is enough for what the scope demands by now.

    Raises:
        RightLost: it demands a passkey since, and the decision was taken without.
    """
    if coverage.step_up == StepUp.PASSKEY and approval.decided_via != VIA:
        raise RightLost("step_up_required", "The scope demands a passkey by now, and the call was approved without.")


def _checked(evidence: PasskeyEvidence, approval: ApprovalRequest, decision: str) -> Sequence[tuple[str, str]]:
    return check_assertion(evidence.statement(), decided=decided(approval, decision, approval.decided_by_id))


def _evidence(approval: ApprovalRequest, proof: Proof, now: datetime) -> PasskeyEvidence:
    signed = proof.signed
    return PasskeyEvidence(
        approval_id=approval.pk,
        form=signed.form,
        rp_id=webauthn_site.rp_id(),
        origin=webauthn_site.origin(),
        credential_id=signed.answer.credential_id,
        public_key=spki(bytes(signed.passkey.public_key)),
        client_data_json=signed.answer.client_data,
        authenticator_data=signed.answer.authenticator_data,
        signature=signed.answer.signature,
        created_at=now,
    )
