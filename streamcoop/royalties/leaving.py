"""Royalties of a payee who wants to be erased."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text, update
from sqlalchemy.orm import Session

from ledger import accounts as chart
from ledger.store import posting
from streamcoop.catalogue import lookup
from streamcoop.royalties.models import Hold
from streamcoop.royalties.splits import HELD


@dataclass(frozen=True, slots=True)
class Owed:
    """What is or will be a payee's: money due and held, credits not shared out yet, and shares of others' tracks."""

    due_micro: int
    held_micro: int
    collected_micro: int
    shares_of_others: int

    def is_something(self, smallest_micro: int) -> bool:
        """Whether any of it could ever be paid; below the smallest coin nothing can."""
        waiting = self.held_micro or self.collected_micro or self.shares_of_others
        return self.due_micro >= smallest_micro or waiting > 0


def owed(session: Session, payee: UUID) -> Owed:
    """What is or will be a payee's."""
    conn, own = session.connection(), lookup.tracks_of_owner(session, payee)
    named = set(session.scalars(_NAMED, {"payee": payee}))
    held_micro = conn.scalar(_HELD, {"payee": payee})
    collected_micro = conn.scalar(_COLLECTED, {"tracks": list(own | named)})
    return Owed(
        posting.balance_micro(conn, chart.royalty(payee)),
        int(held_micro or 0),
        int(collected_micro or 0),
        len(named - own),
    )


# Tracks whose newest split has a share for her: it is in force, or will be.
_NAMED = text("""
    select newest.track_id from (
        select distinct on (s.track_id) s.track_id, s.id from coop.split s
         where s.track_id in (select track_id from coop.split join coop.split_share on split_id = id
                               where payee = :payee)
         order by s.track_id, s.effective_epoch desc, s.id desc) as newest
     where exists (select from coop.split_share where split_id = newest.id and payee = :payee)
""")
_HELD = text("""
    select sum(l.amount_micro) from ledger.royalty_line l
     where l.payee = :payee and l.held_because is not null
       and not exists (select from ledger.royalty_release r where r.royalty_line_id = l.id)
""")
_COLLECTED = text("""
    select sum(balance_micro) from ledger.account where kind = 'track' and owner = any(cast(:tracks as uuid[]))
""")


def forget(session: Session, payee: UUID) -> None:
    """What somebody wrote about why her money is held is erased; that it is held stays. Safe to repeat."""
    session.execute(update(Hold).where(Hold.payee == payee).values(reason=HELD))
