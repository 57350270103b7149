"""A person's own membership over HTTP: applying, leaving, keys, and whom she has vote for her."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request

from streamcoop import work
from streamcoop.accounts import passwords, throttle
from streamcoop.accounts import service as accounts
from streamcoop.accounts.principals import InSession, Voter
from streamcoop.accounts.routes import network
from streamcoop.clock import Now
from streamcoop.database import Transaction, transaction
from streamcoop.errors import NotFound, NotPermitted, NotSignedIn
from streamcoop.membership import answering, passkeys, refusals, register, service, signing, wallets
from streamcoop.membership.models import RegisterOrder
from streamcoop.membership.schemas import (
    Address,
    Application,
    ChallengeOut,
    DelegationAskedOut,
    KeyOut,
    MembershipOut,
    NewDelegation,
    NewWallet,
    OrderOut,
    PasswordAgain,
    RekeyAskedOut,
    WalletAddress,
    WalletProof,
)
from streamcoop.membership.signing import SIGNED_LIFE_S, Contract
from streamcoop.problems import answers
from streamcoop.settings import settings
from streamcoop.traffic import TooManyRequests

router = APIRouter(prefix="/api/v1", tags=["membership"])
_PERSONAL = (NotSignedIn, NotPermitted)
_CHAIN = (refusals.ContractNotConfigured, refusals.RegisterUnavailable)
PASSWORD_AGAIN = (
    *_PERSONAL,
    NotFound,
    accounts.WrongPassword,
    TooManyRequests,
    throttle.SignInPaused,
    passwords.SignInsOverloaded,
)


def require_password(user_id: UUID, password: str, network_: str, at: datetime) -> None:
    """See that it is she. Guessing the password here counts like failing to sign in. Raises WrongPassword."""
    with transaction() as session:
        doors = throttle.doors(accounts.user(session, user_id).email, network_)
        throttle.attempt(session, doors, at)
    with transaction() as session:
        accounts.require_password(session, user_id, password)
        throttle.succeeded(session, doors, at)


# --- Applying and leaving ---


@router.post("/membership/wallet/challenge", responses=answers(*_PERSONAL, *_CHAIN))
def challenge(asked: WalletAddress, principal: Voter, now: Now) -> ChallengeOut:
    """The text your wallet signs to apply with an address of your own. Use that address for nothing else.

    Everything on the chain is public: whoever knows that an address is yours sees your membership and every vote.
    """
    message = wallets.challenge(_this_service(), principal.user_id, asked.address, now)
    return ChallengeOut(message=message, expires_at=now + wallets.CHALLENGE_LIFE)


@router.post(
    "/membership",
    status_code=201,
    responses=answers(*_PERSONAL, *_CHAIN, refusals.AlreadyApplied, refusals.AddressTaken, refusals.WalletProofRefused),
)
def apply(application: Application, principal: Voter, now: Now) -> MembershipOut:
    """Apply for membership, with an address of your own that you use for nothing else, or with a key the co-op keeps.

    Two officers approve, and the member share is paid; then the membership contract is told. Everything on the chain is
    public.
    """
    address = None if application.wallet is None else _proved_address(application.wallet, principal.user_id, now)
    with transaction() as session:
        applied = service.apply(session, principal.user_id, application.member_class, address, settings(), now)
        return answering.own(session, [applied])[0]


@router.get("/membership", responses=answers(*_PERSONAL, NotFound))
def membership(principal: Voter, session: Transaction) -> MembershipOut:
    """Your membership, or how far your application has come."""
    return answering.own(session, [service.of_user(session, principal.user_id)])[0]


@router.post(
    "/membership/leave",
    status_code=202,
    responses=answers(*_PERSONAL, refusals.MembersOnly, refusals.AdmissionUnderWay, refusals.OrderUnderWay),
)
def leave(principal: InSession, session: Transaction, now: Now) -> MembershipOut:
    """Leave the co-op, or withdraw your application. The member share is paid back some time later."""
    try:
        left = service.leave(session, principal.user_id, now)
    except NotFound:
        raise refusals.MembersOnly from None
    for order in service.under_way(session, left.id):
        work.ask_once_committed(session, work.CARRY_ORDER, order.id)
    return answering.own(session, [left])[0]


def _this_service() -> wallets.Service:
    configured = settings()
    chain_id = configured.chain_id
    if chain_id is None:
        with register.asked() as contract:
            chain_id, _ = contract.check()
    return wallets.Service(configured.public_address, chain_id, service.secret(configured))


def _proved_address(proof: WalletProof, user_id: UUID, at: datetime) -> str:
    """The address whose owner signed this service's text: by its key, or as the contract says that stands there."""
    from streamcoop.adapters.typed_data import signer_of

    address, digest = wallets.proved(_this_service(), user_id, proof.message, at)
    signature = _bytes(proof.signature)
    if signer_of(digest, signature) == address:
        return address
    with register.asked() as contract:
        if contract.is_signed(address, digest, signature):
            return address
    raise refusals.WalletProofRefused(reason="not signed by this address")


def _bytes(signature: str) -> bytes:
    return bytes.fromhex(signature.removeprefix("0x"))


# --- Keys ---


@router.post(
    "/membership/key/export",
    responses=answers(*PASSWORD_AGAIN, refusals.MembersOnly, refusals.NoKeptKey),
)
async def export_key(asked: PasswordAgain, principal: InSession, request: Request, now: Now) -> KeyOut:
    """The key the co-op keeps for you, with your password again. Whoever has it can vote in your name: keep it safe.

    The co-op keeps it all the same, until you move your membership to an address of your own.
    """
    password = asked.password.get_secret_value()
    return await passwords.in_turn(_export_key, principal.user_id, password, network(request), now)


def _export_key(user_id: UUID, password: str, network_: str, at: datetime) -> KeyOut:
    require_password(user_id, password, network_, at)
    with transaction() as session:
        address, key = service.export_key(session, user_id, settings())
    return KeyOut(address=address, private_key=f"0x{key.hex()}")


@router.get("/membership/wallet/typed-data", responses=answers(*_PERSONAL, *_CHAIN, refusals.MembersOnly))
def rekey_asked(
    principal: InSession,
    address: Annotated[Address, Query(description="Of your wallet, used for nothing else. Everybody can see it.")],
) -> RekeyAskedOut:
    """What your wallet signs to take your membership over. From then on the co-op keeps no key of yours.

    Votes you have cast stay. In ballots that are open already your old address has the vote: cast it before.
    """
    with transaction() as session:
        member = signing.own_membership(session, principal.user_id)
    with register.asked() as contract:
        chain_id, _ = contract.check()
        nonce, deadline = contract.admissions_of(member.address), contract.newest_block().timestamp + SIGNED_LIFE_S
    return RekeyAskedOut(
        typed_data=signing.rekey(Contract(chain_id, contract.address), member.address, address, nonce, deadline),
        nonce=nonce,
        deadline=deadline,
        also_signed_by_old=member.kept_key is None,
    )


@router.post(
    "/membership/wallet",
    status_code=202,
    responses=answers(
        *PASSWORD_AGAIN,
        *_CHAIN,
        refusals.MembersOnly,
        refusals.NoKeptKey,
        refusals.AddressTaken,
        refusals.SignatureNotYours,
        refusals.OrderUnderWay,
    ),
)
async def rekey(new: NewWallet, principal: InSession, request: Request, now: Now) -> OrderOut:
    """Move your membership to an address of your own wallet, with your password again. It takes a few seconds or more.

    Your class and since when you are a member stay. Whoever had you vote for them must say so anew.
    """
    return await passwords.in_turn(_rekey, new, principal.user_id, network(request), now)


def _rekey(new: NewWallet, user_id: UUID, network_: str, at: datetime) -> OrderOut:
    require_password(user_id, new.password.get_secret_value(), network_, at)
    contract = _contract()
    with transaction() as session:
        order = signing.move(
            session,
            user_id,
            contract,
            new.address,
            new.nonce,
            new.deadline,
            _bytes(new.signature),
            None if new.old_signature is None else _bytes(new.old_signature),
            settings(),
            at,
        )
    return _asked_for(order)


# --- Delegating ---


@router.get(
    "/membership/delegation/typed-data",
    responses=answers(*_PERSONAL, *_CHAIN, refusals.MembersOnly, refusals.DelegateRefused, refusals.NoPasskey),
)
def delegation_asked(
    principal: Voter,
    to: Annotated[Address, Query(description="A member's membership address; your own to vote yourself again.")],
) -> DelegationAskedOut:
    """What is signed to have another member vote for you wherever you do not vote yourself."""
    with transaction() as session:
        member = signing.own_membership(session, principal.user_id)
    with register.asked() as contract:
        chain_id, _ = contract.check()
        seat, nonce = contract.seat_of(member.address), contract.nonce_of(member.address)
        expiry = contract.newest_block().timestamp + SIGNED_LIFE_S
        if seat is None:
            raise refusals.MembersOnly
        if not contract.is_member(to):
            raise refusals.DelegateRefused
    typed_data = signing.delegation(Contract(chain_id, contract.address), to, nonce, expiry)
    with transaction() as session:
        options = (
            None
            if member.kept_key is None
            else passkeys.assertion_options(session, principal.user_id, signing.digest(typed_data), settings())
        )
    return DelegationAskedOut(
        delegate=seat.delegate, typed_data=typed_data, nonce=nonce, expiry=expiry, passkey=options
    )


@router.post(
    "/membership/delegation",
    status_code=202,
    responses=answers(
        *_PERSONAL,
        *_CHAIN,
        refusals.MembersOnly,
        refusals.NoKeptKey,
        refusals.NoPasskey,
        refusals.PasskeyRefused,
        refusals.SignatureNotYours,
        refusals.OrderUnderWay,
    ),
)
def delegate(new: NewDelegation, principal: Voter, now: Now) -> OrderOut:
    """Have another member vote for you, or vote yourself again. The co-op carries it to the chain.

    It counts in ballots whose electorate is read afterwards. `GET /api/v1/membership` tells what has come of it: the
    contract takes no delegate who would have more votes than the constitution allows.
    """
    contract = _contract()
    signed = _bytes(new.signature) if new.signature is not None else new.passkey
    if signed is None:
        raise refusals.SignatureNotYours(reason="neither a signature nor a passkey's assertion")
    with transaction() as session:
        order = signing.delegate(
            session, principal.user_id, contract, new.to, new.nonce, new.expiry, signed, settings(), now
        )
    return _asked_for(order)


def _contract() -> Contract:
    with register.asked() as contract:
        chain_id, _ = contract.check()
        return Contract(chain_id, contract.address)


def _asked_for(order: RegisterOrder) -> OrderOut:
    """The order is committed: a worker is asked at once, and a sweep finds it should that get lost."""
    work.ask(work.CARRY_ORDER, order.id)
    return OrderOut.model_validate(order, from_attributes=True)
