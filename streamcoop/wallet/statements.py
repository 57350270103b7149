"""What a listener paid, for which play, and how far each track is from being owned."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text
from sqlalchemy.orm import Session

from ledger.epochs import Calendar
from ledger.errors import DomainError
from ledger.store import terms
from ledger.store.terms import Founding
from ledger.tariff import Progress, Tariff
from streamcoop.catalogue import lookup
from streamcoop.catalogue.lookup import TrackCard
from streamcoop.csv import csv_of
from streamcoop.problems import register
from streamcoop.wallet.schemas import ProgressPage, Statement, StatementLine, TrackProgress

LINES_MAX = 50_000
PAGE_MAX = 200


class StatementTooLong(DomainError):
    """This month has more lines than one statement holds."""


class BadMonth(DomainError):
    """A month is written as YYYY-MM."""


register({StatementTooLong: HTTPStatus.CONFLICT, BadMonth: HTTPStatus.BAD_REQUEST})

_MOVEMENTS = text("""
    select p.posted_at as at, p.kind, c.credits_micro, r.text as remark
      from ledger.log_credit c
      join ledger.posting p on p.id = c.posting_id
      left join ledger.remark r on r.posting_id = p.id
     where c.listener_id = :listener and p.posted_at >= :start and p.posted_at < :end
     order by p.id limit :lines
""")

# A play's day is the day it was recorded; its id was minted when it was opened, at most a token's life before.
_PLAYS = text("""
    select p.id, p.track_id, p.kind, p.ordinal, p.price_micro, p.recorded_at as at,
           not exists (select from ledger.play_queue q where q.play_id = p.id) as settled
      from ledger.play p
     where p.listener_id = :listener and p.recorded_at >= :start and p.recorded_at < :end
     order by p.recorded_at, p.id limit :lines
""")

_PAID_BEFORE = text("""
    select coalesce(sum(price_micro), 0) from ledger.play where listener_id = :listener and recorded_at < :at
""")

_RECEIVED_BEFORE = text("""
    select coalesce(sum(c.credits_micro), 0) from ledger.log_credit c join ledger.posting p on p.id = c.posting_id
     where c.listener_id = :listener and p.posted_at < :at
""")

_TOLD = """
  select track_id, plays, paid_micro, owned_at, owned from (
    select track_id, plays, paid_micro, owned_at,
           owned_at is not null or exists (
               select from ledger.tariff_span s
                where s.from_epoch <= greatest(:epoch, mine.epoch) and s.to_epoch >= mine.epoch
                  and (mine.plays >= s.plays or mine.paid_micro >= s.total_micro)) as owned
      from (
        select coalesce(p.track_id, u.track_id) as track_id, coalesce(p.plays, 0) + coalesce(u.plays, 0) as plays,
               coalesce(p.paid_micro, 0) + coalesce(u.paid_micro, 0) as paid_micro,
               greatest(p.epoch, u.epoch) as epoch, coalesce(p.owned_at, u.owned_at) as owned_at
          from (select * from ledger.progress where listener_id = :listener) p
          full join (select track_id, count(*) filter (where kind = 'play') as plays, sum(price_micro) as paid_micro,
                            max(epoch) as epoch, max(recorded_at) filter (where completes) as owned_at
                       from ledger.play_queue where listener_id = :listener group by track_id) u
                 on u.track_id = p.track_id) as mine) as told
"""

_PROGRESS = text(f"""{_TOLD}
   where (cast(:after as uuid) is null or track_id > :after) and (cast(:owned as boolean) is null or owned = :owned)
   order by track_id limit :page
""")

# What is left, as `Tariff.left_micro` has it.
_NEAREST = text(f"""{_TOLD}
   where not owned
   order by least(:total - paid_micro, :first_price * ((1 << :to_own) - (1 << least(plays, :to_own)::int))), track_id
   limit :most
""")


def month_bounds(month: str) -> tuple[datetime, datetime]:
    """First instants of a month `YYYY-MM` and of the next. Raises BadMonth."""
    try:
        year, number = (int(part) for part in month.split("-"))
        calendar, epoch = Calendar(), year * 12 + number - 1
        if not (1 <= number <= 12 and 1970 <= year <= 9998 and calendar.label(epoch) == month):
            raise BadMonth(field="month", month=month[:20])
    except ValueError as wrong:
        raise BadMonth(field="month", month=month[:20]) from wrong
    return calendar.starts_at(epoch), calendar.ends_at(epoch)


def statement(session: Session, founding: Founding, listener_id: UUID, month: str) -> Statement:
    """A month's statement: what came in, and each play that was paid. Opening + lines = closing."""
    start, end = month_bounds(month)
    conn, about = session.connection(), {"listener": listener_id, "start": start, "end": end, "lines": LINES_MAX + 1}
    plays, movements = conn.execute(_PLAYS, about).all(), conn.execute(_MOVEMENTS, about).all()
    if len(plays) + len(movements) > LINES_MAX:
        raise StatementTooLong(lines_max=LINES_MAX)
    value_micro = founding.credit_price.value_micro
    titles = lookup.titles(session, {play.track_id for play in plays})
    lines = [
        StatementLine(
            at=m.at, kind=m.kind, credits_micro=m.credits_micro, money_micro=value_micro(m.credits_micro),
            play_id=None, track_id=None, title=None, artist=None, ordinal=None, settled=True,
            reference=m.remark,
        )
        for m in movements
    ]  # fmt: skip
    artists: dict[str, int] = {}
    for play in plays:
        title = titles.get(play.track_id)
        artist = title.artist if title else ""
        artists[artist] = artists.get(artist, 0) + play.price_micro
        lines.append(
            StatementLine(
                at=play.at, kind=play.kind, credits_micro=-play.price_micro, money_micro=-value_micro(play.price_micro),
                play_id=play.id, track_id=play.track_id, title=title.title if title else None, artist=artist or None,
                ordinal=play.ordinal, settled=play.settled, reference=None,
            )
        )  # fmt: skip
    lines.sort(key=lambda line: line.at)
    opening_micro = balance_before(conn, listener_id, start)
    in_micro = sum(line.credits_micro for line in lines if line.credits_micro > 0)
    out_micro = -sum(line.credits_micro for line in lines if line.credits_micro < 0)
    return Statement(
        month=month,
        currency=founding.currency,
        opening_micro=opening_micro,
        closing_micro=opening_micro + in_micro - out_micro,
        in_micro=in_micro,
        out_micro=out_micro,
        lines=lines,
        artists=artists,
    )


def balance_before(conn: Connection, listener_id: UUID, at: datetime) -> int:
    """What a listener had left, in micro-credits, before an instant: what came in less the plays recorded by then."""
    asked = {"listener": listener_id, "at": at}
    return int(conn.scalar(_RECEIVED_BEFORE, asked) or 0) - int(conn.scalar(_PAID_BEFORE, asked) or 0)


def as_csv(statement: Statement) -> str:
    """A statement as CSV (RFC 4180), one line a movement."""
    return csv_of(StatementLine.model_fields, [line.model_dump(mode="json") for line in statement.lines])


def progress(
    session: Session,
    founding: Founding,
    listener_id: UUID,
    now: datetime,
    after: UUID | None,
    page: int,
    owned: bool | None = None,
) -> ProgressPage:
    """The tracks a listener has paid for, in the order of their ids, and how far each is from being owned.

    `owned`: only those she owns, or only those she does not own yet.
    """
    conn = session.connection()
    epoch = founding.calendar.epoch_at(now)
    tariff = terms.in_force(conn, founding, epoch).tariff
    asked = {"listener": listener_id, "after": after, "page": page + 1, "epoch": epoch, "owned": owned}
    rows = conn.execute(_PROGRESS, asked).all()
    cards = lookup.cards(session, {row.track_id for row in rows})
    items = [_told(founding, tariff, row, cards.get(row.track_id)) for row in rows[:page]]
    return ProgressPage(items=items, next_cursor=str(items[-1].track_id) if len(rows) > page else None)


def nearest(session: Session, founding: Founding, listener_id: UUID, now: datetime, most: int) -> list[TrackProgress]:
    """The tracks she has paid for and does not own yet that cost least until they are hers, the cheapest first.

    What she cannot play just now is left out of them.
    """
    conn = session.connection()
    epoch = founding.calendar.epoch_at(now)
    tariff = terms.in_force(conn, founding, epoch).tariff
    asked = {"listener": listener_id, "epoch": epoch, "total": tariff.total_micro, "to_own": tariff.plays}
    rows = conn.execute(_NEAREST, asked | {"first_price": tariff.first_price_micro, "most": most}).all()
    cards = lookup.cards(session, {row.track_id for row in rows})
    playable = {track_id for track_id, card in cards.items() if card.is_published and card.is_ready}
    return [_told(founding, tariff, row, cards[row.track_id]) for row in rows if row.track_id in playable]


def _told(founding: Founding, tariff: Tariff, row: Row[Any], card: TrackCard | None) -> TrackProgress:
    so_far = Progress(int(row.plays), int(row.paid_micro), row.owned)
    left_micro = tariff.left_micro(so_far)
    return TrackProgress(
        track_id=row.track_id,
        title=card.title if card else "",
        artist=card.artist if card else "",
        artist_id=card.artist_id if card else None,
        release_id=card.release_id if card else None,
        release_title=card.release if card else "",
        artwork=card.artwork if card and card.is_published else None,
        duration_ms=card.duration_ms if card else None,
        plays=so_far.plays,
        plays_to_own=tariff.plays,
        paid_micro=so_far.paid_micro,
        paid_money_micro=founding.credit_price.value_micro(so_far.paid_micro),
        left_micro=left_micro,
        left_money_micro=founding.credit_price.value_micro(left_micro),
        owned=tariff.owns(so_far),
        owned_at=row.owned_at,
    )
