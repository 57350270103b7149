"""From a proposal to a ballot that waits for its electorate: supporters, discussion, and what may be asked at all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ledger.constitution import FUNDS, MOTION, Constitution
from ledger.ids import new_id
from ledger.store import terms
from streamcoop.errors import NotFound
from streamcoop.governance.models import (
    DISCUSSING,
    LAPSED,
    OPEN,
    PREPARING,
    PROPOSED,
    WITHDRAWN,
    Ballot,
    BallotComment,
    BallotQuestion,
    BallotSupport,
)
from streamcoop.governance.refusals import (
    BallotNotProposed,
    BallotOver,
    BallotUnderWay,
    NotProposer,
    QuestionsRefused,
    TooManyComments,
)
from streamcoop.membership import service as membership

# A proposal that has not found its supporters by then lapses.
SUPPORTED_WITHIN = timedelta(days=30)
COMMENTS_PER_PERSON_MAX = 50
# Ballots that are brought forward in one transaction.
BEGUN_MAX = 100


def propose(
    session: Session,
    user_id: UUID,
    title: str,
    text: str,
    parameters: Sequence[str],
    duration_s: int,
    now: datetime,
) -> Ballot:
    """A member's proposal, with her own support. Where one supporter is enough, its discussion begins.

    Raises MembersOnly, QuestionsRefused and BallotUnderWay.
    """
    constitution = constitution_of(session)
    require_questions(constitution, parameters, duration_s)
    proposed = Ballot(
        id=new_id(),
        title=title,
        text=text,
        state=PROPOSED,
        proposed_by=membership.require_member(session, user_id),
        proposed_at=now,
        lapses_at=now + SUPPORTED_WITHIN,
        duration_s=duration_s,
    )
    session.add(proposed)
    session.flush()
    asked = enumerate(parameters)
    session.add_all(BallotQuestion(ballot_id=proposed.id, position=at, parameter=name) for at, name in asked)
    session.flush()
    support(session, proposed.id, user_id, now)
    return proposed


def constitution_of(session: Session) -> Constitution:
    """The co-op's constitution."""
    return terms.founding(session.connection()).constitution


def require_questions(constitution: Constitution, parameters: Sequence[str], duration_s: int) -> None:
    """Raise QuestionsRefused unless the constitution lets a ballot be on these, and so long.

    A motion stands alone. The funds' cut points go together: each alone could pass the other.
    """
    asked = set(parameters)
    if not asked or len(asked) != len(parameters):
        raise QuestionsRefused(reason="a ballot is on one parameter or several, each once")
    if unknown := sorted(asked - {MOTION, *constitution.parameters}):
        raise QuestionsRefused(reason="not an open parameter", parameters=unknown)
    if MOTION in asked and len(asked) > 1:
        raise QuestionsRefused(reason="a motion stands alone")
    if asked & set(FUNDS) and not asked >= set(FUNDS):
        raise QuestionsRefused(reason="the funds' cut points are voted on together", parameters=sorted(FUNDS))
    shortest, longest = constitution.ballot_seconds_min, constitution.ballot_seconds_max
    if not shortest <= duration_s <= longest:
        raise QuestionsRefused(reason="too short or too long", seconds_min=shortest, seconds_max=longest)


def support(session: Session, ballot_id: UUID, user_id: UUID, now: datetime) -> Ballot:
    """A member's support; to repeat it changes nothing. With the last one needed the discussion begins.

    Raises NotFound, MembersOnly, BallotNotProposed, and BallotUnderWay where another ballot has one of its parameters.
    """
    ballot = locked(session, ballot_id)
    member_id = membership.require_member(session, user_id)
    given = session.get(BallotSupport, (ballot_id, member_id))
    if given is None:
        if ballot.state != PROPOSED or ballot.lapses_at <= now:
            raise BallotNotProposed(state=ballot.state)
        session.add(BallotSupport(ballot_id=ballot_id, member_id=member_id, at=now))
        session.flush()
    constitution = constitution_of(session)
    if ballot.state == PROPOSED and supporters(session, {ballot_id})[ballot_id] >= constitution.supporters_min:
        _begin_discussion(session, ballot, now + timedelta(seconds=constitution.discussion_seconds))
    return ballot


def _begin_discussion(session: Session, ballot: Ballot, until: datetime) -> None:
    ballot.state, ballot.discussed_until, ballot.is_under_way = DISCUSSING, until, True
    try:
        session.execute(
            update(BallotQuestion)
            .where(BallotQuestion.ballot_id == ballot.id, BallotQuestion.parameter != MOTION)
            .values(is_under_way=True)
        )
        session.flush()
    except IntegrityError as taken:
        raise BallotUnderWay from taken


def supporters(session: Session, ballot_ids: set[UUID]) -> dict[UUID, int]:
    """How many members want each of these held."""
    of = BallotSupport.ballot_id
    return dict(session.execute(select(of, func.count()).where(of.in_(ballot_ids)).group_by(of)).all())


def is_supported_by(session: Session, ballot_id: UUID, member_id: UUID) -> bool:
    """Whether a member wants this ballot held."""
    return session.get(BallotSupport, (ballot_id, member_id)) is not None


def withdraw(session: Session, ballot_id: UUID, user_id: UUID, now: datetime) -> Ballot:
    """Give a ballot up before it opens; to repeat it changes nothing. Raises NotFound, MembersOnly, NotProposer."""
    ballot = locked(session, ballot_id)
    if membership.require_member(session, user_id) != ballot.proposed_by:
        raise NotProposer
    if ballot.state in (PROPOSED, DISCUSSING):
        end(session, ballot, WITHDRAWN, now)
    elif ballot.state != WITHDRAWN:
        raise NotProposer(state=ballot.state)
    return ballot


def end(session: Session, ballot: Ballot, state: str, now: datetime) -> None:
    """Leave a ballot in a state nothing follows: others may be on its parameters."""
    ballot.state, ballot.is_under_way = state, False
    ballot.closed_at = ballot.closed_at or now
    session.execute(update(BallotQuestion).where(BallotQuestion.ballot_id == ballot.id).values(is_under_way=False))


def locked(session: Session, ballot_id: UUID) -> Ballot:
    """A ballot that nobody else changes until this transaction ends. Raises NotFound."""
    found = session.get(Ballot, ballot_id, with_for_update=True, populate_existing=True)
    if found is None:
        raise NotFound
    return found


def begin_due(session: Session, now: datetime) -> None:
    """End what found no supporters in time, and have the electorate read for what was discussed long enough."""
    lapsed = select(Ballot).where(Ballot.state == PROPOSED, Ballot.lapses_at <= now)
    for ballot in session.scalars(lapsed.limit(BEGUN_MAX).with_for_update(skip_locked=True)):
        end(session, ballot, LAPSED, now)
    discussed = select(Ballot).where(Ballot.state == DISCUSSING, Ballot.discussed_until <= now)
    for ballot in session.scalars(discussed.limit(BEGUN_MAX).with_for_update(skip_locked=True)):
        ballot.state = PREPARING


# --- Discussion ---


def comment(session: Session, ballot_id: UUID, user_id: UUID, text: str, now: datetime) -> BallotComment:
    """Say something on a ballot that is not over. Raises NotFound, MembersOnly, BallotOver and TooManyComments."""
    ballot = session.get(Ballot, ballot_id)
    if ballot is None:
        raise NotFound
    membership.require_member(session, user_id)
    if ballot.state not in (PROPOSED, DISCUSSING, PREPARING, OPEN):
        raise BallotOver(state=ballot.state)
    mine = (BallotComment.ballot_id == ballot_id) & (BallotComment.user_id == user_id)
    if (session.scalar(select(func.count()).where(mine)) or 0) >= COMMENTS_PER_PERSON_MAX:
        raise TooManyComments(comments_max=COMMENTS_PER_PERSON_MAX)
    said = BallotComment(id=new_id(), ballot_id=ballot_id, user_id=user_id, text=text, at=now)
    session.add(said)
    session.flush()
    return said


def comments(session: Session, ballot_id: UUID, after: UUID | None, limit: int) -> list[BallotComment]:
    """What was said on a ballot, in order, from `after` on."""
    wanted = select(BallotComment).where(BallotComment.ballot_id == ballot_id).order_by(BallotComment.id).limit(limit)
    return list(session.scalars(wanted if after is None else wanted.where(BallotComment.id > after)))


def forget_comments(session: Session, user_id: UUID) -> None:
    """Take away what somebody said who erases her account."""
    session.execute(delete(BallotComment).where(BallotComment.user_id == user_id))
