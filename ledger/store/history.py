"""A listener's own plays, the youngest first. Of somebody who was erased there are none: her rows name nobody."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection, text

_HIGHEST = UUID(int=(1 << 128) - 1)


@dataclass(frozen=True, slots=True)
class Played:
    """A recorded play. `settled`: its price has left the wallet's balance; until then it is only set aside."""

    play_id: UUID
    track_id: UUID
    kind: Literal["play", "buyout"]
    ordinal: int
    price_micro: int
    recorded_at: datetime
    settled: bool


def plays(conn: Connection, listener_id: UUID, before: UUID | None, most: int) -> list[Played]:
    """Her plays by their ids, which are in the order they were opened in, down from `before`: settled or not."""
    asked = {"listener": listener_id, "before": before or _HIGHEST, "most": most}
    return [Played(*row) for row in conn.execute(_PLAYS, asked)]


# The queue is asked by listener, as its index has it: what waits of one is a handful.
_PLAYS = text("""
    select p.id, p.track_id, p.kind, p.ordinal, p.price_micro, p.recorded_at,
           not exists (select from ledger.play_queue q where q.listener_id = :listener and q.play_id = p.id)
      from ledger.play p
     where p.listener_id = :listener and p.id < :before
     order by p.id desc limit :most
""")
