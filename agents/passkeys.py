"""People's passkeys: registering, signing with them, deleting. Every challenge is good for one answer, for two minutes.

User verification (fingerprint, face, PIN) is demanded in the options and of the answer.
"""

import hashlib
import logging
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Q
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from agents import webauthn_site as site
from agents.models import User
from agents.passkey_answers import DeviceAnswer, PasskeyRefused, read_answer, transports_of
from agents.passkey_keys import names_on_record
from agents.passkey_models import Passkey, PasskeyChallenge, Purpose
from agents.people_record import record_for_person
from audit.events import Event

logger = logging.getLogger(__name__)

CHALLENGE_LIFETIME = timedelta(minutes=2)
MOST_PASSKEYS = 20  # of one person
MOST_CHALLENGES = 10  # of one person at a time: the oldest makes way
ALGORITHMS = [
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A verified answer of a person's passkey. `form` is what its challenge stands for, empty but for decisions."""

    passkey: Passkey
    answer: DeviceAnswer
    sign_count: int
    form: bytes


def passkeys_of(user: User) -> list[Passkey]:
    """Oldest first."""
    return list(Passkey.objects.filter(user=user).order_by("created_at", "pk"))


def has_passkey(user: User) -> bool:
    return Passkey.objects.filter(user=user).exists()


def begin_registration(*, user: User, now: datetime) -> str:
    """The options for `navigator.credentials.create`, as JSON. The caller has made sure that it is the person."""
    own = passkeys_of(user)
    handle = bytes(own[0].user_handle) if own else secrets.token_bytes(32)
    challenge = secrets.token_bytes(32)
    _keep(challenge, purpose=Purpose.REGISTER, user=user, bound=handle, now=now)
    options = generate_registration_options(
        rp_id=site.rp_id(),
        rp_name=site.RP_NAME,
        user_id=handle,
        user_name=user.email,
        user_display_name=user.name or user.email,
        challenge=challenge,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
        exclude_credentials=_descriptors(own),
        supported_pub_key_algs=ALGORITHMS,
    )
    return options_to_json(options)


def register(*, user: User, answer: str, label: str, request_id: UUID, address: str | None, now: datetime) -> Passkey:
    """Keep a new passkey of the person, and put that on record.

    Raises:
        PasskeyRefused: the answer is not one to a challenge of this person, or does not verify.
    """
    read = read_answer(answer)
    handle = bytes(_take(read, purpose=Purpose.REGISTER, user=user, now=now).bound)
    try:
        verified = verify_registration_response(
            credential=read.json,
            expected_challenge=read.challenge,
            expected_rp_id=site.rp_id(),
            expected_origin=site.origin(),
            require_user_verification=True,
            supported_pub_key_algs=ALGORITHMS,
        )
    except Exception as error:  # hostile bytes go through three parsers: whatever one trips over is a refusal
        logger.info("refused a new passkey: %s", error)
        raise PasskeyRefused("registration") from error
    if verified.credential_id != read.credential_id:
        raise PasskeyRefused("credential_id")
    try:
        with transaction.atomic():
            User.objects.select_for_update(no_key=True).get(pk=user.pk)
            if Passkey.objects.filter(user=user).count() >= MOST_PASSKEYS:
                raise PasskeyRefused("too_many", f"You have {MOST_PASSKEYS} passkeys: delete one first.")
            passkey = Passkey.objects.create(
                user=user,
                label=label,
                credential_id=verified.credential_id,
                public_key=verified.credential_public_key,
                user_handle=handle,
                sign_count=verified.sign_count,
                transports=transports_of(read),
                created_at=now,
            )
            _record(Event.PASSKEY_REGISTERED, passkey, request_id=request_id, address=address, now=now)
    except IntegrityError as error:
        raise PasskeyRefused("known_credential", "This passkey is registered already.") from error
    return passkey


def delete(*, user: User, passkey_id: UUID, request_id: UUID, address: str | None, now: datetime) -> None:
    """Forget a passkey of the person. Raises Passkey.DoesNotExist."""
    with transaction.atomic():
        passkey = Passkey.objects.select_for_update().get(pk=passkey_id, user=user)
        _record(Event.PASSKEY_DELETED, passkey, request_id=request_id, address=address, now=now)
        passkey.delete()


def begin_signing(*, user: User | None, purpose: Purpose, now: datetime, form: bytes = b"") -> str:
    """The options for `navigator.credentials.get`, as JSON. Without `user` the device offers what it has for us.

    With `form` the challenge is its SHA-256, so what is signed is the form.
    """
    challenge = hashlib.sha256(form).digest() if form else secrets.token_bytes(32)
    _keep(challenge, purpose=purpose, user=user, bound=form, now=now)
    options = generate_authentication_options(
        rp_id=site.rp_id(),
        challenge=challenge,
        allow_credentials=None if user is None else _descriptors(passkeys_of(user)),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json(options)


def finish_signing(*, user: User | None, purpose: Purpose, answer: str, now: datetime) -> Signed:
    """Take the challenge, so that it is gone whatever comes next, then verify the answer to it.

    The caller calls `note_use` in the transaction of what the signature allows.

    Raises:
        PasskeyRefused: no such challenge of this purpose and person, or too old; no such passkey; not verified.
    """
    read = read_answer(answer)
    taken = _take(read, purpose=purpose, user=user, now=now)
    passkeys = Passkey.objects.select_related("user").filter(credential_id=read.credential_id)
    passkey = (passkeys if user is None else passkeys.filter(user=user)).first()
    if passkey is None:
        raise PasskeyRefused("unknown_credential")
    # Where nobody said who they are, the device does.
    named = read.user_handle if read.user_handle is not None or user is None else bytes(passkey.user_handle)
    if named != bytes(passkey.user_handle):
        raise PasskeyRefused("user_handle")  # a stranger's guess: only the device knows the handle
    try:
        verified = verify_authentication_response(
            credential=read.json,
            expected_challenge=bytes(taken.challenge),
            expected_rp_id=site.rp_id(),
            expected_origin=site.origin(),
            credential_public_key=bytes(passkey.public_key),
            credential_current_sign_count=passkey.sign_count,
            require_user_verification=True,
        )
    except Exception as error:  # as in `register`
        logger.info("refused the passkey %s: %s", passkey.pk, error)
        raise PasskeyRefused("assertion", passkey=passkey) from error
    return Signed(passkey=passkey, answer=read, sign_count=verified.new_sign_count, form=bytes(taken.bound))


def note_use(signed: Signed, *, now: datetime) -> None:
    """Move the passkey's counter on, in the caller's transaction; its row stays locked until that ends.

    Raises:
        PasskeyRefused: it was deleted since, or another answer with this counter was faster: one of two devices is a
            copy. A counter that is 0 for ever says nothing.
    """
    counts = Q(sign_count__lt=signed.sign_count)
    if signed.sign_count == 0:
        counts = Q(sign_count=0)
    used = Passkey.objects.filter(counts, pk=signed.passkey.pk).update(sign_count=signed.sign_count, last_used_at=now)
    if not used:
        raise PasskeyRefused("counter", passkey=signed.passkey)


def forget_challenges(*, now: datetime) -> None:
    """Remove those that nobody has answered."""
    PasskeyChallenge.objects.filter(expires_at__lte=now).delete()


def _keep(challenge: bytes, *, purpose: Purpose, user: User | None, bound: bytes, now: datetime) -> None:
    if user is not None:
        oldest = PasskeyChallenge.objects.filter(user=user).order_by("-expires_at").values_list("pk", flat=True)
        PasskeyChallenge.objects.filter(pk__in=list(oldest[MOST_CHALLENGES - 1 :])).delete()
    PasskeyChallenge.objects.create(
        challenge=challenge, purpose=purpose, user=user, bound=bound, expires_at=now + CHALLENGE_LIFETIME
    )


def _take(read: DeviceAnswer, *, purpose: Purpose, user: User | None, now: datetime) -> PasskeyChallenge:
    with transaction.atomic(durable=True):  # committed before anything is verified: one try each
        rows = PasskeyChallenge.objects.select_for_update(of=("self",)).filter(
            challenge=read.challenge, purpose=purpose, user=user
        )
        taken = rows.first()
        if taken is not None:
            PasskeyChallenge.objects.filter(challenge=taken.challenge).delete()
    if taken is None or now >= taken.expires_at:
        raise PasskeyRefused("challenge", "That took too long, or was used before. Nothing was done: try again.")
    return taken


def _descriptors(passkeys: list[Passkey]) -> list[PublicKeyCredentialDescriptor]:
    return [
        PublicKeyCredentialDescriptor(
            id=bytes(passkey.credential_id),
            transports=[AuthenticatorTransport(word) for word in passkey.transports] or None,
        )
        for passkey in passkeys
    ]


def _record(event: Event, passkey: Passkey, *, request_id: UUID, address: str | None, now: datetime) -> None:
    record_for_person(
        event=event,
        user=passkey.user,
        request_id=request_id,
        address=address,
        now=now,
        metadata={
            "passkey_id": str(passkey.pk),
            "label": passkey.label,
            **names_on_record(credential_id=bytes(passkey.credential_id), public_key=bytes(passkey.public_key)),
        },
    )
