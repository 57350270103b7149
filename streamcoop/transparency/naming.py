"""The name of the log, given once and kept for good, unless a stolen key ends it: then it goes on under another."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

from ledger.store import continuing
from streamcoop.settings import Settings
from streamcoop.transparency.keys import origin_of


def name_log(session: Session, settings: Settings) -> str:
    """The log's origin; what the settings call it, if it has no name yet."""
    naming = text("insert into ledger.log_name (origin) values (:origin) on conflict do nothing")
    session.execute(naming, {"origin": origin_of(settings)})
    return origin(session, settings)


def origin(session: Session, settings: Settings) -> str:
    """The log's origin, also before it is written down."""
    later = continuing.continued(session.connection())
    return later[-1].origin if later else first_origin(session, settings)


def first_origin(session: Session, settings: Settings) -> str:
    """What the log was called at its first entry, which tells it."""
    return session.scalar(text("select origin from ledger.log_name")) or origin_of(settings)
