"""The contract's roll held against the table of members: lag is mended, whatever else differs is kept for people.

What the contract says is who has a vote; so nothing here changes the contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from streamcoop.membership.models import (
    APPLIED,
    ENDED,
    LEAVING,
    MEMBER,
    Member,
    RegisterDifference,
    RegisterOrder,
)

STRANGER = "the contract has a member that is nobody here"
MISSING = "a member here is none in the contract"
STILL_THERE = "the contract has a member who has left here"
OTHER_CLASS = "the contract has this member in another class"


@dataclass(frozen=True, slots=True)
class SeatTold:
    """A member as the contract has it."""

    address: str
    member_class: str


def compare(session: Session, seats: Mapping[str, SeatTold], begun_at: datetime, now: datetime) -> int:
    """Compare the roll of a final block, chosen after `begun_at`, with the table; returns how much differs.

    Whatever has been on its way to the chain since is left to the next time. An applicant whom the contract has is a
    member: her admission was carried out by a database that was lost.
    """
    busy = set(
        session.scalars(
            select(RegisterOrder.member_id).where(RegisterOrder.done_at.is_(None) | (RegisterOrder.done_at >= begun_at))
        )
    )
    # Of whoever came back the latest row is hers; an address of her own may stand in several.
    rows = {row.address: row for row in session.scalars(select(Member).order_by(Member.id))}
    skipped = {row.address for row in rows.values() if row.id in busy} | _addresses_of(session, busy)
    found: dict[str, str] = {}
    for address in (seats.keys() | rows.keys()) - skipped:
        seat, row = seats.get(address), rows.get(address)
        if row is None:
            found[address] = STRANGER
        elif seat is not None and row.state == APPLIED:
            row.state, row.admitted_at, row.member_class = MEMBER, now, seat.member_class
        elif seat is not None and row.state in ENDED:
            found[address] = STILL_THERE
        elif seat is None and row.state in (MEMBER, LEAVING):
            found[address] = MISSING
        elif seat is not None and seat.member_class != row.member_class:
            found[address] = OTHER_CLASS
    _keep(session, found, now)
    return len(found)


def _addresses_of(session: Session, members: set[UUID]) -> set[str]:
    """Both ends of what is on its way: a seat that moves is at one of them."""
    wanted = select(RegisterOrder.address, RegisterOrder.other_address).where(RegisterOrder.member_id.in_(members))
    return {address for pair in session.execute(wanted) for address in pair if address}


def _keep(session: Session, found: Mapping[str, str], now: datetime) -> None:
    session.execute(delete(RegisterDifference).where(RegisterDifference.address.not_in(found)))
    if found:
        rows = [{"address": address, "told": told, "found_at": now} for address, told in sorted(found.items())]
        kept = insert(RegisterDifference).values(rows)
        # Since when it differs is what the first finding said.
        session.execute(kept.on_conflict_do_update(index_elements=["address"], set_={"told": kept.excluded.told}))


def differences(session: Session, limit: int) -> list[RegisterDifference]:
    """What differed when the two were last compared, the longest known first."""
    wanted = select(RegisterDifference).order_by(RegisterDifference.found_at, RegisterDifference.address)
    return list(session.scalars(wanted.limit(limit)))


def count(session: Session) -> int:
    """How much differed then."""
    return session.scalar(select(func.count()).select_from(RegisterDifference)) or 0
