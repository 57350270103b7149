"""What an artist's tracks brought in an epoch, while it runs and afterwards: by day, track, and step of the curve.

Who they are who played is nobody's business: of fewer than LISTENERS_TOLD_MIN no number of people is told, and neither
are their days and steps. Plays and money of a track are told exactly, as statements tell them, for royalties are to be
recomputed from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from ledger.store.terms import Founding
from streamcoop.catalogue import lookup
from streamcoop.errors import NotFound
from streamcoop.royalties.schemas import Dashboard, DashboardDay, DashboardStep, DashboardTrack

# Of fewer no number is told: a friend could guess who they are.
LISTENERS_TOLD_MIN = 5

# The plays of some tracks in one epoch are found by the index on (track_id, epoch) in each partition.
_BY_TRACK = text("""
    select track_id,
           count(*) filter (where kind = 'play') as plays,
           count(*) filter (where kind = 'buyout') as buyouts,
           coalesce(sum(price_micro), 0) as collected_micro,
           count(distinct listener_id) as listeners,
           count(distinct listener_id) filter (where completes) as new_owners
      from ledger.play
     where track_id = any(:tracks) and epoch = :epoch
     group by rollup (track_id)
     order by collected_micro desc, track_id
""")

_BY_DAY = text("""
    select (recorded_at at time zone 'UTC')::date as day,
           count(*) filter (where kind = 'play') as plays,
           count(*) filter (where kind = 'buyout') as buyouts,
           sum(price_micro) as collected_micro
      from ledger.play
     where track_id = any(:tracks) and epoch = :epoch
     group by day having count(distinct listener_id) >= :told_min
     order by day
""")

_BY_STEP = text("""
    select ordinal, count(*) as plays, sum(price_micro) as collected_micro
      from ledger.play
     where track_id = any(:tracks) and epoch = :epoch and kind = 'play'
     group by ordinal having count(distinct listener_id) >= :told_min
     order by ordinal
""")

_ROYALTY = text("""
    select sum(l.amount_micro) as royalty_micro
      from ledger.track_close c join ledger.royalty_line l on l.track_close_id = c.id
     where c.track_id = any(:tracks) and c.epoch = :epoch and l.payee = :payee
""")

_BY_EPOCH = text("""
    select epoch, sum(plays) as plays, sum(collected_micro) as collected_micro
      from ledger.track_epoch
     where track_id = any(:tracks) and epoch between :first and :last
     group by epoch
""")


@dataclass(frozen=True, slots=True)
class EpochSum:
    """An epoch, its plays, and what listeners paid for them in money micro-units."""

    epoch: int
    label: str
    plays: int
    collected_money_micro: int


def dashboard(session: Session, founding: Founding, owner: UUID, epoch: int | None, now: datetime) -> Dashboard:
    """What the tracks of one's own artists brought in an epoch, the current one if none is named. Raises NotFound."""
    calendar, price = founding.calendar, founding.credit_price
    this = calendar.epoch_at(now)
    number = this if epoch is None else epoch
    if not founding.first_epoch <= number <= this:
        raise NotFound
    conn = session.connection()
    tracks = lookup.tracks_of_owner(session, owner)
    about = {"tracks": list(tracks), "epoch": number, "told_min": LISTENERS_TOLD_MIN, "payee": owner}
    by_track = conn.execute(_BY_TRACK, about).all()
    # The row of no track is that of all of them, and there even where nothing was played.
    (whole,) = [row for row in by_track if row.track_id is None]
    titles = lookup.titles(session, {row.track_id for row in by_track if row.track_id is not None})
    return Dashboard(
        epoch=number,
        label=calendar.label(number),
        starts_at=calendar.starts_at(number),
        ends_at=calendar.ends_at(number),
        currency=founding.currency,
        **_figures(founding, whole),
        royalty_micro=conn.scalar(_ROYALTY, about),
        days=[
            DashboardDay(
                day=row.day,
                plays=row.plays,
                buyouts=row.buyouts,
                collected_money_micro=price.value_micro(int(row.collected_micro)),
            )
            for row in conn.execute(_BY_DAY, about)
        ],
        tracks=[
            DashboardTrack(track_id=row.track_id, title=titles[row.track_id].title, **_figures(founding, row))
            for row in by_track
            if row.track_id is not None
        ],
        steps=[
            DashboardStep(
                ordinal=row.ordinal,
                plays=row.plays,
                collected_money_micro=price.value_micro(int(row.collected_micro)),
            )
            for row in conn.execute(_BY_STEP, about)
        ],
    )


def _figures(founding: Founding, row: Any) -> dict[str, Any]:
    collected_micro = int(row.collected_micro)
    return {
        "plays": row.plays,
        "buyouts": row.buyouts,
        "listeners": _told(row.listeners),
        "new_owners": _told(row.new_owners),
        "collected_micro": collected_micro,
        "collected_money_micro": founding.credit_price.value_micro(collected_micro),
    }


def _told(people: int) -> int | None:
    return people if people >= LISTENERS_TOLD_MIN else None


def epochs(session: Session, founding: Founding, owner: UUID, now: datetime, most: int) -> list[EpochSum]:
    """The newest epochs and what one's own tracks brought in each, as far as it is settled; the oldest first."""
    last = founding.calendar.epoch_at(now)
    first = max(last - most + 1, founding.first_epoch)
    about = {"tracks": list(lookup.tracks_of_owner(session, owner)), "first": first, "last": last}
    sums = {
        row.epoch: (int(row.plays), int(row.collected_micro)) for row in session.connection().execute(_BY_EPOCH, about)
    }
    return [
        EpochSum(
            number,
            founding.calendar.label(number),
            sums.get(number, (0, 0))[0],
            founding.credit_price.value_micro(sums.get(number, (0, 0))[1]),
        )
        for number in range(first, last + 1)
    ]


def days_of(told: Dashboard) -> list[date]:
    """The days of an epoch, in UTC."""
    last = (told.ends_at - timedelta(microseconds=1)).date().toordinal()
    return [date.fromordinal(each) for each in range(told.starts_at.date().toordinal(), last + 1)]
