"""What the database knows of a rendering: who works on which track, what is done, and when to try again.

A worker holds a track by a lease that it renews. Whatever a worker writes is written only while the lease is its own,
so one that was thought dead and comes back changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.orm import Session

from ledger.errors import DomainError
from ledger.ids import new_id
from streamcoop.adapters import audio
from streamcoop.catalogue import storage
from streamcoop.catalogue.models import Rendition, RenditionCodec, Track
from streamcoop.problems import slug

LEASE = timedelta(seconds=60)
ATTEMPTS_MAX = 6
# 1, 4, 16, 64 and 256 minutes after the attempts that failed.
BACKOFF = timedelta(minutes=1)
BACKOFF_BASE = 4
PUT_OFF_MAX = BACKOFF * BACKOFF_BASE ** (ATTEMPTS_MAX - 2)
# Longer than a busy queue takes: asking again does no harm, but fills the queue.
ASK_AGAIN_AFTER = timedelta(minutes=10)


class LeaseLost(Exception):
    """The track is no longer this worker's: deleted, or taken over by another."""


class NotRendered(DomainError):
    """The recording could not be processed, though it was tried several times: delete it and upload it again."""


@dataclass(frozen=True, slots=True)
class Work:
    """A track to render, held by `lease`. `done` are the renditions that are finished: codec to length in ms."""

    track_id: UUID
    lease: UUID
    attempt: int
    original: str
    done: dict[str, int]


def claim(session: Session, track_id: UUID, now: datetime) -> Work | None:
    """Take a track to render. None: there is nothing to do, it is not due yet, or another worker holds it.

    A track that was taken ATTEMPTS_MAX times without an end fails: it kills its workers.
    """
    track = session.scalar(
        select(Track)
        .where(Track.id == track_id, Track.state == "processing", _is_free(now))
        .with_for_update(skip_locked=True)
    )
    if track is None:
        return None
    if track.attempts >= ATTEMPTS_MAX:
        _fail(track, NotRendered())
        return None
    track.attempts += 1
    track.lease, track.leased_until, track.due_at = new_id(), now + LEASE, now
    done = session.execute(select(Rendition.codec, Rendition.duration_ms).where(Rendition.track_id == track_id))
    return Work(track_id, track.lease, track.attempts, track.original, dict(done.all()))


def renew(session: Session, work: Work, now: datetime) -> None:
    """Hold the track for another LEASE. Raises LeaseLost."""
    held = update(Track).where(Track.id == work.track_id, Track.lease == work.lease).values(leased_until=now + LEASE)
    if session.execute(held.returning(Track.id)).first() is None:
        raise LeaseLost


def add_rendition(session: Session, work: Work, codec: RenditionCodec, made: audio.Rendition) -> None:
    """A rendition's object is in the store. Raises LeaseLost."""
    _held(session, work)
    session.add(
        Rendition(
            id=new_id(),
            track_id=work.track_id,
            codec=codec,
            object_key=storage.rendition_key(work.track_id, codec),
            content_type=made.content_type,
            size=made.size,
            duration_ms=made.duration_ms,
            bitrate=made.bitrate,
            header_bytes=made.header_bytes,
        )
    )


def finish(session: Session, work: Work, duration_ms: int, waveform: bytes | None) -> None:
    """All renditions are there: the track is ready. Raises LeaseLost."""
    track = _held(session, work)
    track.state, track.duration_ms, track.waveform = "ready", duration_ms, waveform
    track.lease = track.leased_until = track.due_at = None


def fail(session: Session, work: Work, problem: DomainError) -> None:
    """The track will never be ready. Raises LeaseLost."""
    _fail(_held(session, work), problem)


def put_off(session: Session, work: Work, problem: DomainError, now: datetime) -> None:
    """This attempt failed for a reason that may pass: try later, or fail after the last. Raises LeaseLost."""
    track = _held(session, work)
    if track.attempts >= ATTEMPTS_MAX:
        _fail(track, problem)
        return
    track.lease = None
    # Held by nobody until then: a request that was sent twice must not use up the attempts at once.
    track.leased_until = track.due_at = now + BACKOFF * BACKOFF_BASE ** (work.attempt - 1)


def due(session: Session, now: datetime, limit: int) -> list[UUID]:
    """Tracks to ask the media worker for, now. They are not due again before ASK_AGAIN_AFTER."""
    found = (
        select(Track.id)
        .where(Track.state == "processing", _is_due(now), _is_free(now))
        .order_by(Track.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    track_ids = list(session.scalars(found))
    session.execute(update(Track).where(Track.id.in_(track_ids)).values(due_at=now + ASK_AGAIN_AFTER))
    return track_ids


def unfinished(session: Session, count_max: int) -> tuple[int, datetime | None]:
    """How many recordings are not ready yet, counted up to `count_max`, and when the oldest of these was uploaded."""
    found = select(Track.uploaded_at).where(Track.state.in_(("storing", "processing"))).limit(count_max).subquery()
    count, oldest = session.execute(select(func.count(), func.min(found.c.uploaded_at))).one()
    return count, oldest


def _is_free(now: datetime) -> Any:
    # Held for longer than anybody holds a track: written by a clock that has been set back since.
    too_long = or_(and_(Track.lease.is_not(None), Track.leased_until > now + LEASE), _too_far(Track.leased_until, now))
    return or_(Track.leased_until.is_(None), Track.leased_until <= now, too_long)


def _is_due(now: datetime) -> Any:
    return or_(Track.due_at <= now, _too_far(Track.due_at, now))


def _too_far(at: Any, now: datetime) -> Any:
    return at > now + PUT_OFF_MAX


def _held(session: Session, work: Work) -> Track:
    """The track, locked, if the lease is still this worker's. Raises LeaseLost."""
    track = session.scalar(
        select(Track)
        .where(Track.id == work.track_id, Track.lease == work.lease, Track.state == "processing")
        .with_for_update()
    )
    if track is None:
        raise LeaseLost
    return track


def _fail(track: Track, problem: DomainError) -> None:
    kind = type(problem)
    track.state = "failed"
    track.problem = {
        "type": f"/problems/{slug(kind)}",
        "title": kind.__doc__ or "",
        "detail": str(problem.facts.get("detail", "")),
    }
    track.lease = track.leased_until = track.due_at = None
