"""Splits, statements and epochs over HTTP."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from ledger.errors import SharesDoNotAddUp
from streamcoop.accounts import service as accounts
from streamcoop.accounts.principals import Artist, Operator, RoyaltyPayee
from streamcoop.catalogue import lookup
from streamcoop.clock import Now
from streamcoop.csv import csv_of, csv_response
from streamcoop.database import Transaction
from streamcoop.errors import NotFound, NotPermitted, NotSignedIn
from streamcoop.founded import Founded
from streamcoop.problems import answers
from streamcoop.royalties import dashboard, splits, statements
from streamcoop.royalties.models import Split, SplitShare
from streamcoop.royalties.schemas import (
    CurrentTrack,
    Dashboard,
    EpochOut,
    HoldOut,
    NewHold,
    NewSplit,
    ProposedShare,
    RoyaltyLineOut,
    RoyaltyStatement,
    ShareOut,
    SplitOut,
)

router = APIRouter(prefix="/api/v1", tags=["royalties"])
_PERSONAL = (NotSignedIn, NotPermitted)
_EPOCH_MAX = 2**31 - 1
EpochNumber = Annotated[int | None, Query(ge=0, le=_EPOCH_MAX, description="Only what was closed in this epoch.")]


def _split_out(session: Transaction, founding: Founded, split: Split, shares: list[SplitShare]) -> SplitOut:
    names = accounts.names(session, {share.payee for share in shares})
    return SplitOut(
        id=split.id,
        track_id=split.track_id,
        effective_epoch=split.effective_epoch,
        effective_from=founding.calendar.starts_at(split.effective_epoch),
        shares=[
            ShareOut(payee=s.payee, name=names.get(s.payee, ""), share_bp=s.share_bp, consented_at=s.consented_at)
            for s in shares
        ],
    )


@router.put("/tracks/{track_id}/split", responses=answers(*_PERSONAL, NotFound, SharesDoNotAddUp, splits.UnknownPayee))
def propose_split(
    track_id: UUID, new: NewSplit, artist: Artist, session: Transaction, founding: Founded, now: Now
) -> SplitOut:
    """Share your track's royalties from the next epoch on. Each payee consents for herself; until then it is held."""
    shares = [(share.payee_email, share.share_bp) for share in new.shares]
    return _split_out(session, founding, *splits.propose(session, founding, artist.user_id, track_id, shares, now))


@router.get("/tracks/{track_id}/splits", responses=answers(*_PERSONAL, NotFound))
def track_splits(track_id: UUID, reader: RoyaltyPayee, session: Transaction, founding: Founded) -> list[SplitOut]:
    """All splits of a track, newest first: for its artist and its payees."""
    known = splits.versions(session, track_id)
    payees = {share.payee for _, shares in known for share in shares}
    if reader.user_id not in payees:
        lookup.require_own_track(session, reader.user_id, track_id)
    return [_split_out(session, founding, split, shares) for split, shares in known]


@router.get("/me/splits", responses=answers(*_PERSONAL))
def my_splits(payee: RoyaltyPayee, session: Transaction, founding: Founded) -> list[ProposedShare]:
    """Shares that wait for your consent."""
    waiting = splits.waiting_for_consent(session, payee.user_id)
    titles = lookup.titles(session, {split.track_id for split, _ in waiting})
    return [
        ProposedShare(
            split_id=split.id,
            track_id=split.track_id,
            title=titles[split.track_id].title,
            artist=titles[split.track_id].artist,
            share_bp=share.share_bp,
            effective_from=founding.calendar.starts_at(split.effective_epoch),
        )
        for split, share in waiting
        if split.track_id in titles
    ]


@router.post("/splits/{split_id}/consent", status_code=204, responses=answers(*_PERSONAL, NotFound))
def consent(split_id: UUID, payee: RoyaltyPayee, session: Transaction, now: Now) -> None:
    """Consent to your share. What was held for want of it becomes payable."""
    splits.consent(session, payee.user_id, split_id, now)


@router.get("/royalties/statement", responses=answers(*_PERSONAL))
def statement(
    payee: RoyaltyPayee, session: Transaction, founding: Founded, epoch: EpochNumber = None
) -> RoyaltyStatement:
    """Your royalty statement: per epoch and track, from plays to payee."""
    return statements.statement(session, founding, payee.user_id, epoch)


@router.get(
    "/royalties/statement.csv",
    response_class=Response,
    responses=answers(*_PERSONAL) | {200: {"content": {"text/csv": {}}, "description": "The statement's lines."}},
)
def statement_csv(payee: RoyaltyPayee, session: Transaction, founding: Founded, epoch: EpochNumber = None) -> Response:
    """Your royalty statement as CSV."""
    lines = statements.statement(session, founding, payee.user_id, epoch).lines
    return csv_response(
        csv_of(RoyaltyLineOut.model_fields, [line.model_dump(mode="json") for line in lines]), "royalties"
    )


@router.get("/royalties/current", responses=answers(*_PERSONAL))
def current(payee: RoyaltyPayee, session: Transaction, founding: Founded) -> list[CurrentTrack]:
    """What your tracks have collected in epochs that are not closed yet."""
    return statements.current(session, founding, payee.user_id)


@router.get("/royalties/dashboard", responses=answers(*_PERSONAL, NotFound))
def epoch_dashboard(
    payee: RoyaltyPayee,
    session: Transaction,
    founding: Founded,
    now: Now,
    epoch: Annotated[int | None, Query(ge=0, le=_EPOCH_MAX, description="The current one if none is named.")] = None,
) -> Dashboard:
    """What the tracks of your own artists brought in an epoch: by day, by track, and by step of the curve."""
    return dashboard.dashboard(session, founding, payee.user_id, epoch, now)


@router.get("/epochs")
def epochs(
    session: Transaction,
    founding: Founded,
    now: Now,
    limit: Annotated[int, Query(ge=1, le=statements.EPOCHS_MAX)] = 12,
) -> list[EpochOut]:
    """The newest epochs and their totals, the current one first."""
    return statements.epochs(session, founding, now, limit)


@router.get("/epochs/{epoch}", responses=answers(NotFound))
def epoch(epoch: int, session: Transaction, founding: Founded, now: Now) -> EpochOut:
    """One epoch and its totals."""
    if not founding.first_epoch <= epoch <= founding.calendar.epoch_at(now):
        raise NotFound
    return statements.epoch(session, founding, epoch, now)


@router.post("/holds", status_code=201, responses=answers(*_PERSONAL, NotFound, splits.HoldWhat, splits.HeldAlready))
def place_hold(new: NewHold, operator: Operator, session: Transaction, now: Now) -> HoldOut:
    """Hold a track's or a payee's money, from the next close on."""
    held = splits.place_hold(session, operator.user_id, new.track_id, new.payee_email, new.reason, now)
    return HoldOut.model_validate(held, from_attributes=True)


@router.get("/holds", responses=answers(*_PERSONAL))
def holds(_: Operator, session: Transaction) -> list[HoldOut]:
    """Everything that is held."""
    return [HoldOut.model_validate(hold, from_attributes=True) for hold in splits.holds(session)]


@router.delete("/holds/{hold_id}", status_code=204, responses=answers(*_PERSONAL, NotFound))
def lift_hold(hold_id: UUID, _: Operator, session: Transaction, now: Now) -> None:
    """Lift a hold; what nothing else holds becomes payable."""
    splits.lift_hold(session, hold_id, now)
