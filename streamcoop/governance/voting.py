"""Votes: each signed by a membership address over this ballot, this chain and this contract; the last one counts.

A member with a wallet signs it there. For a member whose key the co-op keeps, her passkey signs the vote's digest
first: what it signed is kept as evidence that the co-op did not vote in her place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from ledger import ballots
from ledger.ballots import Form, VoteRefused
from ledger.constitution import FUNDS
from streamcoop.errors import NotFound
from streamcoop.governance import service
from streamcoop.governance.models import OPEN, Ballot, BallotQuestion, BallotSeat, BallotVote
from streamcoop.governance.proposing import constitution_of
from streamcoop.governance.refusals import (
    BallotNotOpen,
    NoVoteInThisBallot,
    SignatureRefused,
    TooManyVotes,
    ValuesRefused,
    VoteExpired,
    VoteSuperseded,
)
from streamcoop.membership import passkeys
from streamcoop.membership import service as membership
from streamcoop.settings import Settings

VOTES_PER_MEMBER_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Draft:
    """A vote before it is signed: what is to be signed, as its hash and as the typed data wallets show."""

    address: str
    is_kept: bool
    values: tuple[int, ...]
    nonce: int
    deadline: int
    digest: bytes
    typed_data: dict[str, Any]


def draft(session: Session, ballot_id: UUID, user_id: UUID, values: Mapping[str, int], now: datetime) -> Draft:
    """The vote a member is about to sign, with the next number and the ballot's last possible close as deadline.

    Raises as `cast` does.
    """
    ballot = _open(session, ballot_id, now)
    seat, is_kept = _seat(session, ballot, user_id)
    asked = service.questions(session, {ballot.id})[ballot.id]
    told = _values(session, asked, values)
    newest = newest_vote(session, ballot_id, seat.address)
    nonce = newest.nonce + 1 if newest else 1
    deadline = int((ballot.closes_by or now).timestamp())
    form = form_of(ballot, [question.parameter for question in asked])
    vote = form, told, nonce, deadline
    return Draft(seat.address, is_kept, told, nonce, deadline, ballots.digest(*vote), ballots.typed_data(*vote))


def cast(
    session: Session,
    ballot_id: UUID,
    user_id: UUID,
    values: Mapping[str, int],
    nonce: int,
    deadline: int,
    signed: bytes | Mapping[str, Any],
    settings: Settings,
    now: datetime,
) -> BallotVote:
    """Take a vote, or one in place of the one before; the same again is the same vote.

    `signed` is the wallet's signature, or the passkey's assertion where the co-op keeps the key.
    Raises NotFound, BallotNotOpen, MembersOnly, NoVoteInThisBallot, ValuesRefused, VoteExpired, SignatureRefused,
    VoteSuperseded, TooManyVotes, and what `membership.passkeys` says of an assertion.
    """
    ballot = _open(session, ballot_id, now, is_voting=True)
    seat, is_kept = _seat(session, ballot, user_id)
    asked = service.questions(session, {ballot.id})[ballot.id]
    told = _values(session, asked, values)
    if deadline <= now.timestamp():
        raise VoteExpired(deadline=deadline)
    form = form_of(ballot, [question.parameter for question in asked])
    try:
        digest = ballots.digest(form, told, nonce, deadline)
    except VoteRefused as refused:
        raise SignatureRefused(reason=str(refused.facts.get("reason"))) from refused
    newest = newest_vote(session, ballot_id, seat.address)
    if newest is not None and newest.nonce == nonce and (tuple(newest.values), newest.deadline) == (told, deadline):
        return newest
    if newest is not None and newest.nonce >= nonce:
        raise VoteSuperseded(next_nonce=newest.nonce + 1)
    if isinstance(signed, bytes):
        signature, evidence = signed, None
    elif is_kept:
        evidence = passkeys.verified(session, user_id, digest, signed, settings)
        signature = membership.sign_with_kept_key(session, user_id, digest, settings)
    else:
        raise SignatureRefused(reason="the co-op keeps no key of yours: your wallet signs")
    _require_hers(seat.address, digest, signature)
    if _votes_of(session, ballot_id, seat.address) >= VOTES_PER_MEMBER_MAX:
        raise TooManyVotes(votes_max=VOTES_PER_MEMBER_MAX)
    _leave_time_to_answer(session, ballot, now)
    row = {
        "ballot_id": ballot_id,
        "address": seat.address,
        "nonce": nonce,
        "values": list(told),
        "deadline": deadline,
        "signature": signature,
        "evidence": evidence,
        "cast_at": now,
    }
    taken: BallotVote | None = session.scalar(
        insert(BallotVote).values(row).on_conflict_do_nothing().returning(BallotVote)
    )
    if taken is None:  # by another tab, a moment ago
        raise VoteSuperseded(next_nonce=nonce + 1)
    return taken


def form_of(ballot: Ballot, parameters: Sequence[str]) -> Form:
    """What every vote of this ballot is signed for."""
    return Form(ballot.id, tuple(parameters), ballot.chain_id or 0, ballot.contract or "")


def digest_of(session: Session, ballot: Ballot, cast: BallotVote) -> bytes:
    """What was signed for a vote that was taken."""
    asked = service.questions(session, {ballot.id})[ballot.id]
    form = form_of(ballot, [question.parameter for question in asked])
    return ballots.digest(form, cast.values, cast.nonce, cast.deadline)


def newest_vote(session: Session, ballot_id: UUID, address: str) -> BallotVote | None:
    """An address's vote in a ballot, if one was cast."""
    mine = (BallotVote.ballot_id == ballot_id) & (BallotVote.address == address)
    return session.scalar(select(BallotVote).where(mine).order_by(BallotVote.nonce.desc()).limit(1))


def _votes_of(session: Session, ballot_id: UUID, address: str) -> int:
    mine = (BallotVote.ballot_id == ballot_id) & (BallotVote.address == address)
    return session.scalar(select(func.count()).where(mine)) or 0


def _open(session: Session, ballot_id: UUID, now: datetime, *, is_voting: bool = False) -> Ballot:
    """The ballot if it takes votes. Votes do not wait for one another, but the count waits for them."""
    ballot = session.get(Ballot, ballot_id)
    if ballot is not None and is_voting:
        # Decided before any lock is taken: of two who share a lock neither could go on to change the row.
        lock = {"key_share": True} if _is_last_moment(session, ballot, now) else {"read": True}
        ballot = session.get(Ballot, ballot_id, with_for_update=lock, populate_existing=True)
    if ballot is None:
        raise NotFound
    if ballot.state != OPEN or ballot.closes_at is None or ballot.closes_at <= now:
        raise BallotNotOpen(state=ballot.state, closes_at=ballot.closes_at and ballot.closes_at.isoformat())
    return ballot


def _seat(session: Session, ballot: Ballot, user_id: UUID) -> tuple[BallotSeat, bool]:
    held = membership.seat_of(session, user_id)
    seat = session.get(BallotSeat, (ballot.id, held.address))
    if seat is None or not seat.has_waited:
        raise NoVoteInThisBallot
    return seat, held.is_kept


def _values(session: Session, asked: Sequence[BallotQuestion], values: Mapping[str, int]) -> tuple[int, ...]:
    """The numbers in the ballot's order. Raises ValuesRefused."""
    constitution = constitution_of(session)
    if values.keys() != {question.parameter for question in asked}:
        raise ValuesRefused(parameters=[question.parameter for question in asked])
    for question in asked:
        bound = constitution.bound(question.parameter)
        if not bound.permits(values[question.parameter]):
            raise ValuesRefused(
                parameter=question.parameter, lowest=bound.lowest, highest=bound.highest, steps_of=bound.quantum
            )
    if set(FUNDS) <= values.keys() and values[FUNDS[0]] > values[FUNDS[1]]:
        raise ValuesRefused(reason="the community's cut point is not above the reserve's")
    return tuple(values[question.parameter] for question in asked)


def _require_hers(address: str, digest: bytes, signature: bytes) -> None:
    try:
        signer = ballots.signer(digest, signature)
    except VoteRefused as refused:
        raise SignatureRefused(reason=str(refused.facts.get("reason"))) from refused
    if ballots.number_of(signer) != ballots.number_of(address):
        raise SignatureRefused(reason="signed by another address", signer=signer)


def _is_last_moment(session: Session, ballot: Ballot, now: datetime) -> bool:
    quiet = timedelta(seconds=constitution_of(session).quiet_seconds)
    return ballot.closes_at is not None and ballot.closes_at - now < quiet


def _leave_time_to_answer(session: Session, ballot: Ballot, now: datetime) -> None:
    """Who votes at the last moment puts the close off, up to a limit, so that others can answer."""
    if ballot.closes_at is not None and ballot.closes_by is not None and _is_last_moment(session, ballot, now):
        quiet = timedelta(seconds=constitution_of(session).quiet_seconds)
        ballot.closes_at = max(ballot.closes_at, min(now + quiet, ballot.closes_by))
