"""Checking the books now and then: when it is due, and what came of it. `ledger/store/checking.py` adds up."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from ledger.ids import new_id
from ledger.store.checking import Report
from streamcoop.operations.models import BooksCheck

KEPT = timedelta(days=40)


@dataclass(frozen=True, slots=True)
class LastCheck:
    """The newest check that came to its end, and when one was last begun."""

    ended_at: datetime | None
    findings: int
    begun_at: datetime


def begin(session: Session, interval: timedelta, now: datetime) -> UUID | None:
    """Write down that a check begins now; None if the last one began less than an interval ago."""
    newest = session.scalar(select(func.max(BooksCheck.begun_at)))
    if newest is not None and newest > now - interval:
        return None
    session.execute(delete(BooksCheck).where(BooksCheck.begun_at < now - KEPT))
    check = BooksCheck(id=new_id(), begun_at=now)
    session.add(check)
    return check.id


def end(session: Session, check_id: UUID, report: Report, now: datetime) -> None:
    """Keep what came of a check."""
    check = session.get_one(BooksCheck, check_id)
    check.ended_at, check.findings = now, [asdict(finding) for finding in report.findings]
    check.transfers, check.plays = report.transfers, report.plays


def last(session: Session) -> LastCheck | None:
    """How the books stood when they were last added up; None before the first time."""
    begun_at = session.scalar(select(func.max(BooksCheck.begun_at)))
    if begun_at is None:
        return None
    ended = session.execute(
        select(BooksCheck.ended_at, BooksCheck.findings)
        .where(BooksCheck.ended_at.is_not(None))
        .order_by(BooksCheck.begun_at.desc())
        .limit(1)
    ).one_or_none()
    return LastCheck(ended.ended_at, len(ended.findings or []), begun_at) if ended else LastCheck(None, 0, begun_at)
