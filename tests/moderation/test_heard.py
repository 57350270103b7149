"""What is taken down is played to nobody any more, but to those who own it where nobody's right is infringed."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from uuid import uuid4
from zipfile import ZipFile

import pytest

from streamcoop.demo.client import Person, until
from streamcoop.embedded.temporary import Service
from tests.whole_service import (
    READY_S_MAX,
    draft_of,
    is_ready,
    operator_of,
    piece,
    published_track,
    second_officer_of,
    service,
    somebody,
)

__all__ = ["service"]

SETTLED_S_MAX = 60.0


def owner_of(service: Service, track: str) -> Person:
    """Somebody who has bought a track."""
    listener, operator = somebody(service, "Owner").join(), operator_of(service)
    top_up = {"request_id": str(uuid4()), "listener_email": listener.email, "amount_minor": 5_000}
    operator.post("/api/v1/treasury/topups", top_up)
    opened = listener.post("/api/v1/plays", {"track_id": track, "kind": "buyout"})
    listener.post("/api/v1/plays/record", {"play_token": opened["play_token"], "skip_ahead": True})
    until(lambda: listener.get("/api/v1/wallet/tracks", owned=True)["items"] or None, "ownership", SETTLED_S_MAX)
    return listener


def opening(listener: Person, track: str) -> int:
    return listener.http.post("/api/v1/plays", json={"track_id": track}).status_code


def archived(owner: Person) -> int:
    """How many files there are in the archive of all that she owns."""
    answer = owner.http.get("/api/v1/library/owned.zip")
    assert answer.status_code == 200, answer.text
    return len(ZipFile(BytesIO(answer.content)).namelist())


@pytest.mark.parametrize(
    ("ground", "is_kept"), [("wrongly-described", True), ("copyright", False), ("unlawful", False)]
)
@pytest.mark.parametrize("of", ["track", "release"])
def test_who_owns_it_keeps_it_unless_it_infringes_or_is_unlawful(
    service: Service, tmp_path: Path, ground: str, is_kept: bool, of: str
) -> None:
    artist, listener = somebody(service, "Artist").join(artist=True), somebody(service, "Listener").join()
    track = published_track(artist, tmp_path)
    subject = {"track": track, "release": artist.get(f"/api/v1/tracks/{track}")["release_id"]}[of]
    owner, operator, second = owner_of(service, track), operator_of(service), second_officer_of(service)
    report = listener.post("/api/v1/moderation/reports", {f"{of}_id": subject, "ground": ground})["id"]
    decided = {"outcome": "taken-down", "ground": ground, "reason": "So it is."}
    decision = operator.post(f"/api/v1/moderation/reports/{report}/decision", decided)["id"]
    assert opening(listener, track) == 404
    assert listener.http.get(f"/api/v1/tracks/{track}/preview").status_code == 404
    assert opening(owner, track) == (201 if is_kept else 404)
    for kept_as in ("original", "download?format=mp3"):
        assert owner.http.get(f"/api/v1/tracks/{track}/{kept_as}").status_code == (200 if is_kept else 404)
    assert archived(owner) == is_kept
    assert (f"/api/v1/tracks/{track}/download" in owner.http.get("/library").text) == is_kept
    # Whoever decides on the appeal hears what it is about.
    judged = f"/api/v1/moderation/tracks/{track}/preview"
    assert second.http.get(judged).headers["content-type"] == "audio/mpeg"
    assert listener.http.get(judged).status_code == 403
    # What she has paid for stands in her wallet all the same.
    assert len(owner.get("/api/v1/wallet/tracks", owned=True)["items"]) == 1
    artist.post(f"/api/v1/moderation/{decision}/appeal", {"text": "No."})
    second.post(f"/api/v1/moderation/{decision}/appeal/decision", {"outcome": "restored", "reason": "She is right."})
    assert opening(owner, track) == 201
    assert listener.http.get(f"/api/v1/tracks/{track}/preview").status_code == 200


def test_operators_hear_no_drafts(service: Service, tmp_path: Path) -> None:
    artist, operator = somebody(service, "Artist").join(artist=True), operator_of(service)
    track = str(artist.upload(draft_of(artist), piece(tmp_path))["id"])
    until(lambda: is_ready(artist, track), "the rendition", READY_S_MAX)
    assert operator.http.get(f"/api/v1/moderation/tracks/{track}/preview").status_code == 404
