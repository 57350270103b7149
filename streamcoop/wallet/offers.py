"""What the next play of a track would cost somebody, and how far she is from owning it: shown before it starts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from ledger.store import recording, terms
from ledger.store.terms import Founding
from ledger.tariff import Progress


@dataclass(frozen=True, slots=True)
class Offer:
    """A track as it is offered: `plays` are paid of `plays_to_own`; money is the value of the credits."""

    plays: int
    plays_to_own: int
    owned: bool
    price_micro: int
    price_money_micro: int
    left_micro: int
    left_money_micro: int


def offers(
    conn: Connection, founding: Founding, listener_id: UUID | None, track_ids: Collection[UUID], now: datetime
) -> dict[UUID, Offer]:
    """The offer of each track to a listener, with what is recorded and not settled yet; to a visitor the first play."""
    epoch = founding.calendar.epoch_at(now)
    tariff, price = terms.in_force(conn, founding, epoch).tariff, founding.credit_price
    so_far = {} if listener_id is None else _progress(conn, listener_id, track_ids, epoch)
    offered = {}
    for track_id in track_ids:
        progress = so_far.get(track_id, Progress())
        next_micro, left_micro = tariff.next_price_micro(progress), tariff.left_micro(progress)
        offered[track_id] = Offer(
            plays=progress.plays,
            plays_to_own=tariff.plays,
            owned=tariff.owns(progress),
            price_micro=next_micro,
            price_money_micro=price.value_micro(next_micro),
            left_micro=left_micro,
            left_money_micro=price.value_micro(left_micro),
        )
    return offered


def _progress(conn: Connection, listener_id: UUID, track_ids: Collection[UUID], epoch: int) -> dict[UUID, Progress]:
    tracks = list(track_ids)
    asked = {"listeners": [listener_id] * len(tracks), "tracks": tracks, "epoch": epoch}
    rows = conn.exec_driver_sql(recording.PROGRESS, asked)
    return {track_id: Progress(plays, paid_micro, owned) for _, track_id, plays, paid_micro, owned in rows}
