"""The tracks a listener owns, and since when."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from ledger.epochs import Calendar
from ledger.store import recording


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


def owned_among(conn: Connection, listener_id: UUID, epoch: int, track_ids: Collection[UUID]) -> set[UUID]:
    """Which of these tracks she owns as of an epoch, settled or not: as the hot path sees it."""
    asked = {"listeners": [listener_id] * len(track_ids), "tracks": list(track_ids), "epoch": epoch}
    return {track_id for _, track_id, _, _, owned in conn.exec_driver_sql(recording.PROGRESS, asked) if owned}


def owner_counts(conn: Connection, groups: Mapping[UUID, Collection[UUID]]) -> dict[UUID, int]:
    """How many listeners own at least one track of each group, who came to own it by a payment that is settled.

    Whom a tariff that came later made an owner is not counted, for no row says so: these are figures to sort by.
    Groups that nobody owns anything of are left out.
    """
    pairs = [(group, track) for group, tracks in groups.items() for track in tracks]
    asked = {"groups": [group for group, _ in pairs], "tracks": [track for _, track in pairs]}
    return {group: int(owners) for group, owners in conn.execute(_OWNER_COUNTS, asked)}


_OWNER_COUNTS = text("""
    select asked.id, count(distinct p.listener_id)
      from unnest(cast(:groups as uuid[]), cast(:tracks as uuid[])) as asked(id, track_id)
      join ledger.progress p on p.track_id = asked.track_id and p.owned_at is not null
     group by asked.id
""")


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
