"""Wallets over HTTP, and the cash desk."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime

from ledger.errors import RequestIdReused
from streamcoop.accounts import service as accounts
from streamcoop.accounts.principals import Treasurer, WalletOwner
from streamcoop.clock import Now
from streamcoop.csv import csv_response
from streamcoop.database import Transaction
from streamcoop.errors import NotFound, NotPermitted, NotSignedIn
from streamcoop.founded import Founded
from streamcoop.membership import service as membership
from streamcoop.problems import answers
from streamcoop.wallet import desk, service, statements
from streamcoop.wallet.schemas import (
    BalanceOut,
    DeskEntryOut,
    GrantOut,
    Limits,
    NewGrant,
    NewTopUp,
    ProgressPage,
    Statement,
    TopUpOut,
    WalletOut,
)

router = APIRouter(prefix="/api/v1", tags=["wallet"])
_PERSONAL = (NotSignedIn, NotPermitted)
_DESK = (*_PERSONAL, NotFound, RequestIdReused, service.AmountNotPositive, service.AmountTooLarge)
_STATEMENT = (*_PERSONAL, statements.BadMonth, statements.StatementTooLong)

Month = Annotated[str, Query(max_length=20, description="YYYY-MM", examples=["2026-11"])]


@router.get("/wallet", responses=answers(*_PERSONAL))
def wallet(owner: WalletOwner, session: Transaction, founding: Founded, now: Now) -> WalletOut:
    """Your wallet: what you can spend, and what you have spent this month."""
    held = service.wallet(session.connection(), owner.user_id, now)
    spendable_micro = held.balance_micro - held.unsettled_micro
    value_micro = founding.credit_price.value_micro
    return WalletOut(
        balance_micro=held.balance_micro,
        unsettled_micro=held.unsettled_micro,
        spendable_micro=spendable_micro,
        spendable_money_micro=value_micro(spendable_micro),
        spent_this_month_micro=held.spent_this_month_micro,
        spent_this_month_money_micro=value_micro(held.spent_this_month_micro),
        monthly_budget_micro=held.monthly_budget_micro,
        stop_before_ordinal=held.stop_before_ordinal,
        currency=founding.currency,
        credit_price_micro=founding.credit_price_micro,
    )


@router.get("/wallet/balance", responses=answers(*_PERSONAL))
def balance_at(
    owner: WalletOwner,
    session: Transaction,
    founding: Founded,
    at: Annotated[AwareDatetime, Query(description="An instant, with its offset from UTC.")],
) -> BalanceOut:
    """What you had left before an instant: what had come in less the plays recorded by then, as statements tell it."""
    balance_micro = statements.balance_before(session.connection(), owner.user_id, at)
    return BalanceOut(
        at=at,
        balance_micro=balance_micro,
        balance_money_micro=founding.credit_price.value_micro(balance_micro),
        currency=founding.currency,
    )


@router.put("/wallet/limits", responses=answers(*_PERSONAL))
def set_limits(limits: Limits, owner: WalletOwner, session: Transaction) -> Limits:
    """Set your monthly budget and "never past play N"."""
    service.set_limits(session.connection(), owner.user_id, limits.monthly_budget_micro, limits.stop_before_ordinal)
    return limits


@router.get("/wallet/tracks", responses=answers(*_PERSONAL))
def tracks(
    owner: WalletOwner,
    session: Transaction,
    founding: Founded,
    now: Now,
    cursor: Annotated[UUID | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=statements.PAGE_MAX)] = 50,
    owned: Annotated[bool | None, Query(description="Only those that are yours, or only those that are not.")] = None,
) -> ProgressPage:
    """The tracks you have paid for, and how far each is from being yours."""
    return statements.progress(session, founding, owner.user_id, now, cursor, limit, owned)


@router.get("/wallet/statement", responses=answers(*_STATEMENT))
def statement(owner: WalletOwner, session: Transaction, founding: Founded, month: Month) -> Statement:
    """A month's statement: what came in, and each play that was paid."""
    return statements.statement(session, founding, owner.user_id, month)


@router.get(
    "/wallet/statement.csv",
    response_class=Response,
    responses=answers(*_STATEMENT) | {200: {"content": {"text/csv": {}}, "description": "The statement's lines."}},
)
def statement_csv(owner: WalletOwner, session: Transaction, founding: Founded, month: Month) -> Response:
    """A month's statement as CSV."""
    return csv_response(
        statements.as_csv(statements.statement(session, founding, owner.user_id, month)), f"wallet-{month}"
    )


@router.post("/treasury/topups", status_code=201, responses=answers(*_DESK, service.AmountTooSmall))
def top_up(new: NewTopUp, treasurer: Treasurer, session: Transaction, founding: Founded, now: Now) -> TopUpOut:
    """Book a top-up paid at the cash desk. Safe to send again with the same request id."""
    listener = accounts.user_by_email(session, new.listener_email)
    booked = service.top_up(
        session.connection(),
        founding,
        listener.id,
        new.amount_minor,
        new.request_id,
        booked_by=treasurer.user_id,
        reference=new.reference,
        now=now,
    )
    return TopUpOut(
        request_id=new.request_id,
        listener_id=listener.id,
        amount_minor=new.amount_minor,
        credits_micro=booked.credits_micro,
        to_community_micro=booked.to_community_micro,
        currency=founding.currency,
        booked_at=booked.posted.posted_at,
        repeated=booked.posted.repeated,
    )


@router.post(
    "/treasury/grants",
    status_code=201,
    responses=answers(*_DESK, service.NotAMember, service.GrantBeyondLimit, service.GrantBeyondBudget),
)
def grant(new: NewGrant, treasurer: Treasurer, session: Transaction, founding: Founded, now: Now) -> GrantOut:
    """Give a member credits from the community fund. Safe to send again with the same request id."""
    listener = accounts.user_by_email(session, new.listener_email)
    posted, money_micro = service.grant(
        session.connection(),
        founding,
        listener.id,
        new.credits_micro,
        new.request_id,
        member=membership.is_member(session, listener.id),
        booked_by=treasurer.user_id,
        reason=new.reason,
        now=now,
    )
    return GrantOut(
        request_id=new.request_id,
        listener_id=listener.id,
        credits_micro=new.credits_micro,
        money_micro=money_micro,
        currency=founding.currency,
        booked_at=posted.posted_at,
        repeated=posted.repeated,
    )


@router.get("/treasury/entries", responses=answers(*_PERSONAL))
def entries(
    _: Treasurer,
    session: Transaction,
    founding: Founded,
    limit: Annotated[int, Query(ge=1, le=desk.ENTRIES_MAX)] = 20,
) -> list[DeskEntryOut]:
    """What was last booked at the cash desk, the latest first."""
    found = desk.entries(session.connection(), limit)
    names = accounts.names(session, {entry.listener_id for entry in found})
    return [
        DeskEntryOut(**asdict(entry), listener_name=names.get(entry.listener_id, ""), currency=founding.currency)
        for entry in found
    ]
