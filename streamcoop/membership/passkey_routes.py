"""Passkeys over HTTP."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Request

from streamcoop.accounts import passwords
from streamcoop.accounts.principals import InSession
from streamcoop.accounts.routes import network
from streamcoop.clock import Now
from streamcoop.database import Transaction, transaction
from streamcoop.errors import NotFound, NotPermitted, NotSignedIn
from streamcoop.membership import passkeys, refusals
from streamcoop.membership.routes import PASSWORD_AGAIN, require_password
from streamcoop.membership.schemas import NewPasskey, NewPasskeyAsked, PasskeyAskedOut, PasskeyOut
from streamcoop.problems import answers
from streamcoop.settings import settings

router = APIRouter(prefix="/api/v1", tags=["membership"])
_PERSONAL = (NotSignedIn, NotPermitted)


@router.post("/passkeys/options", responses=answers(*PASSWORD_AGAIN, refusals.TooManyPasskeys))
async def options(asked: NewPasskeyAsked, principal: InSession, request: Request, now: Now) -> PasskeyAskedOut:
    """What your browser makes a passkey with. With it you vote in person where the co-op keeps your key."""
    password = asked.password.get_secret_value()
    return await passwords.in_turn(_options, principal.user_id, password, network(request), now)


def _options(user_id: UUID, password: str, network_: str, at: datetime) -> PasskeyAskedOut:
    require_password(user_id, password, network_, at)
    with transaction() as session:
        return PasskeyAskedOut(
            options=passkeys.registration_options(session, user_id, settings().coop_name, settings(), at)
        )


@router.post(
    "/passkeys",
    status_code=201,
    responses=answers(*_PERSONAL, refusals.PasskeyRefused, refusals.PasskeyKnown, refusals.TooManyPasskeys),
)
def register(new: NewPasskey, principal: InSession, session: Transaction, now: Now) -> PasskeyOut:
    """Register the passkey that your browser has made."""
    made = passkeys.register(session, principal.user_id, new.credential, new.name, settings(), now)
    return PasskeyOut.model_validate(made, from_attributes=True)


@router.get("/passkeys", responses=answers(*_PERSONAL))
def own(principal: InSession, session: Transaction) -> list[PasskeyOut]:
    """Your passkeys, the first registered first."""
    found = passkeys.of_user(session, principal.user_id)
    return [PasskeyOut.model_validate(each, from_attributes=True) for each in found]


@router.delete("/passkeys/{passkey_id}", status_code=204, responses=answers(*_PERSONAL, NotFound))
def remove(passkey_id: UUID, principal: InSession, session: Transaction) -> None:
    """Forget a passkey. Votes cast with it stay."""
    passkeys.remove(session, principal.user_id, passkey_id)
