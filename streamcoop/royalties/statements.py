"""Royalty statements and epochs, read from what the closes wrote."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from ledger import accounts as chart
from ledger.money import BASIS_POINTS
from ledger.rates import ARTISTS
from ledger.royalties import Share, TrackRoyalties, track_royalties
from ledger.store import posting, terms
from ledger.store.terms import Founding
from streamcoop.accounts import service as accounts
from streamcoop.catalogue import lookup
from streamcoop.royalties.schemas import CurrentTrack, EpochOut, RoyaltyLineOut, RoyaltyStatement

LINES_MAX = 50_000
EPOCHS_MAX = 120

_LINES = text("""
    select c.*, l.payee, l.share_bp, l.amount_micro, l.held_because, r.released_at, rates.artist_share_bp
      from ledger.royalty_line l
      join ledger.track_close c on c.id = l.track_close_id
      join ledger.rates on rates.version = c.rates_version
      left join ledger.royalty_release r on r.royalty_line_id = l.id
     where (l.payee = :payee or c.track_id = any(:tracks)) and (cast(:epoch as integer) is null or c.closed_in = :epoch)
     order by c.closed_in desc, c.epoch desc, c.track_id, l.payee limit :lines
""")

_CURRENT = text("""
    select t.epoch, t.track_id, t.plays, t.buyouts, t.collected_micro from ledger.track_epoch t
     where t.track_id = any(:tracks)
       and not exists (select from ledger.epoch_close e where e.epoch = t.epoch and e.closed_at is not null)
     order by t.epoch desc, t.collected_micro desc, t.track_id limit :lines
""")

_EPOCH = text("""
    select e.begun_at, e.closed_at from ledger.epoch_close e where e.epoch = :epoch
""")

_TOTALS = text("""
    select coalesce(sum(gross_micro), 0) as gross, coalesce(sum(net_micro), 0) as net,
           coalesce(sum(artists_micro), 0) as artists, coalesce(sum(plays), 0) as plays,
           coalesce(sum(collected_micro), 0) as collected
      from ledger.track_close where closed_in = :epoch
""")

_PARTS = text("""
    select part, key, sum(cast(value as bigint)) as micro from (
        select 'deductions' as part, d.* from ledger.track_close c, jsonb_each_text(c.deductions) d
         where closed_in = :epoch
        union all
        select 'funds', f.* from ledger.track_close c, jsonb_each_text(c.funds) f
         where closed_in = :epoch) as parts
     group by part, key order by part, key
""")

_CLOSED = text("""
    select c.closed_in as epoch,
           coalesce(sum(l.amount_micro) filter (where l.payee = :payee and not held.still), 0) as royalty_micro,
           coalesce(sum(l.amount_micro) filter (where l.payee = :payee and held.still), 0) as held_micro
      from ledger.royalty_line l
      join ledger.track_close c on c.id = l.track_close_id
      left join ledger.royalty_release r on r.royalty_line_id = l.id
     cross join lateral (select l.held_because is not null and r.released_at is null as still) as held
     where l.payee = :payee or c.track_id = any(:tracks)
     group by c.closed_in order by c.closed_in desc limit :epochs
""")

_DEDUCTIONS = text("""
    select d.key, sum(cast(d.value as bigint)) as micro
      from ledger.track_close c
      join ledger.royalty_line l on l.track_close_id = c.id and l.payee = :payee
     cross join lateral jsonb_each_text(c.deductions) d
     where c.closed_in = :epoch
     group by d.key order by d.key
""")

_NEWEST_CLOSED = text("""
    select e.epoch from ledger.epoch_close e
     where e.closed_at is not null and exists (select from ledger.track_close c where c.closed_in = e.epoch)
     order by e.epoch desc limit 1
""")


@dataclass(frozen=True, slots=True)
class ClosedEpoch:
    """A close that has something on an artist's statement: what she was credited in it, and what of hers is held."""

    epoch: int
    label: str
    royalty_micro: int
    held_micro: int


def closed(session: Session, founding: Founding, artist: UUID) -> list[ClosedEpoch]:
    """The epochs an artist has a statement of, the newest first: at most EPOCHS_MAX."""
    about = {"payee": artist, "tracks": list(lookup.tracks_of_owner(session, artist)), "epochs": EPOCHS_MAX}
    return [
        ClosedEpoch(row.epoch, founding.calendar.label(row.epoch), int(row.royalty_micro), int(row.held_micro))
        for row in session.connection().execute(_CLOSED, about)
    ]


def statement(session: Session, founding: Founding, artist: UUID, epoch: int | None) -> RoyaltyStatement:
    """An artist's statement: what she was credited, and every payee's line of her own tracks."""
    conn = session.connection()
    about = {
        "payee": artist,
        "tracks": list(lookup.tracks_of_owner(session, artist)),
        "epoch": epoch,
        "lines": LINES_MAX,
    }
    rows = conn.execute(_LINES, about).all()
    titles = lookup.titles(session, {row.track_id for row in rows})
    names = accounts.names(session, {row.payee for row in rows})
    lines = [_line(founding, row, titles.get(row.track_id), names.get(row.payee, "")) for row in rows]
    mine = [line for line in lines if line.payee == artist]
    return RoyaltyStatement(
        currency=founding.currency,
        lines=lines,
        royalty_micro=sum(line.royalty_micro for line in mine if not _still_held(line)),
        held_micro=sum(line.royalty_micro for line in mine if _still_held(line)),
        balance_micro=posting.balance_micro(conn, chart.royalty(artist)),
    )


def deductions(session: Session, payee: UUID, epoch: int) -> dict[str, int]:
    """What went off the gross of the tracks that a payee has lines of in a close, by what for, in money micro-units."""
    rows = session.connection().execute(_DEDUCTIONS, {"payee": payee, "epoch": epoch})
    return {row.key: int(row.micro) for row in rows}


def _still_held(line: RoyaltyLineOut) -> bool:
    return line.held_because is not None and line.released_at is None


def _line(founding: Founding, row: Any, title: lookup.TrackTitle | None, payee_name: str) -> RoyaltyLineOut:
    return RoyaltyLineOut(
        epoch=row.epoch,
        label=founding.calendar.label(row.epoch),
        closed_in=row.closed_in,
        late=row.closed_in != row.epoch,
        track_id=row.track_id,
        title=title.title if title else "",
        artist=title.artist if title else "",
        isrc=title.isrc if title else None,
        plays=row.plays,
        buyouts=row.buyouts,
        collected_micro=row.collected_micro,
        gross_micro=row.gross_micro,
        deductions_micro=row.gross_micro - row.net_micro,
        net_micro=row.net_micro,
        artist_share_bp=row.artist_share_bp,
        artists_micro=row.artists_micro,
        payee=row.payee,
        payee_name=payee_name,
        share_bp=row.share_bp,
        royalty_micro=row.amount_micro,
        held_because=row.held_because,
        released_at=row.released_at,
    )


def current(session: Session, founding: Founding, artist: UUID) -> list[CurrentTrack]:
    """What an artist's tracks have collected in epochs that are not closed yet."""
    tracks = list(lookup.tracks_of_owner(session, artist))
    rows = session.connection().execute(_CURRENT, {"tracks": tracks, "lines": LINES_MAX}).all()
    titles = lookup.titles(session, {row.track_id for row in rows})
    return [
        CurrentTrack(
            epoch=row.epoch,
            label=founding.calendar.label(row.epoch),
            track_id=row.track_id,
            title=titles[row.track_id].title if row.track_id in titles else "",
            plays=row.plays,
            buyouts=row.buyouts,
            collected_micro=row.collected_micro,
            collected_money_micro=founding.credit_price.value_micro(row.collected_micro),
        )
        for row in rows
    ]


def epochs(session: Session, founding: Founding, now: datetime, limit: int) -> list[EpochOut]:
    """The newest epochs, the current one first."""
    this = founding.calendar.epoch_at(now)
    return [
        epoch(session, founding, number, now) for number in range(this, max(this - limit, founding.first_epoch - 1), -1)
    ]


def shared_out(session: Session, founding: Founding, credits_micro: int, now: datetime) -> TrackRoyalties:
    """What becomes of so many micro-credits of payments by the rates in force: what is deducted, and who gets the rest.

    A close shares track by track and rounds each: of several tracks the difference is a millionth each at the most.
    """
    epoch = founding.calendar.epoch_at(now)
    in_force = terms.in_force(session.connection(), founding, epoch).terms
    return track_royalties(credits_micro, [Share(ARTISTS, BASIS_POINTS)], in_force, epoch=epoch, track="")


def newest_closed(session: Session) -> int | None:
    """The newest epoch whose close shared out anything; None before there is one."""
    found: int | None = session.scalar(_NEWEST_CLOSED)
    return found


def epoch(session: Session, founding: Founding, number: int, now: datetime) -> EpochOut:
    """One epoch and its totals."""
    conn, calendar = session.connection(), founding.calendar
    closing = conn.execute(_EPOCH, {"epoch": number}).one_or_none()
    in_force = terms.in_force(conn, founding, number)
    totals = conn.execute(_TOTALS, {"epoch": number}).one()
    parts: dict[str, dict[str, int]] = {"deductions": {}, "funds": {}}
    for part, key, micro in conn.execute(_PARTS, {"epoch": number}):
        parts[part][key] = int(micro)
    if closing is not None:
        state = "closed" if closing.closed_at else "closing"
    else:
        state = "ended" if now >= calendar.ends_at(number) else "open"
    return EpochOut(
        epoch=number,
        label=calendar.label(number),
        starts_at=calendar.starts_at(number),
        ends_at=calendar.ends_at(number),
        may_close_at=founding.may_close_at(number),
        state=state,  # type: ignore[arg-type]  # one of the four above
        closed_at=closing.closed_at if closing else None,
        plays=int(totals.plays),
        collected_micro=int(totals.collected),
        gross_micro=int(totals.gross),
        deductions=parts["deductions"],
        net_micro=int(totals.net),
        royalties_micro=int(totals.artists),
        funds=parts["funds"],
        artist_share_bp=in_force.terms.rates.artist_share_bp,
        rates_decided_by=in_force.decided_by["rates"],
    )
