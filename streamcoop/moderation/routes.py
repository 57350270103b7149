"""Moderation over HTTP."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from streamcoop.accounts.principals import Artist, Operator, SignedIn
from streamcoop.catalogue.takedown import Subject
from streamcoop.clock import Now
from streamcoop.database import Transaction
from streamcoop.errors import NotFound, NotPermitted, NotSignedIn
from streamcoop.moderation import answering, service
from streamcoop.moderation.schemas import (
    AppealedOut,
    DecisionOut,
    DecisionPage,
    NewAppeal,
    NewAppealDecision,
    NewDecision,
    NewReport,
    ReportMade,
    ReportOut,
)
from streamcoop.problems import answers

router = APIRouter(prefix="/api/v1", tags=["moderation"])
_PERSONAL = (NotSignedIn, NotPermitted)


@router.post(
    "/moderation/reports",
    status_code=201,
    responses=answers(*_PERSONAL, NotFound, service.ReportWhat, service.ReportedAlready, service.TooManyReports),
)
def report(new: NewReport, reporter: SignedIn, session: Transaction, now: Now) -> ReportMade:
    """Report a track or a release that should not be here."""
    subject = Subject(new.track_id, new.release_id)
    made = service.report(session, reporter.user_id, subject, new.ground, new.text, now)
    return ReportMade(id=made.id, reported_at=made.reported_at)


@router.get("/moderation/reports", responses=answers(*_PERSONAL))
def open_reports(
    _: Operator, session: Transaction, limit: Annotated[int, Query(ge=1, le=service.REPORTS_LISTED_MAX)] = 50
) -> list[ReportOut]:
    """Reports that wait for an answer, the earliest first."""
    return answering.reports(session, service.open_reports(session, limit))


@router.post(
    "/moderation/reports/{report_id}/decision",
    status_code=201,
    responses=answers(*_PERSONAL, NotFound, service.ReportAnswered, service.OwnMusic, service.TakenDownAlready),
)
def decide(report_id: UUID, new: NewDecision, operator: Operator, session: Transaction, now: Now) -> DecisionOut:
    """Dismiss a report, or take down what it is about. The reason is published.

    What is taken down is heard, found and published by nobody any more. Those who own it keep it, unless the ground is
    `copyright` or `unlawful`. All reports of it are answered with it. Royalties of past plays stay as they are.
    """
    decided = service.decide(session, operator.user_id, report_id, new.outcome, new.ground, new.reason, now)
    return answering.decisions(session, [decided])[0]


@router.get("/moderation")
def decisions(
    session: Transaction,
    cursor: Annotated[UUID | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=service.DECISIONS_LISTED_MAX)] = 50,
) -> DecisionPage:
    """What was decided on reports, with the reasons, the latest first. Who reported is told to nobody."""
    found = service.decisions(session, cursor, limit + 1)
    page = found[:limit]
    next_cursor = page[-1].id if len(found) > limit else None
    return DecisionPage(items=answering.decisions(session, page), next_cursor=next_cursor)


@router.get("/me/moderation", responses=answers(*_PERSONAL))
def own(artist: Artist, session: Transaction) -> list[DecisionOut]:
    """What was taken down of your music, and why, the latest first."""
    return answering.decisions(session, service.of_owner(session, artist.user_id))


@router.get("/moderation/appeals", responses=answers(*_PERSONAL))
def open_appeals(
    operator: Operator, session: Transaction, limit: Annotated[int, Query(ge=1, le=service.APPEALS_LISTED_MAX)] = 50
) -> list[AppealedOut]:
    """Appeals that wait for an answer, the earliest first."""
    return answering.appealed(session, service.open_appeals(session, limit), operator.user_id)


@router.post(
    "/moderation/{decision_id}/appeal",
    status_code=201,
    responses=answers(*_PERSONAL, NotFound, service.NothingToAppeal, service.AppealedAlready),
)
def appeal(decision_id: UUID, new: NewAppeal, artist: Artist, session: Transaction, now: Now) -> DecisionOut:
    """Appeal against a takedown of your music: once, and another operator decides."""
    appealed = service.appeal(session, artist.user_id, decision_id, new.text, now)
    return answering.decisions(session, [appealed])[0]


@router.post(
    "/moderation/{decision_id}/appeal/decision",
    status_code=201,
    responses=answers(*_PERSONAL, NotFound, service.NothingToAppeal, service.OwnDecision, service.OwnMusic),
)
def decide_appeal(
    decision_id: UUID, new: NewAppealDecision, operator: Operator, session: Transaction, now: Now
) -> DecisionOut:
    """Uphold a takedown, or restore what was taken down. The reason is published."""
    decided = service.decide_appeal(session, operator.user_id, decision_id, new.outcome, new.reason, now)
    return answering.decisions(session, [decided])[0]
