"""Money into wallets, and the limits a listener sets. Everything in here is a posting or reads postings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from uuid import UUID

from sqlalchemy import Connection, text

from ledger import accounts
from ledger.epochs import month_of
from ledger.errors import DomainError
from ledger.grants import grant_limit_micro
from ledger.store import crediting, posting
from ledger.store.posting import Posted, Transfer
from ledger.store.terms import Founding
from streamcoop.problems import register

TOP_UP_MINOR_MAX = 10_000_000_000


class AmountNotPositive(DomainError):
    """An amount must be above zero."""


class AmountTooLarge(DomainError):
    """The amount is larger than the cash desk takes at one go."""


class AmountTooSmall(DomainError):
    """The amount buys no credit at all."""


class NotAMember(DomainError):
    """Only admitted members of the co-op can be given a grant."""


class GrantBeyondLimit(DomainError):
    """A member's grants cannot go beyond what the co-op keeps of her own top-ups."""


class GrantBeyondBudget(DomainError):
    """The community fund does not hold that much."""


register(
    {
        AmountNotPositive: HTTPStatus.BAD_REQUEST,
        AmountTooLarge: HTTPStatus.BAD_REQUEST,
        AmountTooSmall: HTTPStatus.BAD_REQUEST,
        NotAMember: HTTPStatus.CONFLICT,
        GrantBeyondLimit: HTTPStatus.CONFLICT,
        GrantBeyondBudget: HTTPStatus.CONFLICT,
    }
)


@dataclass(frozen=True, slots=True)
class ToppedUp:
    """A top-up as booked."""

    posted: Posted
    credits_micro: int
    to_community_micro: int


def top_up(
    conn: Connection,
    founding: Founding,
    listener_id: UUID,
    amount_minor: int,
    request_id: UUID,
    *,
    booked_by: UUID,
    reference: str,
    now: datetime,
) -> ToppedUp:
    """Book money paid at the cash desk as credits. The same request again is answered alike.

    What buys no exact number of credits goes to the community fund, so that prepaid money always
    equals the value of the credits in circulation.
    """
    if amount_minor <= 0:
        raise AmountNotPositive(field="amount_minor", amount_minor=amount_minor)
    if amount_minor > TOP_UP_MINOR_MAX:
        raise AmountTooLarge(field="amount_minor", amount_minor=amount_minor, amount_minor_max=TOP_UP_MINOR_MAX)
    amount_micro = amount_minor * founding.minor_micro
    credits_micro, left_micro = founding.credit_price.credits_for(amount_micro)
    if not credits_micro:
        raise AmountTooSmall(field="amount_minor", amount_minor=amount_minor)
    transfers = [
        Transfer(accounts.BANK, accounts.TOPUPS_CLEARING, amount_micro - left_micro),
        Transfer(accounts.CREDITS_ISSUED, accounts.wallet(listener_id), credits_micro),
    ]
    if left_micro:
        transfers.append(Transfer(accounts.BANK, accounts.COMMUNITY, left_micro))
    note = {"amount_minor": amount_minor, "by": str(booked_by)}
    posted = crediting.give(conn, request_id, "top-up", listener_id, transfers, now, note, reference)
    return ToppedUp(posted, credits_micro, left_micro)


def grant(
    conn: Connection,
    founding: Founding,
    listener_id: UUID,
    credits_micro: int,
    request_id: UUID,
    *,
    member: bool,
    booked_by: UUID,
    reason: str,
    now: datetime,
) -> tuple[Posted, int]:
    """Give a member credits that the community fund pays for; returns the posting and their worth in money.

    Raises NotAMember, GrantBeyondLimit (see `ledger.grants`) and GrantBeyondBudget.
    """
    if credits_micro <= 0:
        raise AmountNotPositive(field="credits_micro", credits_micro=credits_micro)
    if not member:
        raise NotAMember
    # Two grants at once to the same member must see each other; the community fund's row serialises all of them.
    conn.execute(text("select from ledger.account where code = 'coop:community' for no key update"))
    repeated = conn.scalar(text("select true from ledger.posting where key = :key"), {"key": request_id})
    ceiling_bp = founding.constitution.parameters["artist_share_bp"].highest
    limit_micro = grant_limit_micro(*_received(conn, listener_id), ceiling_bp)
    if not repeated and credits_micro > limit_micro:
        raise GrantBeyondLimit(field="credits_micro", limit_micro=limit_micro)
    money_micro = founding.credit_price.value_micro(credits_micro)
    if not repeated and money_micro > posting.balance_micro(conn, accounts.COMMUNITY):
        raise GrantBeyondBudget(field="credits_micro", needed_micro=money_micro)
    transfers = [
        Transfer(accounts.COMMUNITY, accounts.TOPUPS_CLEARING, money_micro),
        Transfer(accounts.CREDITS_ISSUED, accounts.GRANTS, credits_micro),
        Transfer(accounts.GRANTS, accounts.wallet(listener_id), credits_micro),
    ]
    note = {"by": str(booked_by)}
    return crediting.give(conn, request_id, "grant", listener_id, transfers, now, note, reason), money_micro


def _received(conn: Connection, listener_id: UUID) -> tuple[int, int]:
    """(micro-credits topped up, micro-credits granted) by and to a listener in all."""
    row = conn.execute(
        text("""
            select coalesce(sum(credits_micro) filter (where kind = 'top-up'), 0),
                   coalesce(sum(credits_micro) filter (where kind = 'grant'), 0)
              from ledger.log_credit where listener_id = :listener
        """),
        {"listener": listener_id},
    ).one()
    return int(row[0]), int(row[1])


@dataclass(frozen=True, slots=True)
class Wallet:
    """What a wallet holds and may spend, in micro-credits."""

    balance_micro: int
    unsettled_micro: int
    spent_this_month_micro: int
    monthly_budget_micro: int | None
    stop_before_ordinal: int | None


def wallet(conn: Connection, listener_id: UUID, now: datetime) -> Wallet:
    """A listener's wallet at this moment."""
    row = conn.execute(_WALLET, {"listener": listener_id, "month": month_of(now)}).one()
    return Wallet(int(row[0]), int(row[1]), int(row[2]), row[3], row[4])


_WALLET = text("""
    select coalesce(a.balance_micro, 0), coalesce(u.micro, 0), coalesce(s.spent_micro, 0) + coalesce(u.month_micro, 0),
           l.monthly_budget_micro, l.stop_before_ordinal
      from (select cast(:listener as uuid) as id) as me
      left join ledger.account a on a.kind = 'wallet' and a.owner = me.id
      left join ledger.listener l on l.id = me.id
      left join ledger.spending s on s.listener_id = me.id and s.month = :month
      left join lateral (select sum(price_micro) as micro, sum(price_micro) filter (where month = :month) as month_micro
                           from ledger.play_queue where listener_id = me.id) u on true
""")


def set_limits(
    conn: Connection, listener_id: UUID, monthly_budget_micro: int | None, stop_before_ordinal: int | None
) -> None:
    """Set both limits. They hold from the next play that is recorded. A closed wallet's stay."""
    conn.execute(
        text("""
            insert into ledger.listener (id, monthly_budget_micro, stop_before_ordinal)
            values (:listener, :budget, :stop)
                on conflict (id) do update
               set monthly_budget_micro = excluded.monthly_budget_micro,
                   stop_before_ordinal = excluded.stop_before_ordinal
             where listener.closed_at is null
        """),
        {"listener": listener_id, "budget": monthly_budget_micro, "stop": stop_before_ordinal},
    )
