"""What the co-op was founded with, and the terms in force in each epoch: tariff, rates, rules, net factors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from ledger import accounts
from ledger.constitution import RATES, RULES, TARIFF, Constitution, numbers_of
from ledger.epochs import Calendar
from ledger.errors import NotYetInForce, TermsInThePast
from ledger.money import CreditPrice
from ledger.rates import NetFactors, Rates
from ledger.royalties import Terms
from ledger.rules import Rules
from ledger.store import posting
from ledger.store.batches import open_batch
from ledger.tariff import Tariff

FOUNDING = "founding"
NET_FACTORS = "net_factors"
KINDS = (TARIFF, RATES, RULES, NET_FACTORS)
"""Of terms; each kind has a table of this name."""


@dataclass(frozen=True, slots=True)
class Founding:
    """What is fixed at founding. `first_epoch` is the epoch the co-op was founded in."""

    coop_name: str
    currency: str
    minor_digits: int
    credit_price_micro: int
    epoch_seconds: int
    epoch_grace_seconds: int
    free_extra_ms: int
    token_ms_min: int
    first_epoch: int
    founded_at: datetime
    constitution: Constitution

    @property
    def calendar(self) -> Calendar:
        """How this co-op's time is divided into epochs."""
        return Calendar(self.epoch_seconds, self.first_epoch)

    @property
    def credit_price(self) -> CreditPrice:
        """The price of one credit."""
        return CreditPrice(self.credit_price_micro)

    @property
    def minor_micro(self) -> int:
        """Micro-units of money in one minor unit (a cent: 10,000)."""
        return int(10 ** (6 - self.minor_digits))

    def may_close_at(self, epoch: int) -> datetime:
        """From when an epoch may be closed."""
        return self.calendar.ends_at(epoch) + timedelta(seconds=self.epoch_grace_seconds)


def require_sound(founding: Founding, tariff: Tariff, rates: Rates, rules: Rules, factors: NetFactors) -> None:
    """Raise unless a co-op can be founded so.

    OutsideConstitution: terms that members could not have decided. CeilingTooHigh. UnsuitableCreditPrice.
    """
    founding.constitution.require(numbers_of(tariff, rates, rules))
    founding.constitution.require_covered(factors)
    CreditPrice(founding.credit_price_micro)


def found(
    conn: Connection, founding: Founding, tariff: Tariff, rates: Rates, rules: Rules, factors: NetFactors
) -> bool:
    """Write the founding, the first terms and the fixed accounts. False if the co-op was founded already.

    Raises what `require_sound` raises.
    """
    require_sound(founding, tariff, rates, rules, factors)
    fields = list(Founding.__dataclass_fields__)
    told = {name: getattr(founding, name) for name in fields}
    placed = conn.execute(
        text(
            f"insert into ledger.founding ({', '.join(fields)}) values ({', '.join(':' + name for name in fields)})"
            " on conflict do nothing"
        ),
        told | {"constitution": json.dumps(founding.constitution.as_json())},
    )
    if not placed.rowcount:
        return False
    adopt_tariff(conn, tariff, founding.first_epoch, FOUNDING, founding.founded_at)
    adopt_rates(conn, rates, founding.first_epoch, FOUNDING, founding.founded_at)
    adopt_rules(conn, rules, founding.first_epoch, FOUNDING, founding.founded_at)
    adopt_net_factors(conn, factors, founding.first_epoch, FOUNDING, founding.founded_at)
    posting.ensure_accounts(conn, accounts.FIXED)
    return True


def founding(conn: Connection) -> Founding:
    """The founding row. Raises sqlalchemy's NoResultFound in a database where no co-op was founded."""
    row: dict[str, Any] = dict(conn.execute(text("select * from ledger.founding")).mappings().one())
    del row["only_one"]
    return Founding(**row | {"constitution": Constitution.of_json(row["constitution"])})


def require_future(founded: Founding, effective_epoch: int, now: datetime) -> None:
    """Raise TermsInThePast unless the epoch has not begun."""
    if effective_epoch <= founded.calendar.epoch_at(now):
        raise TermsInThePast(effective_epoch=effective_epoch)


def adopt_tariff(conn: Connection, tariff: Tariff, effective_epoch: int, decided_by: str, now: datetime) -> int:
    """Put a tariff in force from an epoch on; returns its version. Raises TermsInThePast."""
    return _adopt(
        conn,
        "tariff (effective_epoch, first_price_micro, plays, decided_by, decided_at)",
        (effective_epoch, tariff.first_price_micro, tariff.plays, decided_by, now),
    )


def adopt_rates(conn: Connection, rates: Rates, effective_epoch: int, decided_by: str, now: datetime) -> int:
    """Put payout rates in force from an epoch on; returns their version. Raises TermsInThePast."""
    return _adopt(
        conn,
        "rates (effective_epoch, artist_share_bp, community_cut_bp, reserve_cut_bp, decided_by, decided_at)",
        (effective_epoch, rates.artist_share_bp, rates.community_cut_bp, rates.reserve_cut_bp, decided_by, now),
    )


def adopt_rules(conn: Connection, rules: Rules, effective_epoch: int, decided_by: str, now: datetime) -> int:
    """Put rules in force from an epoch on; returns their version. Raises TermsInThePast."""
    return _adopt(
        conn,
        "rules (effective_epoch, payout_minimum_minor, listen_ms_max, decided_by, decided_at)",
        (effective_epoch, rules.payout_minimum_minor, rules.listen_ms_max, decided_by, now),
    )


def adopt_net_factors(
    conn: Connection, factors: NetFactors, effective_epoch: int, decided_by: str, now: datetime
) -> int:
    """Put net factors in force from an epoch on; returns their version. Raises TermsInThePast."""
    return _adopt(
        conn,
        "net_factors (effective_epoch, vat_bp, fees_bp, licensing_bp, decided_by, decided_at)",
        (effective_epoch, factors.vat_bp, factors.fees_bp, json.dumps(factors.licensing_bp), decided_by, now),
    )


def _adopt(conn: Connection, into: str, values: tuple[Any, ...]) -> int:
    effective_epoch, *_, decided_by, now = values
    # What holds in an epoch that has begun never changes: prices were quoted by it. Only the founding begins at once.
    if decided_by != FOUNDING:
        require_future(founding(conn), effective_epoch, now)
    into, values = into.replace(")", ", batch)"), (*values, open_batch(conn))
    marks = ", ".join(f":v{i}" for i in range(len(values)))
    named = {f"v{i}": value for i, value in enumerate(values)}
    return int(conn.scalar(text(f"insert into ledger.{into} values ({marks}) returning version"), named) or 0)


_IN_FORCE = (
    "select * from ledger.{} where effective_epoch <= :epoch order by effective_epoch desc, version desc limit 1"
)


def _in_force(conn: Connection, table: str, epoch: int) -> Any:
    row = conn.execute(text(_IN_FORCE.format(table)), {"epoch": epoch}).one_or_none()
    if row is None:
        raise NotYetInForce(terms=table, epoch=epoch)
    return row


@dataclass(frozen=True, slots=True)
class TermsInForce:
    """An epoch's terms, with the versions they stand under and what decided them, by kind of terms."""

    terms: Terms
    tariff: Tariff
    rules: Rules
    versions: Mapping[str, int]
    decided_by: Mapping[str, str]

    def numbers(self) -> dict[str, int]:
        """The open parameters."""
        return numbers_of(self.tariff, self.terms.rates, self.rules)


def in_force(conn: Connection, founded: Founding, epoch: int) -> TermsInForce:
    """The terms in force in an epoch. Raises NotYetInForce before the founding."""
    rows = {kind: _in_force(conn, kind, epoch) for kind in KINDS}
    tariff, rates, rules, factors = (rows[kind] for kind in KINDS)
    return TermsInForce(
        terms=Terms(
            credit_price=founded.credit_price,
            net_factors=NetFactors(factors.vat_bp, factors.fees_bp, factors.licensing_bp),
            rates=Rates(rates.artist_share_bp, rates.community_cut_bp, rates.reserve_cut_bp),
        ),
        tariff=Tariff(tariff.first_price_micro, tariff.plays),
        rules=Rules(rules.payout_minimum_minor, rules.listen_ms_max),
        versions={kind: row.version for kind, row in rows.items()},
        decided_by={kind: row.decided_by for kind, row in rows.items()},
    )
