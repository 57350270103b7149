"""Splits: versions by epoch, consent by each payee, and holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from uuid import UUID

from sqlalchemy import delete, select, text, update
from sqlalchemy.orm import Session

from ledger.errors import DomainError
from ledger.ids import new_id
from ledger.royalties import Share, check_split
from ledger.store import closing, commitments
from ledger.store.batches import open_batch
from ledger.store.closing import TrackEpoch
from ledger.store.settling import wait_for_tracks
from ledger.store.terms import Founding
from streamcoop.accounts import service as accounts
from streamcoop.catalogue import lookup
from streamcoop.errors import NotFound
from streamcoop.problems import register
from streamcoop.royalties.models import Hold, Split, SplitShare

WHOLE_BP = 10_000
NO_CONSENT = "no-consent"
HELD = "held"
"""What is left of the reason of a hold once it is to name nobody."""
# A payee's hold may reach every track of a label. So many (track, payee) are released in one transaction.
RELEASES_A_TIME = 100


class UnknownPayee(DomainError):
    """A payee needs an account before she can be given a share."""


class HoldWhat(DomainError):
    """A hold is on one track or on one payee."""


class HeldAlready(DomainError):
    """This is held already."""


register({UnknownPayee: HTTPStatus.BAD_REQUEST, HoldWhat: HTTPStatus.BAD_REQUEST, HeldAlready: HTTPStatus.CONFLICT})


def propose(
    session: Session,
    founding: Founding,
    owner: UUID,
    track_id: UUID,
    shares: Sequence[tuple[str, int]],
    now: datetime,
) -> tuple[Split, list[SplitShare]]:
    """A new split of one's own track over (e-mail, basis points), in force from the next epoch's start.

    The owner consents by proposing. Raises NotFound for another's track, UnknownPayee, and
    SharesDoNotAddUp.
    """
    lookup.require_own_track(session, owner, track_id)
    payees = []
    for email, share_bp in shares:
        try:
            payees.append((accounts.user_by_email(session, email).id, share_bp))
        except NotFound as unknown:
            raise UnknownPayee(field="payee_email", payee_email=email) from unknown
    check_split([Share(str(payee), share_bp) for payee, share_bp in payees])
    split = Split(
        id=new_id(),
        track_id=track_id,
        effective_epoch=founding.calendar.epoch_at(now) + 1,
        proposed_by=owner,
        proposed_at=now,
    )
    session.add(split)
    session.flush()
    rows = [
        SplitShare(split_id=split.id, payee=payee, share_bp=bp, consented_at=now if payee == owner else None)
        for payee, bp in payees
    ]
    session.add_all(rows)
    session.flush()
    # In the order in which a close pays them.
    ordered = sorted(payees)
    conn = session.connection()
    commitments.tell_splits(
        conn, open_batch(conn), [commitments.ToldSplit(split.id, track_id, split.effective_epoch, ordered)]
    )
    return split, rows


def versions(session: Session, track_id: UUID) -> list[tuple[Split, list[SplitShare]]]:
    """All splits of a track, newest first."""
    splits = list(
        session.scalars(
            select(Split).where(Split.track_id == track_id).order_by(Split.effective_epoch.desc(), Split.id.desc())
        )
    )
    shares: dict[UUID, list[SplitShare]] = {split.id: [] for split in splits}
    for share in session.scalars(select(SplitShare).where(SplitShare.split_id.in_(shares)).order_by(SplitShare.payee)):
        shares[share.split_id].append(share)
    return [(split, shares[split.id]) for split in splits]


def waiting_for_consent(session: Session, payee: UUID) -> list[tuple[Split, SplitShare]]:
    """The shares that a payee has not consented to."""
    rows = session.execute(
        select(Split, SplitShare)
        .join(SplitShare, SplitShare.split_id == Split.id)
        .where(SplitShare.payee == payee, SplitShare.consented_at.is_(None))
        .order_by(Split.id)
    )
    return [(split, share) for split, share in rows]


def consent(session: Session, payee: UUID, split_id: UUID, now: datetime) -> int:
    """Consent to a share; what was held for want of it is released. Returns the micro-units released.

    Safe to repeat. Raises NotFound where the payee has no share in that split.
    """
    _take_turns(session)
    given = session.execute(
        update(SplitShare)
        .where(SplitShare.split_id == split_id, SplitShare.payee == payee)
        .values(consented_at=text("coalesce(consented_at, :now)").bindparams(now=now))
        .returning(SplitShare.split_id)
    ).first()
    split = session.get(Split, split_id)
    if given is None or split is None:
        raise NotFound
    return _release(session, split.track_id, payee, now)


def _take_turns(session: Session) -> None:
    """Wait for closes and for whoever else takes a reason to hold away, until this transaction ends.

    Of two such changes at once each would see the other's reason still standing, and nobody would release the money.
    """
    wait_for_tracks(session.connection())


def _release(session: Session, track_id: UUID, payee: UUID, now: datetime) -> int:
    """Pay a payee's held lines of a track as far as nothing holds them now, by each epoch's own split."""
    held = session.scalars(_HELD_EPOCHS, {"track": track_id, "payee": payee})
    tracks = [TrackEpoch(epoch, track_id) for epoch in held]
    if not tracks:
        return 0
    free = [
        track.epoch
        for track, shares in splits_of(session, tracks).items()
        if all(share.held_because is None for share in shares if share.payee == str(payee))
    ]
    return closing.release(session.connection(), track_id, payee, now, free)


_HELD_EPOCHS = text("""
    select distinct c.epoch from ledger.royalty_line l
      join ledger.track_close c on c.id = l.track_close_id
     where c.track_id = :track and l.payee = :payee and l.held_because is not null
       and not exists (select from ledger.royalty_release r where r.royalty_line_id = l.id)
""")


def place_hold(
    session: Session, by: UUID, track_id: UUID | None, payee_email: str | None, reason: str, now: datetime
) -> Hold:
    """Hold a track's or a payee's money from the next close on. Raises HoldWhat, NotFound, HeldAlready."""
    if (track_id is None) == (payee_email is None):
        raise HoldWhat(fields=["track_id", "payee_email"])
    payee = accounts.user_by_email(session, payee_email).id if payee_email else None
    if track_id and track_id not in lookup.owners_of(session, {track_id}):
        raise NotFound
    same = Hold.payee == payee if payee else Hold.track_id == track_id
    # What a hold that was lifted has not released yet is held again.
    session.execute(delete(Hold).where(same, Hold.lifted_at.is_not(None)))
    held = session.scalar(select(Hold.id).where(same))
    if held:
        raise HeldAlready(id=str(held))
    hold = Hold(id=new_id(), track_id=track_id, payee=payee, reason=reason, placed_by=by, placed_at=now)
    session.add(hold)
    return hold


def holds(session: Session) -> list[Hold]:
    """Everything that is held."""
    return list(session.scalars(select(Hold).where(Hold.lifted_at.is_(None)).order_by(Hold.id)))


@dataclass(frozen=True, slots=True)
class HeldPair:
    """A payee's part of a track, of which some is held."""

    track_id: UUID
    payee: UUID


def lift_hold(session: Session, hold_id: UUID, now: datetime) -> None:
    """Lift a hold, and pay what nothing else holds: the first RELEASES_A_TIME at once, a worker the rest.

    Raises NotFound.
    """
    _take_turns(session)
    unlifted = update(Hold).where(Hold.id == hold_id, Hold.lifted_at.is_(None))
    if session.execute(unlifted.values(lifted_at=now).returning(Hold.id)).first() is None:
        raise NotFound
    release_lifted(session, hold_id, now)


def lifted_holds(session: Session) -> list[UUID]:
    """Holds that are lifted and may not have released everything yet."""
    return list(session.scalars(select(Hold.id).where(Hold.lifted_at.is_not(None)).order_by(Hold.id)))


def release_lifted(session: Session, hold_id: UUID, now: datetime, after: HeldPair | None = None) -> HeldPair | None:
    """Pay what a lifted hold kept back and nothing else holds: the next RELEASES_A_TIME pairs after `after`.

    Returns the last pair looked at, to go on from, or None when none is left. Safe to repeat.
    """
    _take_turns(session)
    lifted = session.scalar(select(Hold).where(Hold.id == hold_id, Hold.lifted_at.is_not(None)))
    if lifted is None:
        return None
    start = after or HeldPair(UUID(int=0), UUID(int=0))
    of = {"track": lifted.track_id, "payee": lifted.payee}
    from_there = {"after_track": start.track_id, "after_payee": start.payee, "limit": RELEASES_A_TIME + 1}
    waiting = [HeldPair(row.track_id, row.payee) for row in session.execute(_HELD, of | from_there)]
    for pair in waiting[:RELEASES_A_TIME]:
        _release(session, pair.track_id, pair.payee, now)
    if len(waiting) <= RELEASES_A_TIME:
        session.delete(lifted)
        return None
    return waiting[RELEASES_A_TIME - 1]


_HELD = text("""
    select distinct c.track_id, l.payee from ledger.royalty_line l
      join ledger.track_close c on c.id = l.track_close_id
     where l.held_because is not null and (c.track_id = :track or l.payee = :payee)
       and (c.track_id, l.payee) > (:after_track, :after_payee)
       and not exists (select from ledger.royalty_release r where r.royalty_line_id = l.id)
     order by c.track_id, l.payee limit :limit
""")


def splits_of(session: Session, tracks: Sequence[TrackEpoch]) -> dict[TrackEpoch, Sequence[Share]]:
    """The split in force for each (track, epoch), with what holds each share: what a close asks for.

    A track without a split pays its artist alone.
    """
    track_ids = {track.track_id for track in tracks}
    owners = lookup.owners_of(session, track_ids)
    held_tracks, held_payees = _held(session)
    by_track: dict[UUID, list[tuple[int, list[SplitShare]]]] = {}
    shares: dict[UUID, list[SplitShare]] = {}
    for share in session.scalars(
        select(SplitShare).join(Split, Split.id == SplitShare.split_id).where(Split.track_id.in_(track_ids))
    ):
        shares.setdefault(share.split_id, []).append(share)
    newest_first = (
        select(Split).where(Split.track_id.in_(track_ids)).order_by(Split.effective_epoch.desc(), Split.id.desc())
    )
    for split in session.scalars(newest_first):
        by_track.setdefault(split.track_id, []).append((split.effective_epoch, shares[split.id]))

    def held_because(track: TrackEpoch, payee: UUID, consented: bool) -> str | None:
        unconsented = None if consented else NO_CONSENT
        return held_tracks.get(track.track_id) or held_payees.get(payee) or unconsented

    result: dict[TrackEpoch, Sequence[Share]] = {}
    for track in tracks:
        in_force = next((s for epoch, s in by_track.get(track.track_id, []) if epoch <= track.epoch), None)
        if in_force is None:
            owner = owners[track.track_id]
            result[track] = (Share(str(owner), WHOLE_BP, held_because(track, owner, True)),)
        else:
            ordered = sorted(in_force, key=lambda share: share.payee)
            result[track] = tuple(
                Share(str(s.payee), s.share_bp, held_because(track, s.payee, s.consented_at is not None))
                for s in ordered
            )
    return result


def _held(session: Session) -> tuple[dict[UUID, str], dict[UUID, str]]:
    placed = holds(session)
    tracks = {hold.track_id: hold.reason for hold in placed if hold.track_id}
    payees = {hold.payee: hold.reason for hold in placed if hold.payee}
    return tracks, payees
