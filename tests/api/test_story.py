"""One story through the whole API, with every answer held against the OpenAPI document (see `person` in conftest)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from streamcoop.demo import music
from streamcoop.demo.client import Json, Person, until
from streamcoop.embedded.temporary import Service
from tests.adapters import audio_files
from tests.api.conftest import Everybody
from tests.whole_service import a_passkey, admit

WAIT_S = 90.0


def published(artist: Person, folder: Path) -> tuple[str, str]:
    """An artist's first track with a picture, published: (release, track)."""
    profile = artist.post("/api/v1/artists", {"name": "Kyai Guntur", "bio": "Gamelan."})
    artist.http.patch(f"/api/v1/artists/{profile['id']}", json={"name": "Kyai Guntur Madu"}).raise_for_status()
    release = artist.post(f"/api/v1/artists/{profile['id']}/releases", {"title": "Pagi", "kind": "single"})["id"]
    artist.http.patch(f"/api/v1/releases/{release}", json={"genre": "gamelan"}).raise_for_status()
    picture = artist.http.put(
        f"/api/v1/releases/{release}/artwork",
        content=audio_files.picture(60, 60),
        headers={"Content-Type": "image/jpeg"},
    )
    assert picture.status_code == 204, picture.text
    wav = music.compose(7, 2.0)
    path = music.encode(wav, "flac", {"title": "Ladrang Pagi"}, folder=folder)
    spare = music.encode(music.compose(8, 1.0), "mp3", {"title": "Left out"}, folder=folder, name="spare")
    track, left_out = artist.upload(release, path), artist.upload(release, spare)
    assert artist.http.delete(f"/api/v1/tracks/{left_out['id']}").status_code == 204
    artist.http.patch(f"/api/v1/tracks/{track['id']}", json={"genre": "slendro"}).raise_for_status()

    def ready() -> Json | None:
        found = artist.get(f"/api/v1/tracks/{track['id']}")
        assert found["state"] != "failed", found
        return found if found["state"] == "ready" else None

    until(ready, "the rendition", WAIT_S)
    artist.post(f"/api/v1/releases/{release}/publish")
    return release, track["id"]


def test_a_track_from_upload_to_payout(
    everybody: Everybody, service: Service, operator: Person, person: Callable[..., Person], tmp_path: Path
) -> None:
    artist, listener, visitor = everybody.person, person("Lestari").join(), person("Visitor")
    release, track = published(artist, tmp_path)

    # What anybody sees.
    for path in ("/api/v1/artists", "/api/v1/releases", "/api/v1/tracks"):
        assert visitor.get(path, q="pagi" if "artists" not in path else "kyai")["items"]
    for path in (f"/api/v1/releases/{release}", f"/api/v1/tracks/{track}"):
        visitor.get(path)
    picture = visitor.http.get(f"/api/v1/releases/{release}/artwork")
    assert picture.status_code == 200
    unchanged = {"If-None-Match": picture.headers["ETag"]}
    assert visitor.http.get(f"/api/v1/releases/{release}/artwork", headers=unchanged).status_code == 304
    preview = f"/api/v1/tracks/{track}/preview"
    assert visitor.http.get(preview).status_code == 200
    assert visitor.http.get(preview, headers={"Range": "bytes=0-9"}).status_code == 206
    assert visitor.http.get(preview, headers={"Range": "bytes=99999999-"}).status_code == 416

    # Splits and holds.
    proposed = artist.put(
        f"/api/v1/tracks/{track}/split",
        {
            "shares": [
                {"payee_email": artist.email, "share_bp": 6_000},
                {"payee_email": listener.email, "share_bp": 4_000},
            ]
        },
    )
    assert [share["split_id"] for share in listener.get("/api/v1/me/splits")] == [proposed["id"]]
    assert listener.get(f"/api/v1/tracks/{track}/splits")
    assert listener.http.post(f"/api/v1/splits/{proposed['id']}/consent").status_code == 204
    for held in ({"track_id": track}, {"payee_email": listener.email}):
        placed = operator.post("/api/v1/holds", held | {"reason": "rights in dispute"})
        again = operator.refused("/api/v1/holds", held | {"reason": "rights in dispute"})
        assert (again.status, again.type) == (409, "/problems/held-already")
        assert operator.get("/api/v1/holds")
        assert operator.http.delete(f"/api/v1/holds/{placed['id']}").status_code == 204

    # Plays: none without credit, too early, at once, at their own pace, by range, and bought.
    opened = listener.post("/api/v1/plays", {"track_id": track})
    assert opened["refusal"] == "/problems/insufficient-credit"
    broke = listener.refused("/api/v1/plays/record", {"play_token": opened["play_token"], "skip_ahead": True})
    assert broke.status == 402
    operator.top_up(listener, 1_000)
    early = listener.post("/api/v1/plays", {"track_id": track})
    assert listener.refused("/api/v1/plays/record", {"play_token": early["play_token"]}).status == 425
    for _ in range(2):
        recorded = listener.post("/api/v1/plays/record", {"play_token": early["play_token"], "skip_ahead": True})
        assert recorded["ordinal"] == 1
    listener.listen(track, codec="opus")
    part = listener.post("/api/v1/plays", {"track_id": track})
    assert listener.http.get(part["stream_url"], headers={"Range": "bytes=0-99"}).status_code == 206
    assert listener.http.get(f"/stream/{part['play_token'][:-6]}AAAAAA").status_code == 403
    assert listener.http.get(f"/api/v1/tracks/{track}/original").status_code == 404
    listener.put("/api/v1/wallet/limits", {"monthly_budget_micro": 1, "stop_before_ordinal": 2})
    over = listener.refused("/api/v1/plays/record", {"play_token": part["play_token"], "skip_ahead": True})
    assert over.status == 403
    listener.put("/api/v1/wallet/limits", {"monthly_budget_micro": None, "stop_before_ordinal": None})
    assert listener.buy(track)["owned"]
    owned = listener.post("/api/v1/plays", {"track_id": track})
    assert owned["free"]
    assert listener.refused("/api/v1/plays/record", {"play_token": owned["play_token"]}).status == 409
    original = listener.http.get(f"/api/v1/tracks/{track}/original")
    assert original.content == (tmp_path / "piece.flac").read_bytes()
    refused = {
        "request_id": str(uuid4()),
        "listener_email": listener.email,
        "credits_micro": 1_000_000,
        "reason": "gift",
    }
    assert operator.refused("/api/v1/treasury/grants", refused).status in {403, 409}

    # Membership and a ballot.
    applied = listener.post("/api/v1/membership", {"member_class": "listener"})
    admit(service, applied["id"])
    until(lambda: _state(listener.get("/api/v1/membership"), "member"), "the admission", WAIT_S)
    operator.get("/api/v1/members", state="member")
    _, authenticator = a_passkey(service, listener)
    proposal = {"title": "The artists' share", "text": "How much?", "parameters": ["artist_share_bp"]}
    ballot = listener.post("/api/v1/ballots", proposal | {"open_for_seconds": 5})
    ballot_path = f"/api/v1/ballots/{ballot['id']}"
    listener.post(f"{ballot_path}/comments", {"text": "More than that."})
    assert visitor.get(f"{ballot_path}/comments")["items"]
    until(lambda: _state(listener.get(ballot_path), "open"), "the electorate", WAIT_S)
    values = {"values": {"artist_share_bp": 7_500}}
    drafted = listener.post(f"{ballot_path}/votes/draft", values)
    signed = {"nonce": drafted["nonce"], "deadline": drafted["deadline"]}
    assertion = authenticator.signed(drafted["passkey_options"])
    listener.post(f"{ballot_path}/votes", values | signed | {"assertion": assertion})
    assert visitor.http.get(f"{ballot_path}/votes").status_code == 409
    until(lambda: _state(listener.get(ballot_path), "closed"), "the ballot's close", WAIT_S)
    assert visitor.get(f"{ballot_path}/votes")["items"]
    assert visitor.get("/api/v1/rates")["in_force"]

    # The close, statements and books.
    def closed() -> Json | None:
        lines = artist.get("/api/v1/royalties/statement")["lines"]
        return lines if lines and not artist.get("/api/v1/royalties/current") else None

    lines = until(closed, "the epoch's close", WAIT_S)
    assert sum(line["plays"] for line in lines if line["payee_name"] == "Everybody") == 2
    visitor.get(f"/api/v1/epochs/{lines[0]['closed_in']}")
    month = datetime.now(UTC).strftime("%Y-%m")
    assert listener.get("/api/v1/wallet/statement", month=month)["lines"]
    assert listener.get("/api/v1/wallet/tracks")["items"]
    for path in (f"/api/v1/wallet/statement.csv?month={month}", "/api/v1/royalties/statement.csv"):
        answer = artist.http.get(path)
        assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, "text/csv")
    assert operator.get("/api/v1/books/check")["balanced"]

    # Withdrawn: hidden from others, not from the one who owns it.
    artist.post(f"/api/v1/releases/{release}/withdraw")
    assert visitor.http.get(f"/api/v1/tracks/{track}").status_code == 404
    assert listener.http.get(f"/api/v1/tracks/{track}/original").status_code == 200


def _state(found: Json, state: str) -> Json | None:
    assert found["state"] not in {"stopped", "refused"}, found
    return found if found["state"] == state else None


def test_a_play_token_ends(everybody: Everybody, person: Callable[..., Person], tmp_path: Path) -> None:
    _, track = published(everybody.person, tmp_path)
    listener = person("Budi").join()
    opened = listener.post("/api/v1/plays", {"track_id": track})
    ends = datetime.fromisoformat(opened["expires_at"])
    until(lambda: True if datetime.now(UTC) > ends else None, "the token's end", WAIT_S)
    assert listener.refused("/api/v1/plays/record", {"play_token": opened["play_token"]}).status == 410
