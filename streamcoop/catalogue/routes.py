"""The catalogue over HTTP."""

from __future__ import annotations

import secrets
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from streamcoop.accounts import principals
from streamcoop.accounts.principals import MaybePrincipal, Principal
from streamcoop.accounts.schemas import Line
from streamcoop.adapters.objects import ObjectStore
from streamcoop.catalogue import artwork, discovery, receiving, search, service, storage, uploads
from streamcoop.catalogue.schemas import (
    GENRE_LENGTH_MAX,
    ArtistChange,
    ArtistOut,
    ArtistPage,
    GenreOut,
    NewArtist,
    NewRelease,
    OwnedRelease,
    OwnedReleasePage,
    ReleaseChange,
    ReleaseOut,
    ReleasePage,
    ReleaseWithTracks,
    TrackChange,
    TrackOut,
    TrackPage,
    Uploaded,
    artist_out,
    artist_page,
    release_out,
    release_page,
    release_with_tracks,
    track_alone,
    track_out,
    track_page,
)
from streamcoop.clock import Now
from streamcoop.database import Transaction, transaction
from streamcoop.errors import NotFound, NotPermitted, NotSignedIn
from streamcoop.problems import answers
from streamcoop.settings import settings

router = APIRouter(prefix="/api/v1", tags=["catalogue"])

FILENAME_QUERY_LENGTH_MAX = 1_000
# Always asked again, by its tag: a release may be withdrawn, and its picture replaced.
ARTWORK_CACHING = "no-cache"

Owner = principals.Artist
Words = Annotated[Line | None, Query(max_length=search.QUERY_LENGTH_MAX, description="Words, or how they begin.")]
Cursor = Annotated[str | None, Query(max_length=search.CURSOR_LENGTH_MAX, description="`next_cursor` of a page.")]
Limit = Annotated[int, Query(ge=1, le=search.PAGE_SIZE_MAX)]
Filename = Annotated[str, Query(max_length=FILENAME_QUERY_LENGTH_MAX, description="What the file is called.")]
_OWNERS = (NotSignedIn, NotPermitted, NotFound)
# A visitor may see what is published; a secret that is wrong or worn out is refused all the same.
_ANYONE = (NotSignedIn, NotFound)


def _store(request: Request) -> ObjectStore:
    store: ObjectStore = request.app.state.objects
    return store


Store = Annotated[ObjectStore, Depends(_store)]


def _id(viewer: Principal | None) -> UUID | None:
    return viewer.user_id if viewer else None


def _body(*media_types: str) -> dict[str, Any]:
    """The OpenAPI description of a raw body, which the route reads itself."""
    content = {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in media_types}
    return {"requestBody": {"required": True, "content": content}}


@router.post("/artists", status_code=201, responses=answers(NotSignedIn, NotPermitted, service.TooManyArtists))
def open_artist(new: NewArtist, owner: Owner, session: Transaction, now: Now) -> ArtistOut:
    """Open an artist: a name to publish music under."""
    return artist_out(service.open_artist(session, owner.user_id, new.name, new.bio, now))


@router.get("/artists", responses=answers(search.BadCursor))
def artists(
    session: Transaction, q: Words = None, cursor: Cursor = None, limit: Limit = search.PAGE_SIZE
) -> ArtistPage:
    """Artists by name."""
    return artist_page(search.artists(session, q, cursor, limit))


@router.get("/me/artists", responses=answers(NotSignedIn, NotPermitted))
def own_artists(owner: Owner, session: Transaction) -> list[ArtistOut]:
    """Your artists, oldest first."""
    return [artist_out(artist) for artist in service.artists_of(session, owner.user_id)]


@router.get("/artists/{artist_id}", responses=answers(NotFound))
def artist(artist_id: UUID, session: Transaction) -> ArtistOut:
    """An artist."""
    return artist_out(service.artist(session, artist_id))


@router.patch("/artists/{artist_id}", responses=answers(*_OWNERS))
def change_artist(artist_id: UUID, change: ArtistChange, owner: Owner, session: Transaction) -> ArtistOut:
    """Change an artist of yours."""
    changes = change.model_dump(exclude_unset=True)
    return artist_out(service.change_artist(session, owner.user_id, artist_id, changes))


@router.get("/artists/{artist_id}/releases", responses=answers(*_ANYONE, search.BadCursor))
def releases_of(
    artist_id: UUID,
    viewer: MaybePrincipal,
    session: Transaction,
    cursor: Cursor = None,
    limit: Limit = search.PAGE_SIZE,
) -> ReleasePage:
    """An artist's releases, youngest first. The artist's owner sees drafts and withdrawn releases too."""
    service.artist(session, artist_id)
    return release_page(search.releases_of(session, artist_id, _id(viewer), cursor, limit))


@router.post("/artists/{artist_id}/releases", status_code=201, responses=answers(*_OWNERS, service.TooManyReleases))
def open_release(artist_id: UUID, new: NewRelease, owner: Owner, session: Transaction, now: Now) -> ReleaseOut:
    """Open a release: a draft to upload tracks to."""
    return release_out(
        service.open_release(session, owner.user_id, artist_id, new.title, new.kind, new.released_on, new.genre, now)
    )


@router.get("/releases", responses=answers(search.BadCursor))
def releases(
    session: Transaction,
    q: Words = None,
    artist_id: UUID | None = None,
    genre: Annotated[Line | None, Query(max_length=GENRE_LENGTH_MAX)] = None,
    cursor: Cursor = None,
    limit: Limit = search.PAGE_SIZE,
) -> ReleasePage:
    """Published releases, newest first."""
    return release_page(search.releases(session, q, artist_id, genre, cursor, limit))


@router.get("/discovery/most-owned", responses=answers(search.BadCursor))
def most_owned(session: Transaction, cursor: Cursor = None, limit: Limit = search.PAGE_SIZE) -> OwnedReleasePage:
    """Published releases by how many listeners own something of them; those of fewer than five are not told."""
    page = discovery.most_owned(session, cursor, limit)
    items = [OwnedRelease(**release_out(release).model_dump(), owners=owners) for release, owners in page.items]
    return OwnedReleasePage(items=items, next_cursor=page.next_cursor)


@router.get("/discovery/random")
def random_releases(
    session: Transaction, limit: Annotated[int, Query(ge=1, le=discovery.RANDOM_MAX)] = 12
) -> list[ReleaseOut]:
    """Random published releases: others each time."""
    start = discovery.HASH_MIN + secrets.randbelow(discovery.HASHES)
    return [release_out(release) for release in discovery.random(session, start, limit)]


@router.get("/genres")
def genres(session: Transaction) -> list[GenreOut]:
    """Genres of published releases, the most frequent first."""
    return [GenreOut(name=genre.name, releases=genre.releases) for genre in discovery.genres(session)]


@router.get("/releases/{release_id}", responses=answers(*_ANYONE))
def release(release_id: UUID, viewer: MaybePrincipal, session: Transaction) -> ReleaseWithTracks:
    """A release with its tracks."""
    return release_with_tracks(service.release(session, _id(viewer), release_id), _id(viewer))


@router.patch("/releases/{release_id}", responses=answers(*_OWNERS))
def change_release(release_id: UUID, change: ReleaseChange, owner: Owner, session: Transaction) -> ReleaseOut:
    """Change a release of yours."""
    changes = change.model_dump(exclude_unset=True)
    return release_out(service.change_release(session, owner.user_id, release_id, changes))


@router.post(
    "/releases/{release_id}/publish",
    responses=answers(*_OWNERS, service.TakenDown, service.NothingToPublish, service.TracksNotReady),
)
def publish(release_id: UUID, owner: Owner, session: Transaction, now: Now) -> ReleaseOut:
    """Publish a release whose tracks are ready; also one that was withdrawn. Its list of tracks is then settled."""
    return release_out(service.publish(session, owner.user_id, release_id, now))


@router.post("/releases/{release_id}/withdraw", responses=answers(*_OWNERS, service.NotPublished))
def withdraw(release_id: UUID, owner: Owner, session: Transaction) -> ReleaseOut:
    """Hide a release from everybody but those who own its tracks."""
    return release_out(service.withdraw(session, owner.user_id, release_id))


@router.put(
    "/releases/{release_id}/artwork",
    status_code=204,
    responses=answers(*_OWNERS, *receiving.REFUSALS, artwork.UnreadablePicture, storage.StorageUnavailable),
    openapi_extra=_body("image/jpeg", "image/png", "image/webp", "image/gif"),
    max_body_size=receiving.COUNTED_BYTES_MAX,
)
async def put_artwork(release_id: UUID, request: Request, owner: Owner, store: Store) -> None:
    """Set a release's picture. It is made afresh as a JPEG of at most 1,600 pixels a side."""
    await receiving.in_thread(_require_release, owner.user_id, release_id)
    async with receiving.received(request, owner.user_id, artwork.PICTURE_BYTES_MAX) as body:
        await receiving.in_thread(artwork.replace, store, owner.user_id, release_id, body.path)


def _require_release(owner_id: UUID, release_id: UUID) -> None:
    with transaction() as session:
        service.own_release(session, owner_id, release_id)


@router.get(
    "/releases/{release_id}/artwork",
    response_class=Response,
    responses={
        200: {"content": {artwork.CONTENT_TYPE: {"schema": {"type": "string", "format": "binary"}}}},
        304: {"description": "The picture is the one named by If-None-Match."},
        **answers(*_ANYONE, storage.StorageUnavailable),
    },
)
def get_artwork(
    release_id: UUID, request: Request, viewer: MaybePrincipal, session: Transaction, store: Store
) -> Response:
    """A release's picture."""
    key = service.release(session, _id(viewer), release_id).artwork
    if key is None:
        raise NotFound
    # A key is never used for another picture, so its last part is as good as a digest.
    headers = {"ETag": f'"{key.rpartition("/")[2]}"', "Cache-Control": ARTWORK_CACHING}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    with storage.storing():
        picture = b"".join(store.open_range(key, 0, store.size(key)))
    return Response(picture, media_type=artwork.CONTENT_TYPE, headers=headers)


@router.post(
    "/releases/{release_id}/tracks",
    status_code=202,
    responses=answers(
        *_OWNERS,
        service.ReleaseNotDraft,
        uploads.TooManyTracks,
        uploads.DuplicateUpload,
        *receiving.REFUSALS,
        *uploads.REFUSALS,
        storage.StorageUnavailable,
    ),
    openapi_extra=_body("application/octet-stream"),
    max_body_size=receiving.COUNTED_BYTES_MAX,
)
async def upload_track(
    release_id: UUID, request: Request, owner: Owner, store: Store, filename: Filename = ""
) -> Uploaded:
    """Upload a recording to a draft: FLAC, WAV, AIFF, MP3, Ogg Vorbis, Opus or M4A, told by its content.

    What the file says about itself becomes the track's title, position, ISRC and genre. It is then made ready for
    listeners; ask for the track to see when that is done, or why it failed.
    """
    await receiving.in_thread(_admit, owner.user_id, release_id)
    async with receiving.received(request, owner.user_id, settings().upload_bytes_max) as body:
        taken = await receiving.in_thread(uploads.take_in, store, owner.user_id, release_id, body, filename)
    return await receiving.in_thread(_uploaded, owner.user_id, taken)


def _admit(owner_id: UUID, release_id: UUID) -> None:
    with transaction() as session:
        uploads.admit(session, owner_id, release_id)


def _uploaded(owner_id: UUID, taken: uploads.TakenIn) -> Uploaded:
    with transaction() as session:
        track = service.track(session, owner_id, taken.track_id)
        return Uploaded(**track_out(track, track.release, owner_id).model_dump(), notes=taken.notes)


@router.get("/tracks", responses=answers(NotSignedIn, search.BadCursor))
def tracks(
    viewer: MaybePrincipal,
    session: Transaction,
    q: Words = None,
    cursor: Cursor = None,
    limit: Limit = search.PAGE_SIZE,
) -> TrackPage:
    """Tracks of published releases, youngest first, by words of their title, release or artist."""
    return track_page(search.tracks(session, q, cursor, limit), _id(viewer))


@router.get("/tracks/{track_id}", responses=answers(*_ANYONE))
def track(track_id: UUID, viewer: MaybePrincipal, session: Transaction) -> TrackOut:
    """A track of a published release, or one of yours."""
    return track_alone(service.track(session, _id(viewer), track_id), _id(viewer))


@router.patch("/tracks/{track_id}", responses=answers(*_OWNERS))
def change_track(track_id: UUID, change: TrackChange, owner: Owner, session: Transaction) -> TrackOut:
    """Change a track of yours, published or not."""
    changed = service.change_track(session, owner.user_id, track_id, change.model_dump(exclude_unset=True))
    return track_out(changed, changed.release, owner.user_id)


@router.delete("/tracks/{track_id}", status_code=204, responses=answers(*_OWNERS, service.ReleaseNotDraft))
def delete_track(track_id: UUID, owner: Owner, session: Transaction, now: Now) -> None:
    """Delete a track of a draft."""
    service.delete_track(session, owner.user_id, track_id, now)
