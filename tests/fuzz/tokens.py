"""Play tokens, sessions and JSON that somebody has tampered with: refused in documented words, and never let in."""

from __future__ import annotations

import base64
import binascii
import json
import string
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import quote

import httpx

from streamcoop.accounts.principals import COOKIE
from streamcoop.demo.client import REQUEST_S_MAX, Person
from tests.fuzz.campaign import Campaign, require

TOKEN_REFUSALS = frozenset({401, 403, 404, 410, 422})
JSON_TYPE = "application/json"
NESTED_DEPTH = 3_000
BASE64URL = string.ascii_letters + string.digits + "-_"
COOKIE_CHARACTERS = string.ascii_letters + string.digits + "-_.~!#$%&'*+^`|"
LONG = 5_000

BODIES: dict[str, dict[str, Any]] = {
    "/api/v1/users": {"email": "x@example.org", "password": "correct horse battery", "name": "X", "artist": False},
    "/api/v1/session": {"email": "x@example.org", "password": "correct horse battery"},
    "/api/v1/plays": {"track_id": "01a200cd-0f40-732c-887d-1b6fc63adea6", "kind": "play", "codec": "mp3"},
    "/api/v1/plays/record": {"play_token": "x", "skip_ahead": True},
    "/api/v1/me/tokens": {"name": "x", "scopes": ["listen"]},
    "/api/v1/artists": {"name": "x", "bio": "y"},
    "/api/v1/membership": {"member_class": "listener", "address": None},
    "/api/v1/treasury/topups": {"request_id": "01a200cd-0f40-732c-887d-1b6fc63adea6", "listener_email": "x@example.org",
                                "amount_minor": 100, "reference": "r"},
}  # fmt: skip
NASTY_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 1e308, 10**30, -(2**63), 2**63, "", "\x00", "\ud800", "a" * LONG, [], {}, [[]],
    [None] * 300, {"$ne": 1}, "\u202e", "😀" * 100, "0x10", "1", ["listen", "listen"], {"a": {"b": {}}},
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A service to send tokens to: somebody signed in with a cookie, and a play she has opened but not recorded."""

    person: Person
    session: str
    play_token: str


def tamper(campaign: Campaign, target: Target, count: int) -> None:
    """A third of the cases each: play tokens, session cookies, JSON bodies."""
    attacks = (_play_token, _session, _body)
    for number in range(count):
        rng = campaign.rng("token", number)
        attack = attacks[number % len(attacks)]
        with campaign.case("token", number, b"", attack.__name__.lstrip("_")):
            campaign.count(f"{attack.__name__.lstrip('_')}: {attack(rng, target)}")


def _changed(rng: Random, text: str, alphabet: str) -> str:
    """The text with a few characters replaced, lost, doubled, moved or added."""
    characters = list(text)
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = rng.randrange(len(characters) + 1)
        match rng.randrange(5):
            case 0 if place < len(characters):
                characters[place] = rng.choice(alphabet)
            case 1 if place < len(characters) > 1:
                del characters[place]
            case 2:
                characters.insert(place, rng.choice(alphabet))
            case 3:
                characters = characters[place:] + characters[:place]
            case _:
                characters = characters[:place] or ["A"]
    return "".join(characters)


def _bytes_of(token: str) -> bytes | None:
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return None


def _play_token(rng: Random, target: Target) -> str:
    token = _changed(rng, target.play_token, BASE64URL + ("%/.é \x00" if rng.random() < 0.2 else ""))
    if rng.random() < 0.15:
        sealed = bytearray(_bytes_of(target.play_token) or b"")
        sealed[rng.randrange(len(sealed))] ^= 1 << rng.randrange(8)
        token = base64.urlsafe_b64encode(bytes(sealed)).rstrip(b"=").decode()
    same = _bytes_of(token) == _bytes_of(target.play_token)
    if rng.random() < 0.5:
        answer = target.person.http.head(f"/stream/{quote(token, safe='')}")
    else:
        answer = target.person.http.post("/api/v1/plays/record", json={"play_token": token})
        same = same and answer.status_code != 200  # the play is too short a time old to count
    require(answer.status_code < 500, f"{answer.status_code} for {token!r}: {answer.text[:300]}")
    if same:
        return "the same token in other letters"
    require(answer.status_code in TOKEN_REFUSALS, f"{answer.status_code} for a forged token {token!r}")
    return str(answer.status_code)


def _session(rng: Random, target: Target) -> str:
    secret = _changed(rng, target.session, COOKIE_CHARACTERS + ('";, \\\xe9' if rng.random() < 0.3 else ""))
    if rng.random() < 0.1:
        secret *= rng.choice((2, 20, 100))
    if secret == target.session:
        return "the same session"
    way = rng.randrange(3)
    headers: dict[str, bytes] = {"Authorization": b"Bearer " + secret.encode("latin-1")}
    if way == 1:
        headers = {"Cookie": f"{COOKIE}={secret}".encode("latin-1")}
    elif way == 2:
        headers = {"Cookie": f"{COOKIE}={secret}; {COOKIE}=; =; {secret}".encode("latin-1")}
    with httpx.Client(base_url=target.person.http.base_url, trust_env=False, timeout=REQUEST_S_MAX) as stranger:
        answer = stranger.get("/api/v1/me", headers=headers)
    require(answer.status_code in {401, 400}, f"{answer.status_code} for {headers}: {answer.text[:300]}")
    return str(answer.status_code)


def _body(rng: Random, target: Target) -> str:
    path = rng.choice(list(BODIES))
    content, kind = _content(rng, BODIES[path])
    headers = {
        "Content-Type": rng.choices((JSON_TYPE, "application/json; charset=utf-16", "text/plain", ""), (12, 1, 1, 1))[0]
    }
    answer = target.person.http.post(path, content=content, headers=headers)
    require(answer.status_code < 500, f"{answer.status_code} on {path} for {kind}: {content[:200]!r}")
    if answer.status_code >= 400:
        require(
            answer.headers["content-type"] == "application/problem+json", f"{answer.headers} on {path}: {answer.text}"
        )
        require(answer.json()["status"] == answer.status_code, answer.text)
    return str(answer.status_code)


def _content(rng: Random, body: dict[str, Any]) -> tuple[bytes, str]:
    match rng.randrange(10):
        case 0:
            return json.dumps(body | {rng.choice(list(body)): rng.choice(NASTY_VALUES)}).encode(), "a wrong value"
        case 1:
            return json.dumps(
                {rng.choice((name, name.upper(), name + "\x00")): v for name, v in body.items()}
            ).encode(), "names"
        case 2:
            return json.dumps(rng.choice(NASTY_VALUES)).encode(), "no object"
        case 3:
            opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}")))
            return opening * NESTED_DEPTH + b"1" + closing * NESTED_DEPTH, "nested"
        case 4:
            twice = ",".join(
                f"{json.dumps(name)}:{json.dumps(rng.choice((v, None, 1)))}" for name, v in [*body.items()] * 3
            )
            return f"{{{twice}}}".encode(), "names that stand thrice"
        case 5:
            word = rng.choice((b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 5_000, b"-0", b"01", b"0x1"))
            return json.dumps(body | {rng.choice(list(body)): "@"}).encode().replace(b'"@"', word), "numbers"
        case 6:
            return json.dumps(body).encode(rng.choice(("utf-16", "utf-32", "utf-8-sig"))), "another encoding"
        case 7:
            return json.dumps(body).encode() + rng.choice((b"x", b"{}", b"\x00", b" " * LONG)), "something after it"
        case 8:
            whole = bytearray(json.dumps(body).encode())
            for _ in range(rng.choice((1, 3, 10))):
                whole[rng.randrange(len(whole))] = rng.randrange(256)
            return bytes(whole), "bytes changed"
        case _:
            whole = json.dumps(body).encode()
            return whole[: rng.randrange(len(whole))], "cut off"
