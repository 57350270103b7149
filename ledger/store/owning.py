"""The tracks a listener owns, and since when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from ledger.epochs import Calendar


@dataclass(frozen=True, slots=True)
class Owned:
    """A track and when it came to be hers: with a payment, or with the epoch that a tariff made her its owner in."""

    track_id: UUID
    owned_at: datetime


def owned(
    conn: Connection, calendar: Calendar, listener_id: UUID, epoch: int, after: UUID | None, most: int
) -> list[Owned]:
    """The tracks she owns as of an epoch, settled or not, by their ids after `after`."""
    asked = {"listener": listener_id, "epoch": epoch, "after": after or UUID(int=0), "most": most}
    return [_owned(calendar, *row) for row in conn.execute(_OWNED, asked)]


def owns(conn: Connection, calendar: Calendar, listener_id: UUID, epoch: int, track_id: UUID) -> Owned | None:
    """The same of one track; None where it is not hers."""
    before = UUID(int=max(track_id.int - 1, 0))
    found = owned(conn, calendar, listener_id, epoch, before, 1)
    return found[0] if found and found[0].track_id == track_id else None


def _owned(calendar: Calendar, track_id: UUID, paid_at: datetime | None, since_epoch: int) -> Owned:
    return Owned(track_id, calendar.starts_at(since_epoch) if paid_at is None else paid_at)


_OWNED = text("""
    select track_id, owned_at, since.epoch
      from (
        select track_id, coalesce(p.plays, 0) + coalesce(u.plays, 0) as plays,
               coalesce(p.paid_micro, 0) + coalesce(u.paid_micro, 0) as paid_micro,
               greatest(p.epoch, u.epoch) as epoch, coalesce(p.owned_at, u.owned_at) as owned_at
          from (select * from ledger.progress where listener_id = :listener and track_id > :after) p
          full join (select track_id, count(*) filter (where kind = 'play') as plays, sum(price_micro) as paid_micro,
                            max(epoch) as epoch, max(recorded_at) filter (where completes) as owned_at
                       from ledger.play_queue where listener_id = :listener and track_id > :after
                      group by track_id) u using (track_id)) as mine
      left join lateral (
            select min(greatest(s.from_epoch, mine.epoch)) as epoch from ledger.tariff_span s
             where s.from_epoch <= greatest(:epoch, mine.epoch) and s.to_epoch >= mine.epoch
               and (mine.plays >= s.plays or mine.paid_micro >= s.total_micro)) since on true
     where owned_at is not null or since.epoch is not null
     order by track_id limit :most
""")
