"""The name of the log, given once and kept for good."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

from streamcoop.settings import Settings
from streamcoop.transparency.keys import origin_of


def name_log(session: Session, settings: Settings) -> str:
    """The log's origin; what the settings call it, if it has no name yet."""
    naming = text("insert into ledger.log_name (origin) values (:origin) on conflict do nothing")
    session.execute(naming, {"origin": origin_of(settings)})
    return str(session.scalar(text("select origin from ledger.log_name")))


def origin(session: Session, settings: Settings) -> str:
    """The log's origin, also before it is written down."""
    return session.scalar(text("select origin from ledger.log_name")) or origin_of(settings)
