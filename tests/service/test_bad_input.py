"""What clients send by mistake or by malice: each is refused with a problem document, and nothing falls over."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from streamcoop.demo import music
from streamcoop.demo.client import until
from streamcoop.playback.tokens import TOKEN_LENGTH_MAX
from tests.adapters import audio_files
from tests.service.coop import (
    PROBLEM,
    UPLOAD_BYTES_MAX,
    WAIT_S_MAX,
    Coop,
    Json,
    Person,
    Track,
    problem_of,
    refusal,
)

JSON = {"Content-Type": "application/json"}
HUGE = 10**40
NOT_UNICODE = "\\ud800"
THE_PROXYS = pytest.mark.embedded_parts("nginx refuses it itself")


@pytest.fixture(scope="module")
def artist(coop: Coop) -> Person:
    return coop.an_artist()


@pytest.fixture(scope="module")
def draft(coop: Coop, artist: Person) -> str:
    return coop.a_release(artist)


@pytest.fixture(scope="module")
def track(coop: Coop) -> Track:
    return coop.a_published_track(3.0)


@pytest.fixture(scope="module")
def listener(coop: Coop) -> Person:
    return coop.a_listener()


# Uploads


def _file(make: Callable[[Path], Path], folder: Path) -> tuple[str, bytes]:
    path = make(folder)
    return path.name, path.read_bytes()


def _truncated_flac(folder: Path) -> Path:
    return audio_files.cut(audio_files.whole(folder, "flac"), 0.6)


def _truncated_ogg(folder: Path) -> Path:
    return audio_files.cut(audio_files.whole(folder, "vorbis"), 0.5)


def _bomb_that_states_its_length(folder: Path) -> Path:
    return audio_files.silence_bomb(folder, stated_samples=3600 * 48_000)


@pytest.mark.parametrize(
    ("make", "status", "kind"),
    [
        (audio_files.text_named_mp3, 415, "not-audio"),
        (audio_files.picture_named_mp3, 415, "not-audio"),
        (audio_files.empty, 400, "empty-upload"),
        (audio_files.huge_id3_size, 400, "damaged-audio"),
        (_truncated_ogg, 400, "damaged-audio"),
        (_bomb_that_states_its_length, 413, "recording-too-long"),
    ],
)
def test_what_is_no_recording_is_refused_at_once(
    coop: Coop, artist: Person, draft: str, tmp_path: Path, make: Callable[[Path], Path], status: int, kind: str
) -> None:
    name, content = _file(make, tmp_path)
    refusal(coop.upload(artist, draft, content, name), status, kind)


@pytest.mark.parametrize(
    ("make", "kind"), [(_truncated_flac, "damaged-audio"), (audio_files.silence_bomb, "recording-too-long")]
)
def test_what_only_decoding_shows_fails_the_track_with_its_reason(
    coop: Coop, artist: Person, draft: str, tmp_path: Path, make: Callable[[Path], Path], kind: str
) -> None:
    name, content = _file(make, tmp_path)
    uploaded = coop.upload(artist, draft, content, name)
    assert uploaded.status_code == 202, uploaded.text

    def ended() -> Json | None:
        track = artist.get(f"/tracks/{uploaded.json()['id']}")
        return track if track["state"] != "processing" else None

    track = until(ended, "the media worker's verdict", WAIT_S_MAX)
    assert (track["state"], track["upload"]["problem"]["type"]) == ("failed", f"/problems/{kind}")
    refusal(artist.http.post("/api/v1/plays", json={"track_id": track["id"]}), 404, "not-found")


@pytest.mark.parametrize(
    "make",
    [
        audio_files.dirty_tags,
        audio_files.invalid_utf8_tags,
        lambda folder: audio_files.large_artwork(folder, 10 << 20),
    ],
    ids=["NULs and control characters", "invalid UTF-8", "10 MB of artwork"],
)
def test_a_recording_with_bad_tags_is_taken_and_its_tags_are_cleaned(
    coop: Coop, artist: Person, draft: str, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    name, content = _file(make, tmp_path)
    uploaded = coop.upload(artist, draft, content, name)
    assert uploaded.status_code == 202, uploaded.text
    told = uploaded.json()
    assert told["title"]
    assert all(character.isprintable() for character in told["title"])
    refusal(coop.upload(artist, draft, content, name), 409, "duplicate-upload")


def test_an_upload_beyond_the_limit_is_refused_with_the_limit(coop: Coop, artist: Person, draft: str) -> None:
    content = bytes(UPLOAD_BYTES_MAX + 1)
    assert refusal(coop.upload(artist, draft, content), 413, "upload-too-large")["bytes_max"] == UPLOAD_BYTES_MAX
    path = f"/api/v1/releases/{draft}/tracks"
    chunked = artist.http.post(path, content=iter([content]))
    assert refusal(chunked, 413, "upload-too-large")["bytes_max"] == UPLOAD_BYTES_MAX


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_cut_off_in_the_middle_leaves_nothing(coop: Coop, artist: Person, draft: str, chunked: bool) -> None:
    content = music.compose(99, 1.0)
    half = content[: len(content) // 2]
    address = httpx.URL(coop.service.address)
    with socket.create_connection((address.host, address.port or 80)) as raw:
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(content)}"
        head = (
            f"POST /api/v1/releases/{draft}/tracks?filename=half.wav HTTP/1.1\r\nHost: service\r\n"
            f"Authorization: Bearer {artist.secret}\r\n{length}\r\n\r\n"
        )
        raw.sendall(head.encode() + (b"%x\r\n" % len(content) if chunked else b"") + half)
        raw.shutdown(socket.SHUT_WR)
        answer = b""
        # A proxy may just reset it.
        with suppress(ConnectionResetError):
            answer = raw.recv(1 << 16)
    assert b" 202 " not in answer
    names = [t["upload"]["filename"] for t in artist.get(f"/releases/{draft}")["tracks"]]
    assert "half.wav" not in names

    def swept() -> bool | None:
        return None if list((coop.disk / "scratch").glob("upload-*")) else True

    until(swept, "the half upload to be removed", WAIT_S_MAX)


def test_only_an_artist_may_upload(coop: Coop, listener: Person, draft: str) -> None:
    refusal(coop.upload(listener, draft, b"x"), 403, "not-permitted")
    answer = coop.visitor.post(f"/api/v1/releases/{draft}/tracks", content=b"x")
    refusal(answer, 401, "not-signed-in")


# Money


@pytest.mark.parametrize("amount_minor", [0, -1, -(2**53) + 1])
def test_a_top_up_of_nothing_or_less_names_the_field(coop: Coop, listener: Person, amount_minor: int) -> None:
    request = {"request_id": str(uuid4()), "listener_email": listener.email, "amount_minor": amount_minor}
    answer = coop.operator.http.post("/api/v1/treasury/topups", json=request)
    assert refusal(answer, 400, "amount-not-positive")["field"] == "amount_minor"


@pytest.mark.parametrize("amount", ["true", '"5"', "5.0", "1e400", "NaN", "null", "[]", str(HUGE), "9" * 5_000])
def test_an_amount_that_is_no_reasonable_integer_is_malformed(coop: Coop, listener: Person, amount: str) -> None:
    body = f'{{"request_id":"{uuid4()}","listener_email":"{listener.email}","amount_minor":{amount}}}'
    answer = coop.operator.http.post("/api/v1/treasury/topups", content=body, headers=JSON)
    fields = {error["field"] for error in refusal(answer, 422, "malformed")["errors"]}
    assert fields <= {"amount_minor", "body"}


def test_a_top_up_larger_than_the_desk_takes_is_refused(coop: Coop, listener: Person) -> None:
    request = {"request_id": str(uuid4()), "listener_email": listener.email, "amount_minor": 2**53 - 1}
    answer = coop.operator.http.post("/api/v1/treasury/topups", json=request)
    assert refusal(answer, 400, "amount-too-large")["field"] == "amount_minor"


def test_a_top_up_for_nobody_is_not_found(coop: Coop) -> None:
    request = {"request_id": str(uuid4()), "listener_email": "nobody@people.streamcoop.example", "amount_minor": 5}
    refusal(coop.operator.http.post("/api/v1/treasury/topups", json=request), 404, "not-found")


def test_only_the_treasurer_books_top_ups(listener: Person) -> None:
    request = {"request_id": str(uuid4()), "listener_email": listener.email, "amount_minor": 500}
    refusal(listener.http.post("/api/v1/treasury/topups", json=request), 403, "not-permitted")


@pytest.mark.parametrize(
    "shares_bp", [[9_999], [10_001], [5_000, 4_999], [12_000, -2_000], [10_000, 0], [5_000, 5_000, 5_000]]
)
def test_a_split_that_does_not_add_up_is_refused(coop: Coop, track: Track, shares_bp: list[int]) -> None:
    payees = [track.artist.email, coop.people[0].email, coop.people[1].email]
    shares = [{"payee_email": p, "share_bp": bp} for p, bp in zip(payees, shares_bp, strict=False)]
    answer = track.artist.http.put(f"/api/v1/tracks/{track.id}/split", json={"shares": shares})
    refusal(answer, 400, "shares-do-not-add-up")


# Other people's things


def test_what_is_anothers_is_answered_as_if_it_did_not_exist(
    coop: Coop, artist: Person, draft: str, track: Track
) -> None:
    uploaded = coop.upload(artist, draft, music.compose(7_001, 1.0)).json()["id"]
    token_id = artist.post("/me/tokens", {"name": "mine", "scopes": ["listen"]})["id"]
    artist_id = artist.get("/me/artists")[0]["id"]
    split = {"shares": [{"payee_email": artist.email, "share_bp": 10_000}]}
    release = {"title": "Mine", "kind": "ep"}
    cases: list[tuple[str, str, str, Any]] = [
        ("PATCH", "/artists/{}", artist_id, {"name": "Mine"}),
        ("POST", "/artists/{}/releases", artist_id, release),
        ("GET", "/releases/{}", draft, None),
        ("PATCH", "/releases/{}", draft, {"title": "Mine"}),
        ("POST", "/releases/{}/publish", draft, None),
        ("POST", "/releases/{}/withdraw", draft, None),
        ("POST", "/releases/{}/withdraw", track.release_id, None),
        ("PUT", "/releases/{}/artwork", draft, None),
        ("GET", "/releases/{}/artwork", draft, None),
        ("POST", "/releases/{}/tracks", draft, None),
        ("GET", "/tracks/{}", uploaded, None),
        ("PATCH", "/tracks/{}", uploaded, {"title": "Mine"}),
        ("PATCH", "/tracks/{}", track.id, {"title": "Mine"}),
        ("DELETE", "/tracks/{}", uploaded, None),
        ("GET", "/tracks/{}/original", uploaded, None),
        ("GET", "/tracks/{}/original", track.id, None),
        ("GET", "/tracks/{}/preview", uploaded, None),
        ("PUT", "/tracks/{}/split", track.id, split),
        ("GET", "/tracks/{}/splits", track.id, None),
        ("DELETE", "/me/tokens/{}", token_id, None),
    ]
    stranger = coop.an_artist()
    for method, path, theirs, body in cases:
        of_another = stranger.http.request(method, f"/api/v1{path.format(theirs)}", json=body)
        of_nobody = stranger.http.request(method, f"/api/v1{path.format(uuid4())}", json=body)
        refusal(of_nobody, 404, "not-found")
        assert (of_another.status_code, of_another.content) == (of_nobody.status_code, of_nobody.content), path
        assert set(of_another.headers) == set(of_nobody.headers), path
    for id_ in (uploaded, str(uuid4())):
        refusal(stranger.http.post("/api/v1/plays", json={"track_id": id_}), 404, "not-found")
    assert artist.get(f"/tracks/{uploaded}")["title"] != "Mine"


# Payloads


@pytest.mark.parametrize(
    "body",
    [b"{not json", b'{"a":"\xff"}', b"\x00", b'{"email":' + b"9" * 5_000 + b"}", b"[" * 2_000, b'{"a":' * 150_000],
    ids=["no JSON", "no UTF-8", "a NUL", "a number of 5,000 digits", "nested", "nested deeply"],
)
def test_a_body_that_is_no_json_is_malformed(coop: Coop, body: bytes) -> None:
    answer = coop.visitor.post("/api/v1/users", content=body, headers=JSON)
    errors = refusal(answer, 422, "malformed")["errors"]
    assert [error["field"] for error in errors] == ["body"]
    assert coop.visitor.get("/readyz").status_code == 200


@pytest.mark.parametrize("body", [b"null", b"[]", b'"text"', b"5", b""])
def test_json_of_another_form_is_malformed(coop: Coop, body: bytes) -> None:
    refusal(coop.visitor.post("/api/v1/session", content=body, headers=JSON), 422, "malformed")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "image/png", "nonsense"])
def test_json_under_another_content_type_is_malformed(coop: Coop, content_type: str) -> None:
    body = b'{"email":"a@people.streamcoop.example","password":"0123456789","name":"A"}'
    answer = coop.visitor.post("/api/v1/users", content=body, headers={"Content-Type": content_type})
    assert refusal(answer, 422, "malformed")["errors"]


def test_every_field_at_fault_is_named(coop: Coop) -> None:
    answer = coop.visitor.post("/api/v1/users", json={"email": "no", "password": "short", "name": "", "extra": 1})
    fields = {error["field"] for error in refusal(answer, 422, "malformed")["errors"]}
    assert fields == {"email", "password", "name", "extra"}


BAD_TEXTS = {"NUL": "\\u0000", "lone surrogate": NOT_UNICODE, "escape": "\\u001b"}


@pytest.mark.parametrize("text", BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_text_that_no_database_takes_is_malformed_wherever_it_stands(
    coop: Coop, artist: Person, draft: str, track: Track, text: str
) -> None:
    artist_id = artist.get("/me/artists")[0]["id"]
    operator, fresh = coop.operator, f"{uuid4().hex}@people.streamcoop.example"
    top_up = f'"request_id":"{uuid4()}","listener_email":"{artist.email}"'
    cases = [
        (artist, "POST", "/users", f'{{"email":"{fresh}","password":"0123456789","name":"a{text}"}}'),
        (artist, "POST", "/users", f'{{"email":"a{text}{fresh}","password":"0123456789","name":"a"}}'),
        (artist, "POST", "/session", f'{{"email":"a{text}{fresh}","password":"0123456789"}}'),
        (artist, "POST", "/me/tokens", f'{{"name":"a{text}","scopes":["listen"]}}'),
        (artist, "POST", "/me/tokens", f'{{"name":"a","scopes":["{text}"]}}'),
        (artist, "POST", "/artists", f'{{"name":"a{text}"}}'),
        (artist, "POST", "/artists", f'{{"name":"a","bio":"{text}"}}'),
        (artist, "PATCH", f"/artists/{artist_id}", f'{{"name":"{text}b"}}'),
        (artist, "POST", f"/artists/{artist_id}/releases", f'{{"title":"a{text}","kind":"ep"}}'),
        (artist, "POST", f"/artists/{artist_id}/releases", f'{{"title":"a","kind":"ep","genre":"{text}"}}'),
        (artist, "PATCH", f"/releases/{draft}", f'{{"title":"a{text}"}}'),
        (track.artist, "PATCH", f"/tracks/{track.id}", f'{{"title":"a{text}"}}'),
        (track.artist, "PATCH", f"/tracks/{track.id}", f'{{"isrc":"{text}"}}'),
        (track.artist, "PUT", f"/tracks/{track.id}/split", f'{{"shares":[{{"payee_email":"{text}","share_bp":1}}]}}'),
        (artist, "POST", "/plays", f'{{"track_id":"{text}"}}'),
        (artist, "POST", "/membership", f'{{"member_class":"artist","address":"0x{text}"}}'),
        (operator, "POST", "/treasury/topups", f'{{{top_up},"amount_minor":5,"reference":"{text}"}}'),
        (operator, "POST", "/treasury/grants", f'{{{top_up},"credits_micro":5,"reason":"{text}"}}'),
        (operator, "POST", "/ballots", f'{{"title":"{text}","closes_in_seconds":60}}'),
        (operator, "POST", "/ballots", f'{{"title":"a","text":"{text}","closes_in_seconds":60}}'),
        (operator, "POST", "/holds", f'{{"track_id":"{track.id}","reason":"why {text}"}}'),
    ]
    for person, method, path, body in cases:
        answer = person.http.request(method, f"/api/v1{path}", content=body.encode(), headers=JSON)
        assert refusal(answer, 422, "malformed")["errors"], path


@pytest.mark.parametrize("text", BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_a_password_of_any_characters_is_refused_or_works(coop: Coop, text: str) -> None:
    email = f"{uuid4().hex}@people.streamcoop.example"
    new = f'{{"email":"{email}","password":"0123456789{text}","name":"a"}}'
    opened = coop.visitor.post("/api/v1/users", content=new, headers=JSON)
    signing = f'{{"email":"{email}","password":"0123456789{text}"}}'
    signed_in = coop.visitor.post("/api/v1/session", content=signing, headers=JSON)
    coop.visitor.cookies.clear()
    assert (opened.status_code, signed_in.status_code) in {(201, 201), (422, 422)}
    token = f'{{"play_token":"{text}"}}'
    played = coop.people[0].http.post("/api/v1/plays/record", content=token, headers=JSON)
    assert played.status_code in {403, 422}
    assert played.headers["content-type"] == PROBLEM


QUERIES = [
    "/artists?q=%00",
    "/artists?cursor=%00",
    "/artists?cursor=WyJcdTAwMDAiLCJ4Il0",
    "/artists?cursor=W1tbW10",
    "/artists?limit=-1",
    f"/artists?limit={HUGE}",
    "/artists?limit=" + "9" * 5_000,
    "/releases?genre=%00",
    "/releases?artist_id=%00",
    "/releases?cursor=eyI",
    "/tracks?q=%00",
    "/tracks?q=" + "x" * 201,
    "/tracks?cursor=%F0%9F%98%80",
    pytest.param("/tracks/%00", marks=THE_PROXYS),
    "/tracks/%FF%FE",
    f"/tracks/{HUGE}",
    "/epochs?limit=0",
    f"/epochs/{HUGE}",
    "/epochs/-1",
    "/epochs/" + "9" * 5_000,
    "/wallet/statement?month=%00",
    "/wallet/statement?month=9999-12",
    "/wallet/statement?month=2026-1",
    "/wallet/statement?month=" + "9" * 5_000,
    "/wallet/statement.csv?month=0000-00",
    "/wallet/tracks?cursor=%00",
    "/wallet/tracks?limit=999",
    f"/royalties/statement?epoch={HUGE}",
    pytest.param("/ballots/%00", marks=THE_PROXYS),
    "/nothing/here",
]


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: path[:40])
def test_a_query_that_makes_no_sense_is_refused(artist: Person, path: str) -> None:
    answer = artist.http.get(f"/api/v1{path}")
    problem_of(answer.status_code, answer.headers, answer.content)
    assert answer.status_code in {400, 404, 422}


@pytest.mark.parametrize(
    ("path", "field"),
    [("/stream/a?skip_ahead=perhaps", "skip_ahead"), ("/stream/a?skip_ahead=", "skip_ahead"),
     (f"/stream/{'a' * (TOKEN_LENGTH_MAX + 1)}?play_token=a", "play_token")],
)  # fmt: skip
def test_parameters_of_a_stream_that_make_no_sense_are_malformed(coop: Coop, path: str, field: str) -> None:
    assert coop.visitor.head(path).status_code == 422
    answer = coop.visitor.get(path)
    problem = problem_of(answer.status_code, answer.headers, answer.content)
    assert (answer.status_code, [error["field"] for error in problem["errors"]]) == (422, [field])


def test_text_that_looks_dangerous_is_merely_searched_for(coop: Coop) -> None:
    for text in ("%ff", "'; drop table coop.user; --", "\\", "' & !", "((((", ":*", "🎵" * 50, "a" * 200, "\u202e"):
        for what in ("artists", "releases", "tracks"):
            answer = coop.visitor.get(f"/api/v1/{what}", params={"q": text})
            assert answer.status_code == 200, text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/nothing", 404),
        ("POST", "/nothing", 404),
        ("GET", "/stream/", 404),
        ("GET", "/stream/a/b", 404),
        ("PATCH", "/api/v1/users", 405),
        ("DELETE", "/api/v1/plays", 405),
        ("OPTIONS", "/api/v1/wallet", 405),
        ("PROPFIND", "/api/v1/wallet", 405),
        pytest.param("TRACE", "/api/v1/users", 405, marks=THE_PROXYS),
    ],
)
def test_unknown_paths_and_methods_are_problems_too(coop: Coop, method: str, path: str, status: int) -> None:
    answer = coop.visitor.request(method, path)
    problem = problem_of(answer.status_code, answer.headers, answer.content)
    assert answer.status_code == status
    assert problem["type"] == {404: "/problems/not-found", 405: "/problems/method-not-allowed"}[status]
    assert status == 404 or answer.headers["allow"]


def _latin(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


@pytest.mark.parametrize(
    "secret", ["x", "scs_" + "x" * 43, "x" * 5_000, "%00", "é", "Basic eA==", "' or 1=1 --"], ids=lambda s: s[:10]
)
def test_a_secret_that_is_none_is_refused(coop: Coop, secret: str) -> None:
    for headers in ({"Authorization": f"Bearer {secret}"}, {"Cookie": f"streamcoop_session={secret}"}):
        answer = coop.visitor.get("/api/v1/me", headers=_latin(headers))
        refusal(answer, 401, "not-signed-in")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://[", "http://[::1", "\xff", "http://a b/"])
def test_another_sites_page_cannot_act_with_a_cookie(coop: Coop, listener: Person, origin: str) -> None:
    headers = {"Cookie": f"streamcoop_session={listener.secret}", "Origin": origin}
    answer = coop.visitor.put(
        "/api/v1/wallet/limits",
        json={"monthly_budget_micro": 0},
        headers=_latin(headers),
    )
    refusal(answer, 403, "not-permitted")
    assert listener.get("/wallet")["monthly_budget_micro"] is None


def test_limits_without_sense_are_malformed(listener: Person) -> None:
    for limits in (
        {"monthly_budget_micro": -1},
        {"monthly_budget_micro": HUGE},
        {"monthly_budget_micro": 1.5},
        {"monthly_budget_micro": True},
        {"stop_before_ordinal": 0},
        {"stop_before_ordinal": 101},
        {"stop_before_ordinal": "nine"},
        {"unknown": 1},
    ):
        answer = listener.http.put("/api/v1/wallet/limits", content=json.dumps(limits), headers=JSON)
        errors = refusal(answer, 422, "malformed")["errors"]
        assert [error["field"] for error in errors] == list(limits)


def test_a_body_that_never_ends_is_refused_before_it_fills_the_memory(coop: Coop) -> None:
    megabytes = (b" " * (1 << 20) for _ in range(64))
    answer = coop.visitor.post("/api/v1/users", content=megabytes, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
