"""The log over HTTP: its files for everybody (C2SP tlog-tiles), and to each member what is hers."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from ledger.store import batches
from streamcoop.accounts.principals import Listener, RoyaltyPayee, WalletOwner
from streamcoop.adapters.objects import ObjectMissing, read_whole
from streamcoop.catalogue.storage import StorageUnavailable, storing
from streamcoop.database import Transaction
from streamcoop.errors import NotFound, NotPermitted, NotSignedIn
from streamcoop.founded import Founded
from streamcoop.problems import answers
from streamcoop.settings import settings
from streamcoop.transparency import files, naming, places, receipts
from streamcoop.transparency.keys import keyring, signing_keys
from streamcoop.transparency.schemas import LogOut, Opening, PayeeNameOut, PlayReceiptOut, WalletLineOut

router = APIRouter(tags=["transparency"])

CHANGES = "public, max-age=5"
NEVER_CHANGES = "public, max-age=31536000, immutable"


@router.head("/log/{path:path}", include_in_schema=False)
@router.get(
    "/log/{path:path}",
    response_class=Response,
    responses=answers(NotFound, StorageUnavailable)
    | {200: {"content": {files.BYTES: {}, "text/plain": {}}, "description": "A file of the log."}},
)
def log_file(path: str, request: Request) -> Response:
    """A file of the shared log: `checkpoint`, `tile/…`, `heads/…`. Whoever copies them all has the log.

    A log that goes on from one that ended is below `2/`.
    """
    if not files.is_public(path):
        raise NotFound
    with storing():
        try:
            data = read_whole(request.app.state.objects, files.key_of(path), files.FILE_BYTES_MAX)
        except ObjectMissing:
            raise NotFound from None
    is_text = "tile/" not in path
    headers = {
        "Cache-Control": CHANGES if files.is_checkpoint(files.key_of(path)) else NEVER_CHANGES,
        "Content-Type": files.TEXT if is_text else files.BYTES,
    }
    return Response(data, headers=headers)


@router.get("/api/v1/log")
def log_facts(session: Transaction) -> LogOut:
    """What the shared log is called, the keys that sign it, and how far it is published."""
    origin = naming.origin(session, settings())
    head = batches.published_head(session.connection())
    return LogOut(
        origin=origin,
        keys=[str(key) for key in keyring(session, signing_keys(settings(), origin)).current],
        address=files.address(settings().public_address, places.place_of(session.connection())),
        batch=head.batch if head else 0,
        size=head.size if head else 0,
    )


def _log(request: Request, session: Transaction) -> receipts.Log:
    origin = naming.origin(session, settings())
    store = places.here(session.connection(), request.app.state.objects)
    return receipts.Log(store, keyring(session, signing_keys(settings(), origin)), origin)


Log = Annotated[receipts.Log, Depends(_log)]


@router.get(
    "/api/v1/plays/{play_id}/receipt",
    responses=answers(
        NotSignedIn, NotPermitted, NotFound, receipts.LogNotSigned, receipts.NotYetTold, StorageUnavailable
    ),
)
def play_receipt(
    play_id: UUID, listener: Listener, session: Transaction, log: Log, founding: Founded
) -> PlayReceiptOut:
    """What shows that a play of yours was counted: a promise at first, a proof once it is in the shared log."""
    with storing():
        told = receipts.play_receipt(session, log, founding, listener.user_id, play_id)
    return PlayReceiptOut(
        opening=Opening(**told.opening),
        salt=told.salt.hex(),
        commitment=told.commitment.hex(),
        publish_by=told.publish_by,
        promise=told.promise,
        receipt=told.receipt,
    )


@router.get("/api/v1/wallet/lines", responses=answers(NotSignedIn, NotPermitted))
def wallet_lines(owner: WalletOwner, session: Transaction, founding: Founded) -> list[WalletLineOut]:
    """Your wallet as each closed epoch's seal in the shared log has it, the newest first."""
    return [
        WalletLineOut(
            epoch=line.epoch,
            label=founding.calendar.label(line.epoch),
            opening_micro=line.opening_micro,
            in_micro=line.in_micro,
            spent_micro=line.spent_micro,
            closing_micro=line.closing_micro,
            is_published=line.is_published,
        )
        for line in receipts.wallet_lines(session, owner.user_id)
    ]


@router.get(
    "/api/v1/wallet/lines/{epoch}/receipt",
    response_class=Response,
    responses=answers(NotSignedIn, NotPermitted, NotFound, receipts.NotYetTold, StorageUnavailable)
    | {200: {"content": {"text/plain": {}}, "description": "A tlog-proof (C2SP)."}},
)
def wallet_receipt(epoch: int, owner: WalletOwner, session: Transaction, log: Log) -> Response:
    """What shows that your wallet is counted among all wallets of an epoch."""
    with storing():
        return _as_file(receipts.wallet_receipt(session, log, owner.user_id, epoch))


@router.get("/api/v1/royalties/names", responses=answers(NotSignedIn, NotPermitted))
def payee_names(
    payee: RoyaltyPayee,
    session: Transaction,
    after: Annotated[UUID | None, Query(description="The last split of the page before.")] = None,
) -> list[PayeeNameOut]:
    """What the shared log calls you in each split, so that you find your lines among all royalties."""
    return [
        PayeeNameOut(
            split_id=named.split_id,
            track_id=named.track_id,
            effective_epoch=named.effective_epoch,
            share_bp=named.share_bp,
            name=named.name.hex(),
            salt=named.salt.hex(),
        )
        for named in receipts.payee_names(session, payee.user_id, after)
    ]


@router.get(
    "/api/v1/royalties/names/{split_id}/receipt",
    response_class=Response,
    responses=answers(NotSignedIn, NotPermitted, NotFound, receipts.NotYetTold, StorageUnavailable)
    | {200: {"content": {"text/plain": {}}, "description": "A tlog-proof (C2SP)."}},
)
def payee_receipt(split_id: UUID, payee: RoyaltyPayee, session: Transaction, log: Log) -> Response:
    """What shows your part in a split, and your name in the shared log."""
    with storing():
        return _as_file(receipts.payee_receipt(session, log, payee.user_id, split_id))


def _as_file(receipt: str) -> Response:
    return Response(receipt, headers={"Content-Type": files.TEXT, "Cache-Control": "private, no-store"})
