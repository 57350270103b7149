"""Play tokens: opaque, authenticated, and worn out in time."""

from __future__ import annotations

import base64
import dataclasses
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.ids import uuid7
from streamcoop.playback.rule import Meter
from streamcoop.playback.tokens import PlayToken, PlayTokenExpired, PlayTokenRefused, seal, unseal

KEY = b"k" * 32
OPENED_MS = 1_790_000_000_000
METER = Meter(size=3_840_600, header_bytes=600, duration_ms=240_000, listen_ms=45_000, free_ms=60_000)


def a_token(**changes: object) -> PlayToken:
    token = PlayToken(
        "play", "mp3", 3, uuid7(OPENED_MS, 7), uuid4(), uuid4(), uuid4(), 8_000, OPENED_MS + 1_800_000, METER
    )
    return dataclasses.replace(token, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["play", "buyout"])
@pytest.mark.parametrize("codec", ["mp3", "opus"])
def test_what_was_promised_comes_back(kind: str, codec: str) -> None:
    token = a_token(kind=kind, codec=codec)
    assert unseal(seal(token, KEY), KEY, OPENED_MS + 1) == token
    assert token.opened_ms == OPENED_MS
    assert token.counts_from_ms == OPENED_MS + (METER.listen_ms if kind == "play" else 0)


def test_two_tokens_of_the_same_play_do_not_look_alike() -> None:
    token = a_token()
    assert seal(token, KEY) != seal(token, KEY)


def test_a_token_says_nothing_to_whoever_reads_it() -> None:
    token = a_token(track_id=UUID(int=0), listener_id=UUID(int=0), session_id=UUID(int=0))
    sealed = seal(token, KEY)
    assert bytes(16) not in base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))


def test_a_token_is_worn_out_at_its_time() -> None:
    token = a_token()
    with pytest.raises(PlayTokenExpired):
        unseal(seal(token, KEY), KEY, token.expires_ms)


@given(st.integers(0, 170), st.integers(1, 255))
def test_a_token_changed_anywhere_is_refused(place: int, change: int) -> None:
    sealed = seal(a_token(), KEY)
    raw = bytearray(base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4)))
    raw[place % len(raw)] ^= change
    with pytest.raises((PlayTokenRefused, PlayTokenExpired)):
        unseal(base64.urlsafe_b64encode(bytes(raw)).decode(), KEY, OPENED_MS + 1)


@given(st.text(max_size=400))
def test_no_text_whatever_is_taken_for_a_token(text: str) -> None:
    with pytest.raises((PlayTokenRefused, PlayTokenExpired)):
        unseal(text, KEY, OPENED_MS)


def test_a_token_of_another_service_is_refused() -> None:
    with pytest.raises(PlayTokenRefused):
        unseal(seal(a_token(), KEY), b"x" * 32, OPENED_MS + 1)
