"""Payouts as two-phase transfers: planning reserves (`royalty → payouts:clearing`), confirming pays
(`payouts:clearing → bank`), a return gives back (`payouts:clearing → royalty`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Row, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from ledger import accounts
from ledger.errors import DomainError
from ledger.ids import new_id
from ledger.store import posting, terms
from ledger.store.batches import open_batch
from ledger.store.posting import Transfer
from ledger.store.terms import Founding
from streamcoop.errors import NotFound
from streamcoop.payouts.models import CONFIRMED, PLANNED, RETURNED, SENT, Payout, PayoutDestination, PayoutRun
from streamcoop.problems import register

PAYEES_A_RUN_MAX = 1_000
PAYOUTS_LISTED_MAX = 1_000
RUNS_LISTED_MAX = 100


class PayoutNotSent(DomainError):
    """Only a payout that was sent can be confirmed or returned."""


class PayoutSettled(DomainError):
    """This payout has ended the other way already."""


register({PayoutNotSent: HTTPStatus.CONFLICT, PayoutSettled: HTTPStatus.CONFLICT})

# Payees with a destination, enough to pay, nothing on its way, and in the order of their ids so that runs lock alike.
_DUE = text("""
    select a.owner as payee, a.balance_micro, d.destination from ledger.account a
      join coop.payout_destination d on d.payee = a.owner
     where a.kind = 'royalty' and a.balance_micro >= :minimum_micro
       and (cast(:payee as uuid) is null or a.owner = :payee)
       and not exists (select from coop.payout p where p.payee = a.owner and p.state in ('planned', 'sent'))
     order by a.owner limit :payees
""")


def set_destination(session: Session, payee: UUID, destination: str) -> None:
    """Where a payee wants her money from the next run on. Payouts that are planned keep theirs."""
    wanted = insert(PayoutDestination).values(payee=payee, destination=destination)
    session.execute(wanted.on_conflict_do_update(index_elements=["payee"], set_={"destination": destination}))


def destination(session: Session, payee: UUID) -> str | None:
    """Where a payee wants her money."""
    return session.scalar(select(PayoutDestination.destination).where(PayoutDestination.payee == payee))


@dataclass(frozen=True, slots=True)
class Due:
    """What a run that is planned now would pay: to how many payees, and in all, in minor units."""

    payees: int
    amount_minor: int


def due(session: Session, founding: Founding, now: datetime) -> Due:
    """What waits to be planned: whole minor units of all payees from the minimum in force up."""
    amounts = [row.balance_micro // founding.minor_micro for row in _due(session, founding, now, None)]
    return Due(len(amounts), sum(amounts))


def _due(session: Session, founding: Founding, now: datetime, payee: UUID | None) -> Sequence[Row[Any]]:
    rules = terms.in_force(session.connection(), founding, founding.calendar.epoch_at(now)).rules
    minimum_minor = rules.payout_minimum_minor if payee is None else 1
    about = {"minimum_micro": minimum_minor * founding.minor_micro, "payee": payee, "payees": PAYEES_A_RUN_MAX}
    return session.execute(_DUE, about).all()


def plan(
    session: Session, founding: Founding, run_id: UUID, planned_by: UUID, now: datetime, payee: UUID | None = None
) -> PayoutRun:
    """Reserve whole minor units for every payee from the minimum in force up, or for one alone, however little is hers:
    whoever leaves need not wait for the minimum. What is left stays hers.

    The same run again is answered alike.
    """
    # One run at a time: a second would wait for the first one's rows and then find the payees taken.
    session.execute(text("select pg_advisory_xact_lock(hashtext('payout runs'))"))
    if before := session.get(PayoutRun, run_id):
        return before
    planned = PayoutRun(id=run_id, planned_by=planned_by, planned_at=now)
    session.add(planned)
    session.flush()
    payouts = [
        Payout(
            id=new_id(),
            run_id=run_id,
            payee=row.payee,
            destination=row.destination,
            amount_minor=row.balance_micro // founding.minor_micro,
            state=PLANNED,
            planned_at=now,
        )
        for row in _due(session, founding, now, payee)
    ]
    session.add_all(payouts)
    session.flush()
    # One posting for all of them: a thousand, each with its own look-ups, would take seconds.
    reserves = [
        Transfer(accounts.royalty(payout.payee), accounts.PAYOUTS_CLEARING, payout.amount_minor * founding.minor_micro)
        for payout in payouts
    ]
    if reserves:
        posting.post(session.connection(), uuid5(run_id, "plan"), "payouts-planned", reserves, now)
    return planned


@dataclass(frozen=True, slots=True)
class RunTold:
    """A run with how many of its payouts are in each state, and what they add up to in minor units."""

    run: PayoutRun
    states: dict[str, int]
    amount_minor: int


def runs(session: Session, most: int) -> list[RunTold]:
    """The newest runs, the latest first."""
    found = list(session.scalars(select(PayoutRun).order_by(PayoutRun.planned_at.desc(), PayoutRun.id).limit(most)))
    return [_told(run, counted) for run, counted in zip(found, _counted(session, found), strict=True)]


def run(session: Session, run_id: UUID) -> PayoutRun:
    """A run by its id. Raises NotFound."""
    found = session.get(PayoutRun, run_id)
    if found is None:
        raise NotFound
    return found


def _counted(session: Session, runs: list[PayoutRun]) -> list[dict[str, tuple[int, int]]]:
    rows = session.execute(
        select(Payout.run_id, Payout.state, func.count(), func.sum(Payout.amount_minor))
        .where(Payout.run_id.in_([run.id for run in runs]))
        .group_by(Payout.run_id, Payout.state)
    )
    counted: dict[UUID, dict[str, tuple[int, int]]] = {run.id: {} for run in runs}
    for run_id, state, count, amount_minor in rows:
        counted[run_id][state] = count, int(amount_minor)
    return list(counted.values())


def _told(run: PayoutRun, counted: dict[str, tuple[int, int]]) -> RunTold:
    states = {state: count for state, (count, _) in counted.items()}
    return RunTold(run, states, sum(amount_minor for _, amount_minor in counted.values()))


def payouts_of_run(session: Session, run_id: UUID) -> list[Payout]:
    """A run's payouts. Raises NotFound for an unknown run."""
    run(session, run_id)
    return list(session.scalars(select(Payout).where(Payout.run_id == run_id).order_by(Payout.payee)))


def payouts_of_payee(session: Session, payee: UUID) -> list[Payout]:
    """A payee's payouts, newest first."""
    mine = select(Payout).where(Payout.payee == payee).order_by(Payout.id.desc()).limit(PAYOUTS_LISTED_MAX)
    return list(session.scalars(mine))


def mark_sent(session: Session, run_id: UUID, now: datetime) -> list[Payout]:
    """Note that a run's payouts are handed to the bank; to be said before they are. Safe to repeat."""
    payouts_of_run(session, run_id)
    session.execute(
        update(Payout).where(Payout.run_id == run_id, Payout.state == PLANNED).values(state=SENT, sent_at=now)
    )
    return payouts_of_run(session, run_id)


def confirm(session: Session, founding: Founding, payout_id: UUID, now: datetime) -> Payout:
    """The bank has paid. Safe to repeat. Raises NotFound, PayoutNotSent, PayoutSettled."""
    return _end(session, founding, payout_id, CONFIRMED, now)


def give_back(session: Session, founding: Founding, payout_id: UUID, now: datetime) -> Payout:
    """The bank could not pay: the money is the payee's again. Safe to repeat. Raises as `confirm`."""
    return _end(session, founding, payout_id, RETURNED, now)


def _end(session: Session, founding: Founding, payout_id: UUID, state: str, now: datetime) -> Payout:
    payout = session.scalar(select(Payout).where(Payout.id == payout_id).with_for_update())
    if payout is None:
        raise NotFound
    if payout.state == state:
        return payout
    if payout.state == PLANNED:
        raise PayoutNotSent
    if payout.state != SENT:
        raise PayoutSettled(state=payout.state)
    into = accounts.BANK if state == CONFIRMED else accounts.royalty(payout.payee)
    moved = Transfer(accounts.PAYOUTS_CLEARING, into, payout.amount_minor * founding.minor_micro)
    conn = session.connection()
    posting.post(conn, uuid5(payout.id, "end"), f"payout-{state}", [moved], now, batch=open_batch(conn))
    payout.state, payout.settled_at = state, now
    return payout


def under_way(session: Session) -> dict[str, tuple[int, datetime]]:
    """By state, planned or sent: how many payouts are, and when the oldest of them was planned."""
    rows = session.execute(
        select(Payout.state, func.count(), func.min(Payout.planned_at))
        .where(Payout.state.in_((PLANNED, SENT)))
        .group_by(Payout.state)
    )
    return {state: (count, oldest) for state, count, oldest in rows}


def under_way_to(session: Session, payee: UUID) -> int:
    """How many payouts of hers are planned or sent: one at most."""
    found = select(func.count()).where(Payout.payee == payee, Payout.state.in_((PLANNED, SENT)))
    return session.scalar(found) or 0


def forget(session: Session, payee: UUID) -> None:
    """Where her money went is erased: the bank's own books tell it for as long as they must. Safe to repeat."""
    session.execute(delete(PayoutDestination).where(PayoutDestination.payee == payee))
    session.execute(update(Payout).where(Payout.payee == payee).values(destination=""))
