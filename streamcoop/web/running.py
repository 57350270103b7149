"""The room of those who run the co-op: what needs a hand, the cash desk, payouts, members, epochs, reports."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from ledger.constitution import CLASSES
from ledger.ids import new_id
from ledger.store.terms import Founding
from streamcoop.accounts import service as accounts
from streamcoop.catalogue import lookup
from streamcoop.clock import Now
from streamcoop.database import Transaction
from streamcoop.founded import Founded
from streamcoop.membership import answering as memberships
from streamcoop.membership import officers, reconciling, shares
from streamcoop.membership import service as membership
from streamcoop.membership.models import ADMITTING, APPLIED, MEMBER
from streamcoop.membership.schemas import SharesWaiting
from streamcoop.moderation import answering as moderated
from streamcoop.moderation import service as moderation
from streamcoop.operations import service as operations
from streamcoop.operations import terminal
from streamcoop.payouts import service as payouts
from streamcoop.royalties import splits, statements
from streamcoop.settings import settings
from streamcoop.wallet import desk
from streamcoop.web.pages import PageRoute, page
from streamcoop.web.viewer import Looking

ENTRIES_SHOWN = 20
SHARES_SHOWN = 100
RUNS_SHOWN = 24
APPLICATIONS_SHOWN = 100
MEMBERS_A_PAGE = 50
DIFFERENCES_SHOWN = 100
EPOCHS_SHOWN = 12
REPORTS_SHOWN = 50

router = APIRouter(route_class=PageRoute, include_in_schema=False)


# --- What needs a hand ---


@dataclass(frozen=True, slots=True)
class Task:
    """Something that waits for somebody: of what kind, how many, where it is done; money in micro-units if any."""

    kind: str
    many: int
    at: str
    amount_micro: int = 0
    is_urgent: bool = False


@router.get("/run")
def run(request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now) -> Response:
    """What waits for somebody, and whether all parts are well."""
    viewer.require("operate", "treasury")
    tasks = _of_treasurer(session, founding, now) if viewer.may("treasury") else []
    tasks += _of_operator(session) if viewer.may("operate") else []
    # Parts are asked over connections of their own, and one that hangs takes seconds: no transaction is held for that.
    session.commit()
    parts = _parts(now) if viewer.may("operate") else []
    return page(
        request, viewer, "run.html", tasks=[task for task in tasks if task.many], parts=parts, verdicts=terminal.Verdict
    )


def _of_treasurer(session: Session, founding: Founding, now: datetime) -> list[Task]:
    waiting = memberships.shares_waiting(session, SHARES_SHOWN)
    due, under_way = payouts.due(session, founding, now), payouts.under_way(session)
    planned, sent = (under_way.get(state, (0, now))[0] for state in ("planned", "sent"))
    return [
        Task("shares-unpaid", len(waiting.unpaid), "/run/cash-desk#shares"),
        Task("shares-to-refund", len(_refundable(waiting, now)), "/run/cash-desk#shares"),
        Task("payouts-due", due.payees, "/run/payouts", due.amount_minor * founding.minor_micro),
        Task("payouts-planned", planned, "/run/payouts"),
        Task("payouts-sent", sent, "/run/payouts"),
    ]


def _refundable(waiting: SharesWaiting, now: datetime) -> list[UUID]:
    return [share.member_id for share in waiting.to_refund if share.due_at and share.due_at <= now]


def _of_operator(session: Session) -> list[Task]:
    reports, appeals = moderation.waiting(session)
    _, held_up = membership.waiting(session)
    return [
        Task("register-differs", reconciling.count(session), "/run/members#register", is_urgent=True),
        Task("orders-held-up", held_up, "/run/members#register", is_urgent=True),
        Task("applications", membership.counts(session).get(APPLIED, 0), "/run/members"),
        Task("reports", reports, "/run/reports"),
        Task("appeals", appeals, "/run/reports#appeals"),
        Task("holds", len(splits.holds(session)), "/run/epochs#holds"),
    ]


def _parts(now: datetime) -> list[terminal.Line]:
    """Each part as `streamcoop status` judges it. That the service itself answers is seen by its page."""
    picture = operations.look(settings(), now)
    shown = terminal.screen(picture, True, operations.Away("not asked"))
    return [line for line in shown.lines if line.about not in {"service", "plays"}]


# --- The cash desk ---


@router.get("/run/cash-desk")
def cash_desk(request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now) -> Response:
    """Top-ups, grants and member shares."""
    viewer.require("treasury")
    entries = desk.entries(session.connection(), ENTRIES_SHOWN)
    booked = {entry.booked_by for entry in entries if entry.booked_by}
    return page(
        request,
        viewer,
        "run_cash_desk.html",
        founding=founding,
        price=founding.credit_price,
        new_id=new_id,
        now=now,
        entries=entries,
        names=accounts.names(session, {entry.listener_id for entry in entries} | booked),
        shares=memberships.shares_waiting(session, SHARES_SHOWN),
        share_micro=shares.price_micro(session),
    )


# --- Payouts ---


@router.get("/run/payouts")
def payout_runs(request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now) -> Response:
    """What is due, and the runs."""
    viewer.require("treasury")
    return page(
        request,
        viewer,
        "run_payouts.html",
        minor_micro=founding.minor_micro,
        new_id=new_id,
        due=payouts.due(session, founding, now),
        runs=payouts.runs(session, RUNS_SHOWN),
    )


@router.get("/run/payouts/{run_id}")
def payout_run(run_id: UUID, request: Request, viewer: Looking, session: Transaction, founding: Founded) -> Response:
    """A run and its payouts."""
    viewer.require("treasury")
    found = payouts.payouts_of_run(session, run_id)
    return page(
        request,
        viewer,
        "run_payout_run.html",
        minor_micro=founding.minor_micro,
        run=payouts.run(session, run_id),
        payouts=found,
        states={payout.state for payout in found},
        names=accounts.names(session, {payout.payee for payout in found}),
    )


# --- Members ---


@router.get("/run/members")
def members(
    request: Request,
    viewer: Looking,
    session: Transaction,
    founding: Founded,
    cursor: Annotated[UUID | None, Query()] = None,
) -> Response:
    """Applications, members, and the register on both sides."""
    principal = viewer.require("operate")
    applied = membership.members(session, APPLIED, None, APPLICATIONS_SHOWN)
    admitting = membership.members(session, ADMITTING, None, APPLICATIONS_SHOWN)
    admitted = membership.members(session, MEMBER, cursor, MEMBERS_A_PAGE)
    under_way, held_up = membership.waiting(session)
    is_officer = officers.is_officer(session, principal.user_id)
    return page(
        request,
        viewer,
        "run_members.html",
        founding=founding,
        officer=officers.officer(session, principal.user_id) if is_officer else None,
        applications=memberships.of_operator(session, [*applied, *admitting]),
        members=memberships.of_operator(session, admitted),
        next_cursor=admitted[-1].id if len(admitted) == MEMBERS_A_PAGE else None,
        counts=membership.counts(session),
        approvals_needed=membership.APPROVALS,
        classes=CLASSES,
        contract=settings().membership_contract,
        under_way=under_way,
        held_up=held_up,
        differences=reconciling.differences(session, DIFFERENCES_SHOWN),
        kinds={
            reconciling.STRANGER: "stranger",
            reconciling.MISSING: "missing",
            reconciling.STILL_THERE: "still-there",
            reconciling.OTHER_CLASS: "other-class",
        },
    )


# --- Epochs and holds ---


@router.get("/run/epochs")
def epochs(request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now) -> Response:
    """Epochs with what they took in, and what is held."""
    viewer.require("operate")
    held = splits.holds(session)
    return page(
        request,
        viewer,
        "run_epochs.html",
        calendar=founding.calendar,
        epochs=statements.epochs(session, founding, now, EPOCHS_SHOWN),
        holds=held,
        titles=lookup.titles(session, {hold.track_id for hold in held if hold.track_id}),
        names=accounts.names(session, {hold.payee for hold in held if hold.payee}),
    )


# --- Reports ---


@router.get("/run/reports")
def reports(request: Request, viewer: Looking, session: Transaction) -> Response:
    """Reports and appeals that wait for an answer."""
    operator = viewer.require("operate")
    return page(
        request,
        viewer,
        "run_reports.html",
        reports=moderated.reports(session, moderation.open_reports(session, REPORTS_SHOWN)),
        appeals=moderated.appealed(session, moderation.open_appeals(session, REPORTS_SHOWN), operator.user_id),
        removed_grounds=moderation.REMOVED_GROUNDS,
    )
