"""Reports and decisions as requests are answered with them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from streamcoop.catalogue import takedown
from streamcoop.catalogue.takedown import Named
from streamcoop.moderation.models import Decision, Report
from streamcoop.moderation.schemas import AppealedOut, AppealOut, DecisionOut, HeardTrack, ReportOut, SubjectOut
from streamcoop.moderation.service import subject_of


def reports(session: Session, rows: Sequence[Report]) -> list[ReportOut]:
    """Reports as operators see them, without whose they are."""
    subjects = {subject_of(row) for row in rows}
    named, heard = takedown.named(session, subjects), takedown.tracks_of(session, subjects)
    return [
        ReportOut(
            id=row.id,
            subject=_subject(named[subject_of(row)]),
            tracks=_heard(heard[subject_of(row)]),
            ground=row.ground,
            text=row.text,
            reported_at=row.reported_at,
        )
        for row in rows
    ]


def decisions(session: Session, rows: Sequence[Decision]) -> list[DecisionOut]:
    """Decisions as everybody sees them."""
    named = takedown.named(session, {subject_of(row) for row in rows})
    return [
        DecisionOut(
            id=row.id,
            subject=_subject(named[subject_of(row)]),
            outcome=row.outcome,
            ground=row.ground,
            reason=row.reason,
            decided_at=row.decided_at,
            appeal=_appeal(row),
        )
        for row in rows
    ]


def appealed(session: Session, rows: Sequence[Decision], operator_id: UUID) -> list[AppealedOut]:
    """Takedowns that were appealed against, as this operator sees them."""
    heard = takedown.tracks_of(session, {subject_of(row) for row in rows})
    return [
        AppealedOut(
            **dict(seen),
            tracks=_heard(heard[subject_of(row)]),
            appeal_text=row.appeal_text or "",
            decided_by_you=row.decided_by == operator_id,
        )
        for seen, row in zip(decisions(session, rows), rows, strict=True)
    ]


def _heard(tracks: Sequence[tuple[UUID, str]]) -> list[HeardTrack]:
    return [HeardTrack(id=track_id, title=title) for track_id, title in tracks]


def _subject(named: Named) -> SubjectOut:
    return SubjectOut(kind=named.kind, id=named.id, title=named.title, artist_id=named.artist_id, artist=named.artist)


def _appeal(row: Decision) -> AppealOut | None:
    if row.appealed_at is None:
        return None
    return AppealOut(
        appealed_at=row.appealed_at,
        outcome=row.appeal_outcome,
        reason=row.appeal_reason,
        decided_at=row.appeal_decided_at,
    )
