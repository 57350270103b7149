"""Pages of what members decide: ballots, the rates in force, the constitution, the co-op's books."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from ledger.constitution import CLASSES, DAY, FUNDS, KINDS, MOTION, PARAMETERS, RATES, TARIFF, Bound
from ledger.rates import COMMUNITY, FEES, LICENSING, OPERATIONS, RESERVE, VAT
from ledger.store.terms import Founding, TermsInForce
from streamcoop.accounts import service as accounts
from streamcoop.books import routes as books
from streamcoop.clock import Now
from streamcoop.database import Transaction
from streamcoop.errors import NotFound
from streamcoop.founded import Founded
from streamcoop.governance import answering, foresight, proposing, service
from streamcoop.governance.models import CLOSED, COUNTED, DISCUSSING, OPEN, PREPARING, PROPOSED
from streamcoop.governance.schemas import BallotOut, OwnVoteOut, QuestionOut
from streamcoop.membership import answering as memberships
from streamcoop.membership import officers, passkeys
from streamcoop.membership import service as membership
from streamcoop.membership.schemas import ADDRESS_LENGTH, MembershipOut
from streamcoop.royalties import statements
from streamcoop.royalties.schemas import EpochOut
from streamcoop.settings import settings
from streamcoop.web import plots
from streamcoop.web.pages import PageRoute, page
from streamcoop.web.viewer import Looking, Viewer

UNDER_WAY_MAX = 100
PAST_A_PAGE = 20
COMMENTS_A_PAGE = 100
VOTES_A_PAGE = 100
EPOCHS_SHOWN = 12
EPOCHS_KEPT_MAX = 100
# For how long a ballot may be proposed to be open, where the constitution lets it.
DAYS_OFFERED = (1, 3, 7, 14, 30, 60, 90)
DAYS_USUAL = 7
SLIDER_PLACES = 200
ARTISTS, FUNDS_SHOWN, DEDUCTED = "artists", (COMMUNITY, RESERVE, OPERATIONS), "deducted"

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_closed: dict[tuple[datetime, int], EpochOut] = {}
Cursor = Annotated[UUID | None, Query()]


@dataclass(frozen=True, slots=True)
class Past:
    """A page of ballots that are over."""

    items: list[BallotOut]
    next_cursor: UUID | None


def own_membership(session: Session, viewer: Viewer) -> MembershipOut | None:
    """Whoever looks as a member, an applicant, or somebody who was one; None for all others."""
    if viewer.user_id is None or not viewer.may("vote"):
        return None
    try:
        return memberships.own(session, [membership.of_user(session, viewer.user_id)])[0]
    except NotFound:
        return None


@router.get("/decide")
def decide(
    request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now, cursor: Cursor = None
) -> Response:
    """What is voted on, what holds, and what was decided."""
    under_way = answering.ballots(session, service.unfinished(session, UNDER_WAY_MAX))
    past = answering.ballots(session, service.finished(session, cursor, PAST_A_PAGE))
    current, coming = service.decided_terms(session, now)
    changes = coming.in_force.versions != current.in_force.versions
    return page(
        request,
        viewer,
        "decide.html",
        founding=founding,
        now=now,
        open=sorted(_in(under_way, OPEN), key=lambda ballot: ballot.closes_at or now),
        proposed=_in(under_way, PROPOSED),
        discussed=_in(under_way, DISCUSSING, PREPARING),
        counting=[each for each in under_way if each.state not in (OPEN, PROPOSED, DISCUSSING, PREPARING)],
        past=Past(past, past[-1].id if len(past) == PAST_A_PAGE else None),
        numbers=current.in_force.numbers(),
        decided_by=_ballots_by_kind(current),
        coming=coming if changes else None,
        mine=own_membership(session, viewer),
    )


def _in(ballots: list[BallotOut], *states: str) -> list[BallotOut]:
    return [ballot for ballot in ballots if ballot.state in states]


def _ballots_by_kind(decided: service.DecidedTerms) -> dict[str, UUID]:
    return {kind: ballot.id for kind, ballot in decided.ballots.items()}


# --- A ballot ---


@dataclass(frozen=True, slots=True)
class Field:
    """An input for a number of a ballot, in the unit people think in: times `scale` it is what is voted.

    A slider goes by `slide`, so that a thumb can hit a value.
    """

    parameter: str
    scale: int
    lowest: str
    highest: str
    step: str
    slide: str
    value: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """What values of a parameter would have meant: how net income is shared, or what a track costs."""

    parameter: str
    bound: Bound
    status_quo: int
    shared: list[foresight.Shared]
    nearest: list[foresight.Shared]
    parts: tuple[str, ...]
    bands: list[plots.Band]
    reach: tuple[float, float]
    at: float
    curves: list[foresight.Curve]
    lines: list[plots.Line]


@router.get("/ballots/{ballot_id}")
def ballot(
    ballot_id: UUID,
    request: Request,
    viewer: Looking,
    session: Transaction,
    founding: Founded,
    now: Now,
    said: Cursor = None,
    votes: Annotated[str, Query(max_length=ADDRESS_LENGTH, pattern="^[0-9A-Za-z]*$")] = "",
) -> Response:
    """A ballot: what is asked, what it would mean, what members say, one's vote, and what came of it."""
    found = service.ballot(session, ballot_id)
    (told,) = answering.ballots(session, [found])
    current, _ = service.decided_terms(session, now)
    comments = proposing.comments(session, ballot_id, said, COMMENTS_A_PAGE)
    counted, next_votes = (
        answering.counted_votes(session, ballot_id, votes, VOTES_A_PAGE) if told.state in COUNTED else ([], None)
    )
    closed = statements.newest_closed(session)
    basis = None if closed is None else _epoch(session, founding, closed, now)
    own = answering.own(session, ballot_id, viewer.user_id) if viewer.user_id and viewer.may("vote") else None
    member = own_membership(session, viewer)
    is_member = member is not None and member.state == "member"
    return page(
        request,
        viewer,
        "decide_ballot.html",
        founding=founding,
        now=now,
        ballot=told,
        left_s=_left_s(told.closes_at, now),
        numbers=current.in_force.numbers(),
        voted=service.voted(session, ballot_id),
        own=own,
        fields=_fields(founding.minor_digits, told.questions, current.in_force, own),
        is_kept=member is not None and member.key_kept_by_coop,
        has_passkey=viewer.user_id is not None and bool(passkeys.of_user(session, viewer.user_id)),
        is_member=is_member,
        is_proposer=is_member and member is not None and found.proposed_by == member.id,
        is_supporter=is_member and member is not None and proposing.is_supported_by(session, ballot_id, member.id),
        mine=member,
        outlooks=_outlooks(told.questions, current.in_force, basis),
        basis=basis,
        calendar=founding.calendar,
        comments=comments,
        names=accounts.names(session, {comment.user_id for comment in comments}),
        next_said=comments[-1].id if len(comments) == COMMENTS_A_PAGE else None,
        votes=counted,
        carried=service.carried(session, ballot_id, [vote.address for vote in counted]),
        next_votes=next_votes,
        is_decided_not_in_force=told.state == CLOSED and found.is_under_way,
        address=settings().public_address,
    )


def _left_s(closes_at: datetime | None, now: datetime) -> int:
    """The time left to the nearest day while there are some, else hour, else minute; 0 where it is over."""
    left = int(max((closes_at - now if closes_at else timedelta()).total_seconds(), 0))
    for unit in (DAY, 3_600, 60):
        if left >= 2 * unit:
            return (left + unit // 2) // unit * unit
    return left


def _fields(
    minor_digits: int, questions: list[QuestionOut], in_force: TermsInForce, own: OwnVoteOut | None
) -> list[Field]:
    scales = {"first_price_micro": 1_000_000, "payout_minimum_minor": 10**minor_digits, "listen_ms_max": 1_000}
    scales |= dict.fromkeys(KINDS[RATES], 100)
    made = []
    for question in questions:
        scale = scales.get(question.parameter, 1)
        holds = question.status_quo
        if holds is None:
            holds = in_force.numbers().get(question.parameter, 0)
        value = own.values[question.parameter] if own and own.values else holds
        steps = (question.highest - question.lowest) // question.steps_of
        slide = next((many for many in (1, 50, 500, 5_000) if steps <= many * SLIDER_PLACES), steps)
        inputs = (question.lowest, question.highest, question.steps_of, slide * question.steps_of, value)
        made.append(Field(question.parameter, scale, *(_plain(number, scale) for number in inputs)))
    return made


def _plain(number: int, scale: int) -> str:
    return f"{(Decimal(number) / scale).normalize():f}"


def _outlooks(questions: list[QuestionOut], in_force: TermsInForce, basis: EpochOut | None) -> list[Outlook]:
    """Of each question that can be simulated: the rates from what was taken in, the tariff from its own rule."""
    made = []
    for question in questions:
        holds = question.status_quo
        if holds is None:
            holds = in_force.numbers().get(question.parameter, 0)
        bound = Bound(question.lowest, question.highest, question.step_max, question.steps_of)
        if question.parameter in KINDS[RATES] and basis is not None:
            made.append(_of_rates(question.parameter, bound, holds, in_force, basis))
        elif question.parameter in KINDS[TARIFF]:
            made.append(_of_tariff(question.parameter, bound, holds, in_force))
    return made


def _of_rates(parameter: str, bound: Bound, holds: int, in_force: TermsInForce, basis: EpochOut) -> Outlook:
    rates, nearest = in_force.terms.rates, foresight.reachable(bound, holds)
    values = sorted({*foresight.spread(bound), *nearest})
    shared = foresight.shared(basis.net_micro, rates, parameter, values, basis.epoch)
    parts = foresight.PARTS[1:] if parameter in FUNDS else foresight.PARTS
    layers = [[each.parts[part] for part in parts] for each in shared]
    left, right = (plots.place(end, bound.lowest, bound.highest) for end in (nearest[0], nearest[-1]))
    return Outlook(
        parameter,
        bound,
        holds,
        shared,
        [each for each in shared if each.value in nearest],
        parts,
        plots.stack(parts, [each.value for each in shared], layers),
        (left, round(right - left, 2)),
        plots.place(holds, bound.lowest, bound.highest),
        [],
        [],
    )


def _of_tariff(parameter: str, bound: Bound, holds: int, in_force: TermsInForce) -> Outlook:
    curves = foresight.curves(in_force.tariff, parameter, foresight.reachable(bound, holds))
    names = ["now" if curve.value == holds else "other" for curve in curves]
    drawn = plots.lines([(name, curve.prices) for name, curve in zip(names, curves, strict=True)])
    return Outlook(parameter, bound, holds, [], [], (), [], (0, 0), 0, curves, drawn)


# --- Proposing ---


@router.get("/decide/propose")
def propose(request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now) -> Response:
    """Where a member proposes a ballot."""
    viewer.require("vote")
    current, _ = service.decided_terms(session, now)
    shortest, longest = founding.constitution.ballot_seconds_min, founding.constitution.ballot_seconds_max
    offered = sorted({shortest, *(days * DAY for days in DAYS_OFFERED if shortest <= days * DAY <= longest), longest})
    usual = min(offered, key=lambda seconds: abs(seconds - DAYS_USUAL * DAY))
    return page(
        request,
        viewer,
        "decide_propose.html",
        founding=founding,
        numbers=current.in_force.numbers(),
        durations=offered,
        usual=usual,
        motion=MOTION,
        mine=own_membership(session, viewer),
    )


# --- Membership ---


@router.get("/decide/membership")
def member(request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now) -> Response:
    """One's membership: the way to it, its keys, who votes for one, and the way out."""
    user_id = viewer.require("vote").user_id
    mine = own_membership(session, viewer)
    waits_until = None
    if mine is not None and mine.admitted_at is not None:
        waits_until = mine.admitted_at + timedelta(seconds=founding.constitution.waiting_seconds)
    return page(
        request,
        viewer,
        "decide_membership.html",
        founding=founding,
        mine=mine,
        approvals=0 if mine is None else len(officers.approvals(session, {mine.id})),
        approvals_needed=membership.APPROVALS,
        waits_until=waits_until if waits_until is not None and waits_until > now else None,
        passkeys=passkeys.of_user(session, user_id),
        classes=CLASSES,
        has_contract=settings().membership_contract is not None,
    )


# --- What is fixed, and what there is ---


@router.get("/decide/constitution")
def constitution(request: Request, viewer: Looking, founding: Founded) -> Response:
    """The constitution in plain words."""
    rules = founding.constitution
    return page(request, viewer, "decide_constitution.html", founding=founding, rules=rules, parameters=PARAMETERS)


@dataclass(frozen=True, slots=True)
class Month:
    """What an epoch took in and where it went: money micro-units by part, `deducted` for taxes, fees and licensing."""

    epoch: EpochOut
    parts: dict[str, int]


@router.get("/decide/books")
def balances(request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now) -> Response:
    """The co-op's books at a glance."""
    told = books.books(session, founding, now)
    this = founding.calendar.epoch_at(now)
    numbers = range(max(this - EPOCHS_SHOWN + 1, founding.first_epoch), this + 1)
    epochs = [_epoch(session, founding, number, now) for number in numbers]
    months = [_month(epoch) for epoch in epochs if epoch.state == "closed"]
    names = (ARTISTS, *FUNDS_SHOWN, DEDUCTED)
    return page(
        request,
        viewer,
        "decide_books.html",
        founding=founding,
        balances={(each.asset, each.account): each for each in told.balances},
        licensing=sum(each.balance_micro for each in told.balances if each.account.startswith(LICENSING)),
        vat=VAT,
        fees=FEES,
        months=months,
        parts=names,
        bars=plots.bars(names, [[month.parts[name] for name in names] for month in months]),
        calendar=founding.calendar,
    )


def _epoch(session: Session, founding: Founding, number: int, now: datetime) -> EpochOut:
    """An epoch. What one that is closed adds up to never changes, and adding it up takes long where there is much."""
    key = founding.founded_at, number
    if (known := _closed.get(key)) is not None:
        return known
    found = statements.epoch(session, founding, number, now)
    if found.state == "closed":
        _closed[key] = found
        while len(_closed) > EPOCHS_KEPT_MAX:
            _closed.pop(next(iter(_closed)), None)
    return found


def _month(epoch: EpochOut) -> Month:
    funds = {name: epoch.funds.get(name, 0) for name in FUNDS_SHOWN}
    deducted = sum(epoch.deductions.values())
    return Month(epoch, {ARTISTS: epoch.royalties_micro, **funds, DEDUCTED: deducted})
