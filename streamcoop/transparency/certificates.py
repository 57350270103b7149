"""Certificates of the tracks a listener owns, made whenever she asks: nothing is kept of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from ledger import certificate
from ledger.certificate import Certificate
from ledger.errors import DomainError
from ledger.store import owning
from ledger.store.owning import Owned
from ledger.store.terms import Founding
from streamcoop.catalogue import lookup
from streamcoop.catalogue import service as catalogue
from streamcoop.errors import NotFound
from streamcoop.problems import register
from streamcoop.transparency.receipts import Log, LogNotSigned, NotYetTold

PAGE_MAX = 200


class NotOwned(DomainError):
    """You do not own this track: nobody can certify it."""


register({NotOwned: HTTPStatus.CONFLICT})


@dataclass(frozen=True, slots=True)
class Certified:
    """A track she owns, and the signed note that says so."""

    track_id: UUID
    title: str
    artist: str
    owned_at: datetime
    note: str


def of_track(session: Session, log: Log, founding: Founding, listener_id: UUID, track_id: UUID, now: datetime) -> str:
    """A certificate that she owns this track. Raises NotFound, NotOwned, LogNotSigned and NotYetTold."""
    calendar = founding.calendar
    found = owning.owns(session.connection(), calendar, listener_id, calendar.epoch_at(now), track_id)
    if found is None:
        catalogue.track(session, listener_id, track_id)
        raise NotOwned
    certified = _certified(session, log, [found])
    if not certified:
        raise NotFound
    return certified[0].note


def of_listener(
    session: Session, log: Log, founding: Founding, listener_id: UUID, after: UUID | None, page: int, now: datetime
) -> tuple[list[Certified], UUID | None]:
    """Certificates of the tracks she owns, by their ids after `after`, and where the next page begins.

    Raises LogNotSigned and NotYetTold.
    """
    calendar = founding.calendar
    found = owning.owned(session.connection(), calendar, listener_id, calendar.epoch_at(now), after, page + 1)
    return _certified(session, log, found[:page]), found[page - 1].track_id if len(found) > page else None


def _certified(session: Session, log: Log, owned: Sequence[Owned]) -> list[Certified]:
    if not log.keys.own:
        raise LogNotSigned
    if not log.keys.is_known:
        raise NotYetTold
    track_ids = {each.track_id for each in owned}
    titles = lookup.titles(session, track_ids)
    digests = {recording.track_id: recording.sha256 for recording in lookup.recordings(session, track_ids)}
    certified = []
    for each in owned:
        title = titles.get(each.track_id)
        if title is None:
            continue
        told = Certificate(
            origin=log.origin,
            track=each.track_id,
            sha256=digests[each.track_id],
            title=title.title,
            artist=title.artist,
            owned_at=int(each.owned_at.timestamp()),
            # Of no time, as a UUIDv7 is.
            certificate=uuid4(),
        )
        note = certificate.make(told, log.keys.own)
        certified.append(Certified(each.track_id, title.title, title.artist, each.owned_at, note))
    return certified
