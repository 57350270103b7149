"""The chart of accounts. A balance is credits minus debits.

Credits (prepaid plays): `credits:issued` → wallets → `plays:clearing` → `track:<track>:<epoch>` → `credits:consumed`.
Money: `bank` → `topups:clearing` (what members have paid and not yet played) → taxes, fees, funds, payees; and
`bank` → `shares:<membership>` and back.
At every moment `topups:clearing` holds exactly the value of all credits issued and not yet consumed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from ledger.errors import UnknownAccount
from ledger.rates import LICENSING

Asset = Literal["credit", "money"]
CREDIT: Asset = "credit"
MONEY: Asset = "money"


@dataclass(frozen=True, slots=True, order=True)
class Account:
    """An account by its name. `kind` decides what it may do; owner and epoch are set where the name has them."""

    code: str
    kind: str
    asset: Asset
    owner: UUID | None = None
    epoch: int | None = None


CREDITS_ISSUED = Account("credits:issued", "issued", CREDIT)
CREDITS_CONSUMED = Account("credits:consumed", "consumed", CREDIT)
GRANTS = Account("grants", "grants", CREDIT)
PLAYS_CLEARING = Account("plays:clearing", "clearing", CREDIT)

BANK = Account("bank", "bank", MONEY)
TOPUPS_CLEARING = Account("topups:clearing", "topups", MONEY)
PAYOUTS_CLEARING = Account("payouts:clearing", "payouts", MONEY)
VAT = Account("tax:vat", "tax", MONEY)
FEES = Account("fees:payments", "fees", MONEY)
COMMUNITY = Account("coop:community", "fund", MONEY)
RESERVE = Account("coop:reserve", "fund", MONEY)
OPERATIONS = Account("coop:operations", "fund", MONEY)

FIXED = (
    CREDITS_ISSUED,
    CREDITS_CONSUMED,
    GRANTS,
    PLAYS_CLEARING,
    BANK,
    TOPUPS_CLEARING,
    PAYOUTS_CLEARING,
    VAT,
    FEES,
    COMMUNITY,
    RESERVE,
    OPERATIONS,
)


def wallet(listener: UUID) -> Account:
    """A listener's prepaid credits. Never below zero."""
    return Account(f"wallet:{listener}", "wallet", CREDIT, listener)


def track(track_id: UUID, epoch: int) -> Account:
    """Credits collected by a track in an epoch and not yet shared out."""
    return Account(f"track:{track_id}:{epoch}", "track", CREDIT, track_id, epoch)


def royalty(payee: UUID) -> Account:
    """Money payable to a payee."""
    return Account(f"royalty:{payee}", "royalty", MONEY, payee)


def held(track_id: UUID) -> Account:
    """Money of a track's payees who may not be paid yet."""
    return Account(f"held:{track_id}", "held", MONEY, track_id)


def shares(member: UUID) -> Account:
    """A membership's share, which the co-op owes back once it has ended."""
    return Account(f"shares:{member}", "shares", MONEY, member)


def licensing(society: str) -> Account:
    """Money owed to a collecting society."""
    return Account(f"licensing:{society}", "licensing", MONEY)


def named(code: str) -> Account:
    """The account of a deduction or fund by its name in the net factors and rates. Raises UnknownAccount."""
    fixed = {account.code: account for account in FIXED}
    if code in fixed:
        return fixed[code]
    if not code.startswith(LICENSING):
        raise UnknownAccount(account=code)
    return licensing(code.removeprefix(LICENSING))
