"""Downloads over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request, Response

from streamcoop.accounts.principals import Listener
from streamcoop.adapters.objects import ObjectStore
from streamcoop.catalogue import lookup
from streamcoop.catalogue.lookup import Recording
from streamcoop.catalogue.storage import StorageUnavailable
from streamcoop.clock import Now, now
from streamcoop.database import Transaction, transaction
from streamcoop.downloads import archive, naming, service
from streamcoop.downloads.archive import ArchiveResponse, TooManyArchives
from streamcoop.downloads.sending import PiecesResponse
from streamcoop.downloads.service import Prepared, Wanted
from streamcoop.errors import NotFound, NotPermitted, NotSignedIn
from streamcoop.founded import Founded
from streamcoop.playback import delivery
from streamcoop.playback.desk import PlaybackDesk
from streamcoop.playback.ranges import RangeNotSatisfiable
from streamcoop.playback.schemas import RANGE
from streamcoop.playback.service import NoRendition, owned_track
from streamcoop.problems import answers
from streamcoop.settings import settings

router = APIRouter(prefix="/api/v1", tags=["downloads"])

_PERSONAL = (NotSignedIn, NotPermitted)


@router.head("/tracks/{track_id}/download", include_in_schema=False)
@router.get(
    "/tracks/{track_id}/download",
    response_class=Response,
    responses=answers(*_PERSONAL, NotFound, NoRendition, RangeNotSatisfiable, StorageUnavailable)
    | {
        200: {"content": {"audio/*": {}}, "description": "The file. Opus comes without its length."},
        206: {"content": {"audio/*": {}}, "description": "A range of it; not of Opus."},
    },
)
async def download(
    track_id: UUID,
    listener: Listener,
    request: Request,
    wanted: Annotated[Wanted, Query(alias="format", description="FLAC only of a lossless original.")] = "original",
    range_header: Annotated[str | None, Header(alias="Range", description=RANGE)] = None,
) -> Response:
    """Download a track you own, with its tags and cover; as `original` byte for byte as its artist uploaded it."""
    desk: PlaybackDesk = request.app.state.desk
    store: ObjectStore = request.app.state.objects
    await owned_track(desk, listener, track_id, now())
    recording, what = await to_thread.run_sync(_prepared, store, track_id, wanted)
    name = naming.file_name(recording.artist, recording.title, service.extension(recording, wanted))
    if what.ogg is None:
        return await delivery.whole(
            request, what.file.key, what.file.size, what.content_type, range_header, name, what.instead
        )
    return PiecesResponse(service.pieces(store, what), delivery.saved_as(name, what.content_type))


def _prepared(store: ObjectStore, track_id: UUID, wanted: Wanted) -> tuple[Recording, Prepared]:
    with transaction() as session:
        found = lookup.to_keep(session, [track_id])
    if not found:
        raise NotFound
    (recording,) = found
    cover = None if wanted == "original" else service.cover(store, recording)
    return recording, service.prepared(store, recording, wanted, cover)


@router.get(
    "/library/owned.zip",
    response_class=Response,
    responses=answers(*_PERSONAL, TooManyArchives)
    | {200: {"content": {archive.CONTENT_TYPE: {}}, "description": "A ZIP archive, made while it is sent."}},
)
def owned_zip(
    listener: Listener,
    request: Request,
    session: Transaction,
    founding: Founded,
    at: Now,
    wanted: Annotated[Literal["original", "mp3", "opus"], Query(alias="format")] = "original",
) -> Response:
    """Download all that you own in one archive: a folder for each artist and release.

    What cannot be read at the time is named in a text file at its end.
    """
    track_ids = service.owned(session, founding, listener.user_id, at)
    kept = track_ids[: service.TRACKS_AT_ONCE_MAX]
    recordings, store = lookup.to_keep(session, kept), request.app.state.objects
    return ArchiveResponse(
        request.app.state.pool,
        listener.user_id,
        archive.pieces(store, recordings, wanted, len(kept) < len(track_ids), at),
        f"{naming.part(settings().coop_name)} {at:%Y-%m-%d}.zip",
    )
