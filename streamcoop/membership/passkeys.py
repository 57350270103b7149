"""Passkeys (WebAuthn): whose key the co-op keeps signs with one in person, and what it signed is the evidence.

The challenge of an assertion is the very digest that the kept key signs then. User verification is required: something
she knows or is, not only something she has. Attestation is not asked for: it would tell what she bought.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import struct
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit
from uuid import UUID

from cryptography.exceptions import UnsupportedAlgorithm
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from ledger.ids import new_id
from streamcoop.errors import NotFound
from streamcoop.membership import service
from streamcoop.membership.models import Passkey
from streamcoop.membership.refusals import NoPasskey, PasskeyKnown, PasskeyRefused, TooManyPasskeys
from streamcoop.settings import Settings

if TYPE_CHECKING:  # loaded where a passkey is used: a process that only plays has no use for it
    from fido2.server import Fido2Server

PASSKEYS_MAX = 20
REGISTRATION_LIFE = timedelta(minutes=10)
DIGEST_BYTES = 32

_TIME_BYTES, _RANDOM_BYTES, _MAC_BYTES = 8, 16, 32


# --- Registering ---


def registration_options(
    session: Session, user_id: UUID, name: str, settings: Settings, now: datetime
) -> dict[str, Any]:
    """What a browser makes a passkey with (`PublicKeyCredentialCreationOptionsJSON`). Raises TooManyPasskeys."""
    from fido2.webauthn import (
        PublicKeyCredentialUserEntity,
        ResidentKeyRequirement,
        UserVerificationRequirement,
    )

    known = of_user(session, user_id)
    if len(known) >= PASSKEYS_MAX:
        raise TooManyPasskeys(passkeys_max=PASSKEYS_MAX)
    options, _ = _server(settings).register_begin(
        # No name of hers: an authenticator may show it to whoever holds it.
        PublicKeyCredentialUserEntity(id=user_id.bytes, name=name, display_name=name),
        credentials=_descriptors(known),
        resident_key_requirement=ResidentKeyRequirement.PREFERRED,
        user_verification=UserVerificationRequirement.REQUIRED,
        challenge=_registration_challenge(user_id, settings, int(now.timestamp()), secrets.token_bytes(_RANDOM_BYTES)),
    )
    return dict(options.public_key)


def register(
    session: Session, user_id: UUID, credential: Mapping[str, Any], name: str, settings: Settings, now: datetime
) -> Passkey:
    """Take a passkey that a browser made with `registration_options` (`RegistrationResponseJSON`).

    Raises PasskeyRefused, PasskeyKnown and TooManyPasskeys.
    """
    from fido2 import cbor
    from fido2.webauthn import UserVerificationRequirement

    challenge = _own_registration_challenge(user_id, credential, settings, now)
    state = {"challenge": _websafe(challenge), "user_verification": UserVerificationRequirement.REQUIRED}
    # What a client sends may be no registration at all, in as many ways as there are of reading it.
    try:
        made = _server(settings).register_complete(state, credential)
        found = made.credential_data
        if found is None:
            raise ValueError("no credential")
        public_key = cbor.encode(dict(found.public_key))
    except _UNREADABLE as refusal:
        raise PasskeyRefused(reason=str(refusal)) from refusal
    if (session.scalar(select(func.count()).where(Passkey.user_id == user_id)) or 0) >= PASSKEYS_MAX:
        raise TooManyPasskeys(passkeys_max=PASSKEYS_MAX)
    row = {
        "id": new_id(),
        "user_id": user_id,
        "credential_id": bytes(found.credential_id),
        "public_key": public_key,
        "sign_count": made.counter,
        "name": name,
        "created_at": now,
    }
    registered: Passkey | None = session.scalar(insert(Passkey).values(row).on_conflict_do_nothing().returning(Passkey))
    if registered is None:
        raise PasskeyKnown
    return registered


def of_user(session: Session, user_id: UUID) -> list[Passkey]:
    """A user's passkeys, the first registered first."""
    return list(session.scalars(select(Passkey).where(Passkey.user_id == user_id).order_by(Passkey.id)))


def remove(session: Session, user_id: UUID, passkey_id: UUID) -> None:
    """Forget a passkey. Raises NotFound, also for somebody else's."""
    found = session.get(Passkey, passkey_id)
    if found is None or found.user_id != user_id:
        raise NotFound
    session.delete(found)


# --- Signing ---


def assertion_options(session: Session, user_id: UUID, digest: bytes, settings: Settings) -> dict[str, Any]:
    """What a browser has a passkey sign a digest with (`PublicKeyCredentialRequestOptionsJSON`). Raises NoPasskey."""
    from fido2.webauthn import UserVerificationRequirement

    options, _ = _server(settings).authenticate_begin(
        _descriptors(_some(session, user_id)), UserVerificationRequirement.REQUIRED, challenge=_digest(digest)
    )
    return dict(options.public_key)


def verified(session: Session, user_id: UUID, digest: bytes, assertion: Mapping[str, Any], settings: Settings) -> bytes:
    """The evidence that a user signed a digest with a passkey of hers (`AuthenticationResponseJSON`).

    It is what the passkey signed, its signature and its public key, as JSON in hexadecimal: whoever has it can check it
    without asking anybody. Raises NoPasskey and PasskeyRefused: for another digest, origin or person, where nobody made
    sure that it is she, and where the passkey's counter went back, which a copy of it would have.
    """
    from fido2 import cbor
    from fido2.cose import CoseKey
    from fido2.webauthn import Aaguid, AttestedCredentialData, AuthenticationResponse, UserVerificationRequirement

    known = _some(session, user_id)
    state = {"challenge": _websafe(_digest(digest)), "user_verification": UserVerificationRequirement.REQUIRED}
    public_keys = (cast(Mapping[int, Any], cbor.decode(key.public_key)) for key in known)
    credentials = [
        AttestedCredentialData.create(Aaguid.NONE, key.credential_id, CoseKey.parse(public_key))
        for key, public_key in zip(known, public_keys, strict=True)
    ]
    try:
        told = AuthenticationResponse.from_dict(assertion)
        if told is None:
            raise ValueError("no assertion")
        used = _server(settings).authenticate_complete(state, credentials, told)
    except _UNREADABLE as refusal:
        raise PasskeyRefused(reason=str(refusal)) from refusal
    if told.response.client_data.cross_origin:
        raise PasskeyRefused(reason="asked for within another site's page")
    (passkey,) = (key for key in known if key.credential_id == used.credential_id)
    passkey = session.get_one(Passkey, passkey.id, with_for_update=True, populate_existing=True)
    counter = told.response.authenticator_data.counter
    # Many passkeys live on several devices and always say 0.
    if counter <= passkey.sign_count and (counter or passkey.sign_count):
        raise PasskeyRefused(reason="the passkey's counter went back")
    passkey.sign_count = counter
    evidence = {
        "credential_id": bytes(passkey.credential_id).hex(),
        "public_key": bytes(passkey.public_key).hex(),
        "authenticator_data": bytes(told.response.authenticator_data).hex(),
        "client_data": bytes(told.response.client_data).hex(),
        "signature": bytes(told.response.signature).hex(),
    }
    return json.dumps(evidence, sort_keys=True, separators=(",", ":")).encode()


_UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    NotImplementedError,
    ArithmeticError,
    RecursionError,
    struct.error,
    UnsupportedAlgorithm,
)
"""What the library says of what is no proper answer of an authenticator."""


def _server(settings: Settings) -> Fido2Server:
    """The relying party: this service, by the address people reach it under, and no other origin."""
    from fido2.server import Fido2Server
    from fido2.webauthn import AttestationConveyancePreference, PublicKeyCredentialRpEntity

    address = urlsplit(settings.public_address)
    origin = f"{address.scheme}://{address.netloc}"
    return Fido2Server(
        PublicKeyCredentialRpEntity(name=settings.coop_name, id=address.hostname or ""),
        attestation=AttestationConveyancePreference.NONE,
        verify_origin=lambda told: told == origin,
    )


def _descriptors(known: list[Passkey]) -> list[Any]:
    from fido2.webauthn import PublicKeyCredentialDescriptor, PublicKeyCredentialType

    return [
        PublicKeyCredentialDescriptor(type=PublicKeyCredentialType.PUBLIC_KEY, id=key.credential_id) for key in known
    ]


def _some(session: Session, user_id: UUID) -> list[Passkey]:
    known = of_user(session, user_id)
    if not known:
        raise NoPasskey
    return known


def _digest(digest: bytes) -> bytes:
    if len(digest) != DIGEST_BYTES:
        raise ValueError(f"a digest has {DIGEST_BYTES} bytes")
    return digest


def _websafe(challenge: bytes) -> str:
    from fido2.utils import websafe_encode

    return websafe_encode(challenge)


# --- The challenge of a registration is bound to who asked and when: nothing need be kept of it. ---


def _registration_challenge(user_id: UUID, settings: Settings, at: int, random: bytes) -> bytes:
    told = at.to_bytes(_TIME_BYTES, "big") + random
    said = b"streamcoop passkey\0" + user_id.bytes + told
    return told + hmac.digest(service.secret(settings), said, hashlib.sha256)


def _own_registration_challenge(
    user_id: UUID, credential: Mapping[str, Any], settings: Settings, now: datetime
) -> bytes:
    """The challenge that the credential answers, if it was given to this user within REGISTRATION_LIFE."""
    from fido2.webauthn import RegistrationResponse

    try:
        told = RegistrationResponse.from_dict(credential)
        if told is None:
            raise ValueError("no credential")
        challenge = told.response.client_data.challenge
    except _UNREADABLE as refusal:
        raise PasskeyRefused(reason=str(refusal)) from refusal
    at = int.from_bytes(challenge[:_TIME_BYTES], "big")
    random = challenge[_TIME_BYTES : _TIME_BYTES + _RANDOM_BYTES]
    if len(challenge) != _TIME_BYTES + _RANDOM_BYTES + _MAC_BYTES or not hmac.compare_digest(
        _registration_challenge(user_id, settings, at, random), challenge
    ):
        raise PasskeyRefused(reason="another challenge than was given to you")
    if not 0 <= now.timestamp() - at <= REGISTRATION_LIFE.total_seconds():
        raise PasskeyRefused(reason="asked for too long ago")
    return challenge
