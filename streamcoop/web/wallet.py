"""A listener's wallet: what is in it, what she spent and on whom, and the limits she sets herself."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from ledger.epochs import Calendar
from ledger.money import MICRO, CreditPrice
from streamcoop.clock import Now
from streamcoop.database import Transaction
from streamcoop.founded import Founded
from streamcoop.transparency import receipts
from streamcoop.wallet import service, statements
from streamcoop.web.pages import PageRoute, page
from streamcoop.web.viewer import Looking

MONTHS_SHOWN = 12
Month = Annotated[str, Path(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/wallet")
def wallet(request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now) -> Response:
    """What is left, what this month took, and the limits."""
    listener = viewer.require("wallet").user_id
    held = service.wallet(session.connection(), listener, now)
    return page(
        request,
        viewer,
        "wallet.html",
        held=held,
        spendable_micro=held.balance_micro - held.unsettled_micro,
        price=founding.credit_price,
        budget=None if held.monthly_budget_micro is None else _worth(founding.credit_price, held.monthly_budget_micro),
        step=_plain(founding.minor_micro),
        months=_months(now),
        calendar=founding.calendar,
        lines=receipts.wallet_lines(session, listener),
    )


def _worth(price: CreditPrice, credits_micro: int) -> str:
    """What micro-credits are worth, as a field for money has it. A budget that came by another way may have no exact
    value: then it is the next lower one.
    """
    return _plain(credits_micro * price.money_micro // MICRO)


def _plain(money_micro: int) -> str:
    return f"{(Decimal(money_micro) / MICRO).normalize():f}"


def _months(now: datetime) -> list[date]:
    """This month and those before it, the newest first."""
    this = now.year * 12 + now.month - 1
    return [date(each // 12, each % 12 + 1, 1) for each in range(this, this - MONTHS_SHOWN, -1)]


@router.get("/wallet/{month}")
def statement(month: Month, request: Request, viewer: Looking, session: Transaction, founding: Founded) -> Response:
    """A month's statement."""
    told = statements.statement(session, founding, viewer.require("wallet").user_id, month)
    begins, _ = statements.month_bounds(month)
    artists = sorted(told.artists.items(), key=lambda each: (-each[1], each[0]))
    return page(
        request,
        viewer,
        "statement.html",
        told=told,
        begins=begins,
        artists=artists,
        most_micro=max((paid for _, paid in artists), default=0),
        price=founding.credit_price,
        calendar=Calendar(),
    )
