"""Payouts over HTTP."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from streamcoop.accounts import service as accounts
from streamcoop.accounts.principals import RoyaltyPayee, Treasurer
from streamcoop.clock import Now
from streamcoop.csv import csv_of, csv_response
from streamcoop.database import Transaction
from streamcoop.errors import NotFound, NotPermitted, NotSignedIn
from streamcoop.founded import Founded
from streamcoop.payouts import service
from streamcoop.payouts.models import STATES, Payout, PayoutRun
from streamcoop.payouts.schemas import Destination, DueOut, NewRun, PayoutOut, RunOut, RunSummary
from streamcoop.problems import answers

router = APIRouter(prefix="/api/v1", tags=["payouts"])
_PERSONAL = (NotSignedIn, NotPermitted)
_ENDING = answers(*_PERSONAL, NotFound, service.PayoutNotSent, service.PayoutSettled)


def _out(session: Transaction, founding: Founded, payouts: list[Payout]) -> list[PayoutOut]:
    names = accounts.names(session, {payout.payee for payout in payouts})
    columns = PayoutOut.model_fields.keys() - {"payee_name", "currency"}
    return [
        PayoutOut(
            **{name: getattr(payout, name) for name in columns},
            payee_name=names.get(payout.payee, ""),
            currency=founding.currency,
        )
        for payout in payouts
    ]


@router.get("/royalties/payouts", responses=answers(*_PERSONAL))
def my_payouts(payee: RoyaltyPayee, session: Transaction, founding: Founded) -> list[PayoutOut]:
    """Your payouts, newest first."""
    return _out(session, founding, service.payouts_of_payee(session, payee.user_id))


@router.get("/royalties/payout-destination", responses=answers(*_PERSONAL, NotFound))
def my_destination(payee: RoyaltyPayee, session: Transaction) -> Destination:
    """Where your money goes."""
    found = service.destination(session, payee.user_id)
    if found is None:
        raise NotFound
    return Destination(destination=found)


@router.put("/royalties/payout-destination", responses=answers(*_PERSONAL))
def set_destination(wanted: Destination, payee: RoyaltyPayee, session: Transaction) -> Destination:
    """Say where your money is to go. Without it nothing is paid out; it stays yours."""
    service.set_destination(session, payee.user_id, wanted.destination)
    return wanted


@router.post("/treasury/payout-runs", status_code=201, responses=answers(*_PERSONAL, NotFound))
def plan(new: NewRun, treasurer: Treasurer, session: Transaction, founding: Founded, now: Now) -> RunOut:
    """Plan payouts for all payees who have reached the minimum, or for one alone. Safe to send again with the same
    request id.
    """
    payee = accounts.user_by_email(session, new.payee_email).id if new.payee_email else new.payee
    planned = service.plan(session, founding, new.request_id, treasurer.user_id, now, payee)
    return _run_out(session, founding, planned)


def _run_out(session: Transaction, founding: Founded, found: PayoutRun) -> RunOut:
    payouts = _out(session, founding, service.payouts_of_run(session, found.id))
    return RunOut(id=found.id, planned_at=found.planned_at, payouts=payouts)


@router.get("/treasury/payout-runs", responses=answers(*_PERSONAL))
def runs(
    _: Treasurer,
    session: Transaction,
    founding: Founded,
    limit: Annotated[int, Query(ge=1, le=service.RUNS_LISTED_MAX)] = 20,
) -> list[RunSummary]:
    """The newest runs, the latest first."""
    return [
        RunSummary(
            id=told.run.id,
            planned_at=told.run.planned_at,
            **{state: told.states.get(state, 0) for state in STATES},
            amount_minor=told.amount_minor,
            currency=founding.currency,
        )
        for told in service.runs(session, limit)
    ]


@router.get("/treasury/payouts-due", responses=answers(*_PERSONAL))
def due(_: Treasurer, session: Transaction, founding: Founded, now: Now) -> DueOut:
    """What a run that is planned now would pay."""
    waiting = service.due(session, founding, now)
    return DueOut(payees=waiting.payees, amount_minor=waiting.amount_minor, currency=founding.currency)


@router.get("/treasury/payout-runs/{run_id}", responses=answers(*_PERSONAL, NotFound))
def run(run_id: UUID, _: Treasurer, session: Transaction, founding: Founded) -> RunOut:
    """A run and its payouts."""
    return _run_out(session, founding, service.run(session, run_id))


@router.get(
    "/treasury/payout-runs/{run_id}/file.csv",
    response_class=Response,
    responses=answers(*_PERSONAL, NotFound) | {200: {"content": {"text/csv": {}}, "description": "The payout file."}},
)
def payout_file(run_id: UUID, _: Treasurer, session: Transaction, founding: Founded) -> Response:
    """A run as a file for the bank. Amounts are in minor units."""
    payouts = _out(session, founding, service.payouts_of_run(session, run_id))
    return csv_response(
        csv_of(PayoutOut.model_fields, [p.model_dump(mode="json") for p in payouts]), f"payouts-{run_id}"
    )


@router.post("/treasury/payout-runs/{run_id}/sent", responses=answers(*_PERSONAL, NotFound))
def mark_sent(run_id: UUID, _: Treasurer, session: Transaction, founding: Founded, now: Now) -> list[PayoutOut]:
    """Note that a run goes to the bank: say it before you send the file. Safe to repeat."""
    return _out(session, founding, service.mark_sent(session, run_id, now))


@router.post("/treasury/payouts/{payout_id}/confirm", responses=_ENDING)
def confirm(payout_id: UUID, _: Treasurer, session: Transaction, founding: Founded, now: Now) -> PayoutOut:
    """The bank has paid. Safe to repeat."""
    return _out(session, founding, [service.confirm(session, founding, payout_id, now)])[0]


@router.post("/treasury/payouts/{payout_id}/return", responses=_ENDING)
def give_back(payout_id: UUID, _: Treasurer, session: Transaction, founding: Founded, now: Now) -> PayoutOut:
    """The bank could not pay: the money is the payee's again. Safe to repeat."""
    return _out(session, founding, [service.give_back(session, founding, payout_id, now)])[0]
