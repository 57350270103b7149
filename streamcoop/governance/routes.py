"""Ballots and rates over HTTP."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from streamcoop.accounts import service as accounts
from streamcoop.accounts.principals import MaybePrincipal, Voter
from streamcoop.clock import Now
from streamcoop.database import Transaction
from streamcoop.errors import NotFound, NotPermitted, NotSignedIn
from streamcoop.governance import answering, proposing, refusals, service, voting
from streamcoop.governance.models import COUNTED, BallotSeat
from streamcoop.governance.schemas import (
    BallotDetailOut,
    BallotOut,
    BallotsPage,
    CommentOut,
    CommentsPage,
    DraftVote,
    DraftVoteOut,
    NewBallot,
    NewComment,
    NewVote,
    RatesInForceOut,
    VoteReceiptOut,
    VotesPage,
)
from streamcoop.membership import passkeys
from streamcoop.membership import service as membership
from streamcoop.membership.schemas import ADDRESS_LENGTH
from streamcoop.problems import answers
from streamcoop.settings import settings
from streamcoop.transparency.promises import vote_promise

BALLOTS_PAGE_MAX = 100
VOTES_PAGE_MAX = 1_000
COMMENTS_PAGE_MAX = 200

router = APIRouter(prefix="/api/v1", tags=["governance"])
_PERSONAL = (NotSignedIn, NotPermitted)
_VOTING = (
    *_PERSONAL,
    NotFound,
    membership.MembersOnly,
    refusals.BallotNotOpen,
    refusals.NoVoteInThisBallot,
    refusals.ValuesRefused,
)


@router.get("/ballots")
def ballots(
    session: Transaction,
    cursor: Annotated[UUID | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=BALLOTS_PAGE_MAX)] = 20,
) -> BallotsPage:
    """All ballots, newest first."""
    page = service.ballots(session, cursor, limit)
    return BallotsPage(items=answering.ballots(session, page), next_cursor=page[-1].id if len(page) == limit else None)


@router.get("/ballots/{ballot_id}", responses=answers(NotFound, NotSignedIn))
def ballot(ballot_id: UUID, principal: MaybePrincipal, session: Transaction) -> BallotDetailOut:
    """A ballot; once it is counted, with every vote, under membership addresses."""
    found = service.ballot(session, ballot_id)
    votes, next_cursor = (
        answering.counted_votes(session, ballot_id, "", VOTES_PAGE_MAX) if found.state in COUNTED else (None, None)
    )
    return BallotDetailOut(
        **dict(answering.ballots(session, [found])[0]),
        voted=service.voted(session, ballot_id),
        votes=votes,
        next_cursor=next_cursor,
        own=answering.own(session, ballot_id, principal.user_id) if principal and "vote" in principal.scopes else None,
    )


@router.get("/ballots/{ballot_id}/votes", responses=answers(NotFound, refusals.BallotNotCounted))
def votes(
    ballot_id: UUID,
    session: Transaction,
    cursor: Annotated[
        str, Query(max_length=ADDRESS_LENGTH, pattern="^[0-9A-Za-z]*$", description="`next_cursor` of the page before.")
    ] = "",
    limit: Annotated[int, Query(ge=1, le=VOTES_PAGE_MAX)] = VOTES_PAGE_MAX,
) -> VotesPage:
    """The votes that counted, under membership addresses: pseudonymous, not secret."""
    if service.ballot(session, ballot_id).state not in COUNTED:
        raise refusals.BallotNotCounted
    items, next_cursor = answering.counted_votes(session, ballot_id, cursor, limit)
    return VotesPage(items=items, next_cursor=next_cursor)


# --- Proposing ---


@router.post(
    "/ballots",
    status_code=201,
    responses=answers(*_PERSONAL, membership.MembersOnly, refusals.QuestionsRefused, refusals.BallotUnderWay),
)
def propose(new: NewBallot, member: Voter, session: Transaction, now: Now) -> BallotOut:
    """Propose a ballot. It is discussed once enough members support it, then voted on."""
    proposed = proposing.propose(
        session, member.user_id, new.title, new.text, new.parameters, new.open_for_seconds, now
    )
    return answering.ballots(session, [proposed])[0]


@router.post(
    "/ballots/{ballot_id}/support",
    responses=answers(
        *_PERSONAL, NotFound, membership.MembersOnly, refusals.BallotNotProposed, refusals.BallotUnderWay
    ),
)
def support(ballot_id: UUID, member: Voter, session: Transaction, now: Now) -> BallotOut:
    """Support a proposal. To repeat it changes nothing."""
    supported = proposing.support(session, ballot_id, member.user_id, now)
    return answering.ballots(session, [supported])[0]


@router.post(
    "/ballots/{ballot_id}/withdraw",
    responses=answers(*_PERSONAL, NotFound, membership.MembersOnly, refusals.NotProposer),
)
def withdraw(ballot_id: UUID, member: Voter, session: Transaction, now: Now) -> BallotOut:
    """Withdraw your own proposal, until it opens."""
    return answering.ballots(session, [proposing.withdraw(session, ballot_id, member.user_id, now)])[0]


@router.get("/ballots/{ballot_id}/comments", responses=answers(NotFound))
def comments(
    ballot_id: UUID,
    session: Transaction,
    cursor: Annotated[UUID | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=COMMENTS_PAGE_MAX)] = 50,
) -> CommentsPage:
    """What members said on a ballot, in order."""
    service.ballot(session, ballot_id)
    page = proposing.comments(session, ballot_id, cursor, limit)
    names = accounts.names(session, {said.user_id for said in page})
    items = [CommentOut(id=said.id, author=names[said.user_id], text=said.text, at=said.at) for said in page]
    return CommentsPage(items=items, next_cursor=page[-1].id if len(page) == limit else None)


@router.post(
    "/ballots/{ballot_id}/comments",
    status_code=201,
    responses=answers(*_PERSONAL, NotFound, membership.MembersOnly, refusals.BallotOver, refusals.TooManyComments),
)
def comment(ballot_id: UUID, new: NewComment, member: Voter, session: Transaction, now: Now) -> CommentOut:
    """Say something on a ballot that is not over."""
    said = proposing.comment(session, ballot_id, member.user_id, new.text, now)
    author = accounts.names(session, {member.user_id})[member.user_id]
    return CommentOut(id=said.id, author=author, text=said.text, at=said.at)


# --- Voting ---


@router.post("/ballots/{ballot_id}/votes/draft", responses=answers(*_VOTING))
def draft_vote(ballot_id: UUID, new: DraftVote, voter: Voter, session: Transaction, now: Now) -> DraftVoteOut:
    """The vote as it is to be signed: by your wallet, or by your passkey where the co-op keeps your key."""
    drafted = voting.draft(session, ballot_id, voter.user_id, new.values, now)
    options = (
        passkeys.assertion_options(session, voter.user_id, drafted.digest, settings()) if drafted.is_kept else None
    )
    return DraftVoteOut(
        address=drafted.address,
        nonce=drafted.nonce,
        deadline=drafted.deadline,
        digest=f"0x{drafted.digest.hex()}",
        typed_data=None if drafted.is_kept else drafted.typed_data,
        passkey_options=options,
    )


@router.post(
    "/ballots/{ballot_id}/votes",
    status_code=201,
    responses=answers(
        *_VOTING, refusals.SignatureRefused, refusals.VoteExpired, refusals.VoteSuperseded, refusals.TooManyVotes
    ),
)
def vote(ballot_id: UUID, new: NewVote, voter: Voter, session: Transaction, now: Now) -> VoteReceiptOut:
    """Vote, or replace your vote: of several the one with the highest nonce counts. Keep the receipt.

    Votes are published at the close under membership addresses: whoever knows that an address is yours sees your vote.
    """
    signed = bytes.fromhex(new.signature[2:]) if new.signature is not None else (new.assertion or {})
    cast = voting.cast(session, ballot_id, voter.user_id, new.values, new.nonce, new.deadline, signed, settings(), now)
    voted_in = service.ballot(session, ballot_id)
    seat = session.get_one(BallotSeat, (ballot_id, cast.address))
    receipt = vote_promise(
        session,
        settings(),
        ballot_id,
        cast.address,
        voting.digest_of(session, voted_in, cast),
        cast.nonce,
        cast.cast_at,
        voted_in.closes_by or now,
    )
    return VoteReceiptOut(
        **dict(answering.own_vote(session, seat, cast)),
        receipt=receipt,
        closes_at=voted_in.closes_at or now,
    )


# --- Rates ---


@router.get("/rates")
def rates(session: Transaction, now: Now) -> RatesInForceOut:
    """The terms in force, those coming with the next epoch, and what decided each."""
    current, coming = service.decided_terms(session, now)
    changes = coming.in_force.versions != current.in_force.versions
    return RatesInForceOut(in_force=answering.rates(current), coming=answering.rates(coming) if changes else None)
