"""What is fuzzed in a running service: things to ask ranges of, and somebody whose tokens are tampered with."""

from __future__ import annotations

from pathlib import Path

import httpx

from streamcoop.accounts.principals import COOKIE
from streamcoop.demo.client import REQUEST_S_MAX, Person, until
from streamcoop.embedded.temporary import Service
from tests import whole_service
from tests.fuzz.ranges import Resource
from tests.fuzz.tokens import Target
from tests.whole_service import READY_S_MAX, draft_of, is_ready, operator_of, piece, somebody

# Tokens live longer than the campaign.
SETTINGS = whole_service.SETTINGS | {
    "STREAMCOOP_TOKEN_MS_MIN": "7200000",
    "STREAMCOOP_EPOCH_SECONDS": "0",
    "STREAMCOOP_EPOCH_GRACE_SECONDS": "86400",
}
PIECE_S = 4.0
CENTS = 1_000


def resources(service: Service, folder: Path) -> list[Resource]:
    """A preview, an original, the stream of somebody's own track in both codecs, and that of a play that was paid."""
    artist = somebody(service, "Sekar").join(artist=True)
    track_id = _published(artist, folder)
    listener = somebody(service, "Budi").join()
    operator_of(service).top_up(listener, CENTS)
    paid = listener.post("/api/v1/plays", {"track_id": track_id})
    listener.post("/api/v1/plays/record", {"play_token": paid["play_token"], "skip_ahead": True})
    own = {codec: artist.post("/api/v1/plays", {"track_id": track_id, "codec": codec}) for codec in ("mp3", "opus")}
    found = [
        ("preview", f"/api/v1/tracks/{track_id}/preview", None),
        ("original", f"/api/v1/tracks/{track_id}/original", session_of(artist)),
        *((f"own {codec}", opened["stream_url"], session_of(artist)) for codec, opened in own.items()),
    ]
    made = [_resource(service, *one) for one in found]
    # Sent at the pace of the music, so its bytes are taken from where they come at once: it is the same rendition.
    content = next(one.content for one in made if one.name == "own mp3")
    # For the same reason it is asked for less often.
    return [*made, Resource("paid stream", paid["stream_url"], session_of(listener), content, share=1)]


def _resource(service: Service, name: str, path: str, secret: str | None) -> Resource:
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    answer = httpx.get(f"{service.address}{path}", headers=headers, trust_env=False, timeout=REQUEST_S_MAX)
    assert answer.status_code == 200, answer.text
    return Resource(name, path, secret, answer.content, answer.headers.get("etag"))


def session_of(person: Person) -> str:
    """The secret of her session, to which her play tokens are bound."""
    return str(person.http.cookies[COOKIE])


def _published(artist: Person, folder: Path) -> str:
    release = draft_of(artist)
    track_id = str(artist.upload(release, piece(folder, PIECE_S))["id"])
    until(lambda: is_ready(artist, track_id), "the rendition", READY_S_MAX)
    artist.post(f"/api/v1/releases/{release}/publish")
    return track_id


def target(service: Service, folder: Path) -> Target:
    """Somebody who has opened a play of somebody else's track."""
    artist = somebody(service, "Sekar").join(artist=True)
    track_id = _published(artist, folder)
    listener = somebody(service, "Budi").join()
    opened = listener.post("/api/v1/plays", {"track_id": track_id})
    return Target(listener, session_of(listener), opened["play_token"])
