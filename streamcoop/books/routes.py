"""The books over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import text

from ledger.store.checking import add_up_books
from streamcoop.accounts.principals import Operator
from streamcoop.clock import Now
from streamcoop.database import Transaction, engine
from streamcoop.errors import NotPermitted, NotSignedIn
from streamcoop.founded import Founded
from streamcoop.problems import answers

router = APIRouter(prefix="/api/v1/books", tags=["books"])

# Sums of many members' accounts of one kind: no single wallet, payee or membership can be seen.
_BALANCES = text("""
    select case when kind in ('wallet', 'track', 'royalty', 'held') then kind || 's'
                when kind = 'shares' then kind else code end as account,
           asset, sum(balance_micro) as balance_micro, count(*) as accounts
      from ledger.account group by 1, 2 order by 2, 1
""")


class Balance(BaseModel):
    """An account of the co-op, or all accounts of one kind together: credits minus debits."""

    account: str
    asset: Literal["credit", "money"]
    balance_micro: int
    accounts: int = Field(description="How many accounts this sums up.")


class Books(BaseModel):
    """The co-op's books at a glance. The balances of each asset cancel out."""

    coop_name: str
    currency: str
    credit_price_micro: int
    founded_at: datetime
    at: datetime
    balances: list[Balance]


class FindingOut(BaseModel):
    """Something that does not agree."""

    check: str
    subject: str
    kept: int | None
    added_up: int | None


class BooksReport(BaseModel):
    """What was added up again from zero, and what did not agree."""

    balanced: bool
    checks: list[str]
    findings: list[FindingOut]
    transfers: int
    plays: int


@router.get("")
def books(session: Transaction, founding: Founded, now: Now) -> Books:
    """The co-op's books at a glance: what members have prepaid, what artists are owed, what the funds hold."""
    rows = session.execute(_BALANCES).all()
    return Books(
        coop_name=founding.coop_name,
        currency=founding.currency,
        credit_price_micro=founding.credit_price_micro,
        founded_at=founding.founded_at,
        at=now,
        balances=[
            Balance(account=r.account, asset=r.asset, balance_micro=int(r.balance_micro), accounts=r.accounts)
            for r in rows
        ],
    )


@router.get("/check", responses=answers(NotSignedIn, NotPermitted))
def check(_: Operator) -> BooksReport:
    """Add up the books again from zero, at one instant, and compare. Takes its time on a long history."""
    return BooksReport.model_validate(add_up_books(engine()), from_attributes=True)
