"""Reporting music, answering reports, and appeals: every decision with a reason that everybody reads."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select, text, update
from sqlalchemy.orm import Session

from ledger.errors import DomainError
from ledger.ids import new_id
from streamcoop.catalogue import takedown
from streamcoop.catalogue.models import Artist, Release, TakenDownAs, Track
from streamcoop.catalogue.takedown import Named, Subject
from streamcoop.errors import NotFound
from streamcoop.moderation.models import AppealOutcome, Decision, Ground, Outcome, Report
from streamcoop.problems import register

OPEN_REPORTS_MAX = 20
REPORTS_LISTED_MAX = 200
DECISIONS_LISTED_MAX = 100
APPEALS_LISTED_MAX = 200
OWN_LISTED_MAX = 200
# What infringes or is forbidden may not be kept by those who bought it either: nobody had the right to sell it.
REMOVED_GROUNDS: frozenset[Ground] = frozenset({"copyright", "unlawful"})


class ReportWhat(DomainError):
    """A report is of one track or of one release."""


class ReportedAlready(DomainError):
    """You have reported this, and it is not answered yet."""


class TooManyReports(DomainError):
    """You have as many reports open as one account may have: wait until some are answered."""


class ReportAnswered(DomainError):
    """This report is answered already."""


class OwnMusic(DomainError):
    """Nobody decides about her own music."""


class TakenDownAlready(DomainError):
    """This is taken down already."""


class AppealedAlready(DomainError):
    """You have appealed against this before: once is what there is."""


class NothingToAppeal(DomainError):
    """There is no takedown here that an appeal could be made against, or decided on."""


class OwnDecision(DomainError):
    """You took this down yourself: another operator decides the appeal."""


register(
    {
        ReportWhat: HTTPStatus.BAD_REQUEST,
        ReportedAlready: HTTPStatus.CONFLICT,
        TooManyReports: HTTPStatus.CONFLICT,
        ReportAnswered: HTTPStatus.CONFLICT,
        OwnMusic: HTTPStatus.FORBIDDEN,
        TakenDownAlready: HTTPStatus.CONFLICT,
        AppealedAlready: HTTPStatus.CONFLICT,
        NothingToAppeal: HTTPStatus.CONFLICT,
        OwnDecision: HTTPStatus.FORBIDDEN,
    }
)


def taken_down_as(ground: Ground) -> TakenDownAs:
    """Whether what is taken down on this ground stays with those who own it (`hidden`) or is `removed`."""
    return "removed" if ground in REMOVED_GROUNDS else "hidden"


def subject_of(row: Report | Decision) -> Subject:
    """What a report or a decision is about."""
    return Subject(row.track_id, row.release_id)


# --- Reporting ---


def report(session: Session, reporter_id: UUID, subject: Subject, ground: Ground, why: str, now: datetime) -> Report:
    """Report something that everybody can hear. Raises ReportWhat, NotFound, ReportedAlready, TooManyReports."""
    if (subject.track_id is None) == (subject.release_id is None):
        raise ReportWhat(fields=["track_id", "release_id"])
    takedown.require_public(session, subject)
    # There may be no row yet that could be locked instead.
    lock = text("select pg_advisory_xact_lock(hashtextextended(:user, 0))")
    session.execute(lock, {"user": f"reports {reporter_id}"})
    own = select(func.count()).where(Report.reporter_id == reporter_id, Report.decision_id.is_(None))
    if session.scalar(own.where(_about(Report, subject))):
        raise ReportedAlready
    if (session.scalar(own) or 0) >= OPEN_REPORTS_MAX:
        raise TooManyReports(reports_max=OPEN_REPORTS_MAX)
    made = Report(
        id=new_id(),
        reporter_id=reporter_id,
        track_id=subject.track_id,
        release_id=subject.release_id,
        ground=ground,
        text=why,
        reported_at=now,
    )
    session.add(made)
    return made


def _about(table: type[Report | Decision], subject: Subject) -> ColumnElement[bool]:
    if subject.track_id:
        return table.track_id == subject.track_id
    return table.release_id == subject.release_id


def open_reports(session: Session, most: int) -> list[Report]:
    """Reports that wait for an answer, the earliest first."""
    return list(session.scalars(select(Report).where(Report.decision_id.is_(None)).order_by(Report.id).limit(most)))


def waiting(session: Session) -> tuple[int, int]:
    """How many reports, and how many appeals, wait for an operator."""
    reports = session.scalar(select(func.count()).select_from(Report).where(Report.decision_id.is_(None)))
    appeals = session.scalar(select(func.count()).select_from(Decision).where(*_APPEALED))
    return reports or 0, appeals or 0


# --- Deciding ---


def decide(
    session: Session, operator_id: UUID, report_id: UUID, outcome: Outcome, ground: Ground, reason: str, now: datetime
) -> Decision:
    """Answer a report. Taking something down answers whatever else is reported of it too, and of a release's tracks.

    Raises NotFound, ReportAnswered, OwnMusic, TakenDownAlready.
    """
    answered = session.scalar(select(Report).where(Report.id == report_id).with_for_update())
    if answered is None:
        raise NotFound
    if answered.decision_id is not None:
        raise ReportAnswered
    subject = subject_of(answered)
    about = _named(session, subject)
    if about.owner_id == operator_id:
        raise OwnMusic
    decision = Decision(
        id=new_id(),
        track_id=subject.track_id,
        release_id=subject.release_id,
        outcome=outcome,
        ground=ground,
        reason=reason,
        was_published=False,
        decided_by=operator_id,
        decided_at=now,
    )
    if outcome == "taken-down":
        if about.taken_down:
            raise TakenDownAlready
        decision.was_published = takedown.take_down(session, subject, taken_down_as(ground))
    session.add(decision)
    session.flush()
    these = Report.id == report_id if outcome == "dismissed" else _within(session, subject)
    session.execute(update(Report).where(Report.decision_id.is_(None), these).values(decision_id=decision.id))
    # Whoever has erased her account leaves nothing behind that is not needed any more.
    nobodys = update(Report).where(Report.decision_id == decision.id, Report.reporter_id.is_(None))
    session.execute(nobodys.values(text=""))
    return decision


def _within(session: Session, subject: Subject) -> ColumnElement[bool]:
    """Reports of something, or of what is in it."""
    tracks = [track_id for track_id, _ in takedown.tracks_of(session, [subject])[subject]]
    return or_(_about(Report, subject), Report.track_id.in_(tracks))


def _named(session: Session, subject: Subject) -> Named:
    found = takedown.named(session, [subject]).get(subject)
    if found is None:
        raise NotFound
    return found


def decisions(session: Session, before: UUID | None, most: int) -> list[Decision]:
    """All decisions, the latest first, from the one before `before` on."""
    found = select(Decision).order_by(Decision.id.desc()).limit(most)
    return list(session.scalars(found if before is None else found.where(Decision.id < before)))


def of_owner(session: Session, owner_id: UUID) -> list[Decision]:
    """What was taken down of an account's music, the latest first, also where it was restored."""
    artists = select(Artist.id).where(Artist.owner_id == owner_id)
    tracks = select(Track.id).where(Track.artist_id.in_(artists))
    releases = select(Release.id).where(Release.artist_id.in_(artists))
    hers = or_(Decision.track_id.in_(tracks), Decision.release_id.in_(releases))
    found = select(Decision).where(hers, Decision.outcome == "taken-down").order_by(Decision.id.desc())
    return list(session.scalars(found.limit(OWN_LISTED_MAX)))


# --- Appeals ---

_APPEALED = (Decision.appealed_at.is_not(None), Decision.appeal_outcome.is_(None))


def appeal(session: Session, owner_id: UUID, decision_id: UUID, why: str, now: datetime) -> Decision:
    """Appeal, once, against a takedown of one's own music. Raises NotFound, NothingToAppeal, AppealedAlready."""
    decision = _locked(session, decision_id)
    if _named(session, subject_of(decision)).owner_id != owner_id:
        raise NotFound
    if decision.outcome != "taken-down":
        raise NothingToAppeal
    if decision.appealed_at is not None:
        raise AppealedAlready
    decision.appealed_by, decision.appeal_text, decision.appealed_at = owner_id, why, now
    return decision


def open_appeals(session: Session, most: int) -> list[Decision]:
    """Appeals that wait for an answer, the earliest first."""
    return list(session.scalars(select(Decision).where(*_APPEALED).order_by(Decision.appealed_at).limit(most)))


def decide_appeal(
    session: Session, operator_id: UUID, decision_id: UUID, outcome: AppealOutcome, reason: str, now: datetime
) -> Decision:
    """Decide an appeal, as another operator than the one who took it down.

    A release that is restored is published again if it was. Raises NotFound, NothingToAppeal, OwnDecision, OwnMusic.
    """
    decision = _locked(session, decision_id)
    if decision.appealed_at is None or decision.appeal_outcome is not None:
        raise NothingToAppeal
    if decision.decided_by == operator_id:
        raise OwnDecision
    subject = subject_of(decision)
    if _named(session, subject).owner_id == operator_id:
        raise OwnMusic
    decision.appeal_outcome, decision.appeal_reason = outcome, reason
    decision.appeal_decided_by, decision.appeal_decided_at = operator_id, now
    if outcome == "restored":
        # Whoever has erased her account publishes nothing any more.
        takedown.restore(session, subject, decision.was_published and decision.appealed_by is not None)
    return decision


def _locked(session: Session, decision_id: UUID) -> Decision:
    found = session.scalar(select(Decision).where(Decision.id == decision_id).with_for_update())
    if found is None:
        raise NotFound
    return found


# --- Of somebody who goes ---


def forget(session: Session, user_id: UUID) -> None:
    """Nobody knows any more who reported or appealed. Safe to repeat.

    What is still to be answered keeps its text until it is; all else of hers is emptied.
    """
    reports = update(Report).where(Report.reporter_id == user_id)
    session.execute(reports.where(Report.decision_id.is_not(None)).values(text=""))
    session.execute(reports.values(reporter_id=None))
    appeals = update(Decision).where(Decision.appealed_by == user_id)
    session.execute(appeals.values(appealed_by=None, appeal_text=""))
