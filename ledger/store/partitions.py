"""Partitions of the play rows: a calendar month each, made ahead of time.

A play that finds no partition of its own goes to `play_rest`, so a late timetable loses nothing.
The service's role may not create tables: the schema's function does it with the owner's rights.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, text

from ledger.epochs import Calendar
from ledger.ids import lowest_id

MONTHS_AHEAD = 3
# A new partition waits for whoever reads the plays, a backup for instance, and every recording waits behind it.
LOCK_WAIT_MS_MAX = 500

_ADD = text("select ledger.add_play_partition(:name, :low, :high)")


def ensure_partitions(conn: Connection, now: datetime, months_ahead: int = MONTHS_AHEAD) -> list[str]:
    """Make this month's partition and those of the months ahead; returns the names of new ones.

    Raises SQLAlchemy's OperationalError while somebody reads the plays for longer: there are months to try again.
    """
    conn.execute(text(f"set local lock_timeout = '{LOCK_WAIT_MS_MAX}ms'"))
    calendar, made = Calendar(), []
    this_month = calendar.epoch_at(now)
    for month in range(this_month, this_month + months_ahead + 1):
        low, high = lowest_id(calendar.starts_at(month)), lowest_id(calendar.ends_at(month))
        name = f"play_{calendar.label(month).replace('-', '_')}"
        if conn.scalar(text("select to_regclass(:name)"), {"name": f"ledger.{name}"}) is not None:
            continue
        if conn.scalar(_ADD, {"name": name, "low": low, "high": high}):
            made.append(name)
    return made
