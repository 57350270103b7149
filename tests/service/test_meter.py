"""The meter under attack: whatever a client does, what is heard beyond the free part is paid for, once."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from ledger.ids import new_id
from ledger.recording import Claim, Recorded, Refused
from streamcoop.clock import now
from streamcoop.demo.client import until
from streamcoop.gathering import WAITING_MAX
from streamcoop.playback.desk import PlaybackDesk
from tests import production
from tests.service.coop import (
    LISTEN_MS_MAX,
    PRICES_MICRO,
    TOTAL_MICRO,
    WAIT_S_MAX,
    Coop,
    Json,
    Person,
    Track,
    at_once,
    listened,
    openings,
    problem_of,
    records,
    refusal,
    unchanged,
)

# nginx holds off who asks more than a thousand times at once.
TOKENS_OVER_HTTP = 400 if production.IS_CHOSEN else 1_500
TOKENS_AT_THE_DESK = 10_000
SECONDS = 3.0
LONG_S = 12.0
DEVICES = 6
ATTEMPTS = 10

Result = TypeVar("Result")


@pytest.fixture
def track(coop: Coop) -> Track:
    return coop.a_published_track(SECONDS)


@pytest.fixture
def other_track(coop: Coop) -> Track:
    return coop.a_published_track(SECONDS, 1)


def test_hundreds_of_tokens_on_the_credits_of_one_play_buy_one_play(coop: Coop) -> None:
    long, longer = coop.a_published_track(LONG_S), coop.a_published_track(LONG_S, 1)
    listener = coop.a_listener(PRICES_MICRO[0])
    opened = [
        *openings(listener, long, TOKENS_OVER_HTTP // 2),
        *openings(listener, longer, TOKENS_OVER_HTTP // 2),
    ]
    assert {(o["ordinal"], o["price_micro"]) for o in opened} == {(1, PRICES_MICRO[0])}

    # At once, so that it does not matter whether T has come for those opened last.
    answers = at_once(records(listener, opened, skip_ahead=True))

    paid = [answer for answer in answers if answer.status_code == 200]
    refused = {(a.status_code, a.json()["type"]) for a in answers if a.status_code != 200}
    assert len(paid) == 1
    assert refused == {(409, "/problems/price-moved"), (402, "/problems/insufficient-credit")}
    assert listener.spendable_micro == 0

    unpaid = [o for o, a in zip(opened, answers, strict=True) if a.status_code != 200][-12:]
    with ThreadPoolExecutor(6) as pool:
        for heard in pool.map(listener.hear, unpaid):
            assert len(heard.body) == longer.free_bytes
            assert not heard.whole
    assert coop.settled(listener)["balance_micro"] == 0


def test_ten_thousand_claims_on_the_credits_of_one_play_record_one(coop: Coop, track: Track) -> None:
    listener = coop.a_listener(PRICES_MICRO[0])
    tracks = [UUID(track.id), *(uuid4() for _ in range(TOKENS_AT_THE_DESK - 1))]

    async def storm() -> list[Any]:
        pool = AsyncConnectionPool(
            coop.settings.database_url.get_secret_value(), min_size=2, open=False, configure=_autocommit
        )
        async with pool, PlaybackDesk(pool, coop.settings) as desk:
            epoch = desk.calendar.epoch_at(now())
            claims = [
                Claim(new_id(), UUID(listener.id), track_id, "play", 1, PRICES_MICRO[0], epoch) for track_id in tracks
            ]
            return [outcome.decision for outcome in await asyncio.gather(*map(desk.record, claims))]

    assert TOKENS_AT_THE_DESK <= WAITING_MAX
    decisions = asyncio.run(storm())
    refused = {d.reason for d in decisions if isinstance(d, Refused)}
    assert sum(isinstance(d, Recorded) for d in decisions) == 1
    assert refused == {"insufficient-credit"}
    assert coop.settled(listener)["balance_micro"] == 0


async def _autocommit(conn: psycopg.AsyncConnection[Any]) -> None:
    await conn.set_autocommit(True)


def test_nine_tokens_opened_together_are_recorded_once_and_the_others_learn_the_new_price(
    coop: Coop, track: Track
) -> None:
    listener = coop.a_listener(TOTAL_MICRO)
    opened = openings(listener, track, 9)
    answers = at_once(records(listener, opened, skip_ahead=True))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 8
    moved = [refusal(a, 409, "price-moved") for a in answers if a.status_code != 200]
    assert {(m["ordinal"], m["price_micro"]) for m in moved} == {(2, PRICES_MICRO[1])}
    assert listener.spendable_micro == TOTAL_MICRO - PRICES_MICRO[0]
    assert listener.progress(track) == (1, PRICES_MICRO[0], False)


def test_a_play_that_another_device_moved_on_is_refused_with_the_price_it_would_be_now(
    coop: Coop, track: Track
) -> None:
    listener = coop.a_listener(TOTAL_MICRO)
    elsewhere = listener.other_session()
    opened = listener.open(track)
    elsewhere.pay(track)
    moved = refusal(listener.record(opened, skip_ahead=True), 409, "price-moved")
    assert (moved["ordinal"], moved["price_micro"]) == (2, PRICES_MICRO[1])
    beyond = listener.hear(opened, f"bytes={track.free_bytes}-", skip_ahead=True)
    assert (beyond.status, beyond.problem["type"]) == (409, "/problems/price-moved")
    assert listener.spendable_micro == TOTAL_MICRO - PRICES_MICRO[0]


def test_a_paid_token_plays_again_for_nothing_until_it_is_worn_out(coop: Coop) -> None:
    short = coop.a_published_track(1.5)
    listener = coop.a_listener(TOTAL_MICRO)
    opened = listener.open(short)
    assert listener.record(opened, skip_ahead=True).status_code == 200
    for _ in range(3):
        assert len(listener.hear(opened).body) == short.size

    def worn_out() -> bool | None:
        answer = listener.hear(opened, "bytes=0-0")
        return True if answer.status == 410 else None

    until(worn_out, "the token to expire", WAIT_S_MAX)
    assert listener.hear(opened).problem["type"] == "/problems/play-token-expired"
    assert listener.hear(opened, f"bytes={short.size - 1}-").status == 410
    refusal(listener.record(opened), 410, "play-token-expired")
    refusal(listener.record(opened, skip_ahead=True), 410, "play-token-expired")
    assert listener.spendable_micro == TOTAL_MICRO - PRICES_MICRO[0]


def _before_t(coop: Coop, track: Track, ask: Callable[[Person, Json], Result]) -> tuple[Person, Json, Result]:
    """Somebody who can pay one play, the play she opened, and what came of asking, all before T by our own clock."""
    for _ in range(ATTEMPTS):
        listener = coop.a_listener(PRICES_MICRO[0])
        before = time.monotonic()
        opened = listener.open(track)
        result = ask(listener, opened)
        if time.monotonic() - before < opened["counts_after_ms"] / 1000:
            return listener, opened, result
    raise AssertionError("this machine is too slow to ask for anything before T")


@pytest.mark.parametrize("seconds", [0.6, 1.5])
def test_a_short_track_counts_at_half_of_it_and_two_thirds_are_free(coop: Coop, seconds: float) -> None:
    short = coop.a_published_track(seconds)
    listener, opened, answer = _before_t(coop, short, lambda listener, opened: listener.record(opened))
    assert opened["counts_after_ms"] == min(LISTEN_MS_MAX, opened["duration_ms"] // 2)
    assert opened["free_ms"] == min(opened["counts_after_ms"] + 600, opened["duration_ms"] * 2 // 3)
    early = refusal(answer, 425, "too-early")
    assert 0 < early["retry_after_ms"] <= opened["counts_after_ms"]
    heard = listener.hear(opened)
    assert (heard.status, heard.whole, len(heard.body)) == (200, True, short.size)
    assert listener.spendable_micro == 0


def test_a_plain_request_waits_for_t_gets_every_byte_and_is_recorded(coop: Coop, track: Track) -> None:
    listener = coop.a_listener(PRICES_MICRO[0])
    before = time.monotonic()
    opened = listener.open(track)
    heard = listener.hear(opened)
    # F is longer than T, so that who gets beyond F has waited for T.
    assert heard.bytes_by(before + LISTEN_MS_MAX / 1000) < track.free_bytes
    assert (heard.status, heard.whole, len(heard.body)) == (200, True, track.size)
    assert listener.spendable_micro == 0
    first = listener.record(opened)
    assert first.status_code == 200
    assert first.json()["price_micro"] == PRICES_MICRO[0]


@pytest.mark.parametrize("connections", [1, 8])
def test_a_client_that_only_buffers_is_short_of_the_free_part_at_t(coop: Coop, connections: int) -> None:
    long = coop.a_published_track(LONG_S)
    listener = coop.a_listener(0)
    before = time.monotonic()
    opened = listener.open(long)
    starts = [long.free_bytes * n // connections for n in range(connections)]
    ranges = [f"bytes={start}-" if connections > 1 else None for start in starts]
    with ThreadPoolExecutor(connections) as pool:
        heard = list(pool.map(lambda range_: listener.hear(opened, range_), ranges))
    at_t = before + LISTEN_MS_MAX / 1000
    reached = max(start + h.bytes_by(at_t) for start, h in zip(starts, heard, strict=True) if h.bytes_by(at_t))
    assert reached < long.free_bytes
    assert max(start + len(h.body) for start, h in zip(starts, heard, strict=True)) == long.free_bytes


def test_a_listener_without_credit_gets_the_free_part_and_not_a_byte_more(coop: Coop, track: Track) -> None:
    listener = coop.a_listener(0)
    opened = listener.open(track)
    assert (opened["refusal"], opened["missing_micro"]) == ("/problems/insufficient-credit", PRICES_MICRO[0])
    heard = listener.hear(opened)
    assert (heard.status, heard.whole) == (200, False)
    assert len(heard.body) == track.free_bytes
    beyond = listener.hear(opened, f"bytes={track.free_bytes}-")
    assert (beyond.status, beyond.problem["missing_micro"]) == (402, PRICES_MICRO[0])
    skipped = listener.hear(opened, skip_ahead=True)
    assert (skipped.status, skipped.problem["type"]) == (402, "/problems/insufficient-credit")
    across = listener.hear(opened, f"bytes={track.free_bytes - 10}-{track.free_bytes + 10}")
    assert (across.status, across.whole, len(across.body)) == (206, False, 10)
    assert listener.progress(track) == (0, 0, False)


def test_seeking_beyond_the_free_part_is_refused_before_t_and_recorded_from_t_on(coop: Coop, track: Track) -> None:
    seek = f"bytes={track.free_bytes}-"
    listener, opened, early = _before_t(coop, track, lambda listener, opened: listener.hear(opened, seek))
    assert (early.status, early.problem["type"]) == (425, "/problems/too-early")
    assert int(early.headers["retry-after"]) >= 1

    def beyond() -> Any:
        heard = listener.hear(opened, seek)
        return heard if heard.status != 425 else None

    heard = until(beyond, "T", WAIT_S_MAX)
    assert (heard.status, heard.whole, len(heard.body)) == (206, True, track.size - track.free_bytes)
    assert heard.headers["content-range"] == f"bytes {track.free_bytes}-{track.size - 1}/{track.size}"
    assert listener.spendable_micro == 0


@pytest.mark.parametrize("range_", [None, "bytes=-1", "bytes=0-0"])
def test_skipping_ahead_counts_at_once(coop: Coop, track: Track, range_: str | None) -> None:
    listener = coop.a_listener(PRICES_MICRO[0])
    opened = listener.open(track)
    heard = listener.hear(opened, range_, skip_ahead=True)
    assert heard.whole
    assert listener.spendable_micro == 0


def test_a_play_recorded_by_skipping_ahead_is_answered_alike_when_the_player_records_it_before_t(coop: Coop) -> None:
    long = coop.a_published_track(LONG_S)
    listener = coop.a_listener(TOTAL_MICRO)
    opened = listener.open(long)
    first = listener.record(opened, skip_ahead=True)
    again = listener.record(opened)
    assert (again.status_code, again.json()) == (200, first.json())
    assert listener.hear(opened, "bytes=-1").status == 206
    assert listener.spendable_micro == TOTAL_MICRO - PRICES_MICRO[0]


def test_looking_at_a_stream_without_taking_it_costs_nothing(coop: Coop, track: Track) -> None:
    listener = coop.a_listener(PRICES_MICRO[0])
    opened = listener.open(track)
    # Ranges are for GET alone.
    for range_ in (None, "bytes=-1", f"bytes={track.size}-"):
        head = listener.hear(opened, range_, "HEAD", skip_ahead=True)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == str(track.size)
    assert listener.spendable_micro == PRICES_MICRO[0]


def test_many_devices_that_record_the_same_track_pay_every_ordinal_once(coop: Coop, track: Track) -> None:
    budget_micro = sum(PRICES_MICRO[:3]) + PRICES_MICRO[0]
    listener = coop.a_listener(budget_micro)
    devices = [listener, *(listener.other_session() for _ in range(DEVICES // 2))]
    devices += [listener.api_token() for _ in range(DEVICES - len(devices))]
    ordinals = []
    for _ in range(4):
        opened = [(device, device.open(track)) for device in devices for _ in range(2)]
        requests = [request for device, o in opened for request in records(device, [o], skip_ahead=True)]
        answers = at_once(requests)
        ordinals += [answer.json()["ordinal"] for answer in answers if answer.status_code == 200]
        assert {answer.status_code for answer in answers} <= {200, 402, 409}
    assert ordinals == [1, 2, 3]
    assert listener.spendable_micro == PRICES_MICRO[0]
    assert coop.settled(listener)["balance_micro"] == PRICES_MICRO[0]
    assert listener.progress(track) == (3, sum(PRICES_MICRO[:3]), False)


def _forged(token: str, place: int) -> str:
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    raw[place] ^= 1
    return base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("=")


@pytest.mark.parametrize("whose", ["another listener", "another session", "an API token"])
def test_a_token_works_only_for_the_session_it_was_given_to(coop: Coop, track: Track, whose: str) -> None:
    listener = coop.a_listener(TOTAL_MICRO)
    opened = listener.open(track)
    thief = {
        "another listener": lambda: coop.a_listener(TOTAL_MICRO),
        "another session": listener.other_session,
        "an API token": listener.api_token,
    }[whose]()
    refusal(thief.record(opened, skip_ahead=True), 403, "play-token-refused")
    heard = thief.hear(opened)
    assert (heard.status, heard.problem["type"]) == (403, "/problems/play-token-refused")
    assert thief.spendable_micro == listener.spendable_micro == TOTAL_MICRO


def test_a_visitor_cannot_use_a_token(coop: Coop, track: Track) -> None:
    opened = coop.a_listener(TOTAL_MICRO).open(track)
    heard = listened(coop.visitor, "GET", opened["stream_url"])
    assert (heard.status, heard.problem["type"]) == (401, "/problems/not-signed-in")
    assert heard.headers["www-authenticate"].startswith("Bearer")


def test_forged_and_truncated_tokens_are_refused(coop: Coop, track: Track) -> None:
    listener = coop.a_listener(TOTAL_MICRO)
    token = listener.open(track)["play_token"]
    forgeries = [_forged(token, place) for place in (4, 20, 60, -1)]
    for text in [*forgeries, token[:-1], token[:40], token[: len(token) // 2], token + "A", "A", "é" * 20, token * 2]:
        answers = [
            listener.http.get(f"/stream/{text}"),
            listener.record({"play_token": text}, skip_ahead=True),
        ]
        for answer in answers:
            problem = problem_of(answer.status_code, answer.headers, answer.content)
            assert answer.status_code in {403, 410, 422}, problem
    assert listener.spendable_micro == TOTAL_MICRO


def test_a_withdrawn_track_is_gone_for_others_and_stays_with_its_owners(coop: Coop) -> None:
    own = coop.publish(1.5)
    owner, listener = coop.a_listener(TOTAL_MICRO), coop.a_listener(TOTAL_MICRO)
    assert owner.buy(own).status_code == 200
    own.artist.post(f"/releases/{own.release_id}/withdraw")
    for kind in ("play", "buyout"):
        answer = listener.http.post("/api/v1/plays", json={"track_id": own.id, "kind": kind})
        refusal(answer, 404, "not-found")
    refusal(listener.http.get(f"/api/v1/tracks/{own.id}/original"), 404, "not-found")
    refusal(coop.visitor.get(f"/api/v1/tracks/{own.id}/preview"), 404, "not-found")
    opened = owner.open(own)
    assert opened["free"]
    assert len(owner.hear(opened).body) == own.size
    assert owner.http.get(f"/api/v1/tracks/{own.id}/original").content == own.source
    assert listener.spendable_micro == TOTAL_MICRO


def test_ones_own_track_costs_nothing_and_is_not_recorded(coop: Coop, track: Track) -> None:
    artist = track.artist
    opened = artist.open(track)
    assert (opened["free"], opened["price_micro"], opened["refusal"]) == (True, 0, None)
    refusal(artist.record(opened, skip_ahead=True), 409, "not-metered")
    assert artist.hear(opened).body == artist.hear(opened, "bytes=0-").body
    answer = artist.http.post("/api/v1/plays", json={"track_id": track.id, "kind": "buyout"})
    refusal(answer, 409, "already-owned")
    assert artist.progress(track) == (0, 0, False)
    assert artist.http.get(f"/api/v1/tracks/{track.id}/original").content == track.source


def test_buying_now_costs_what_is_left_and_makes_the_track_ones_own(coop: Coop, track: Track) -> None:
    listener = coop.a_listener(TOTAL_MICRO)
    original = f"/api/v1/tracks/{track.id}/original"
    refusal(listener.http.get(original), 404, "not-found")
    listener.pay(track)
    refusal(listener.http.get(original), 404, "not-found")

    metered = listener.open(track)
    opened = listener.open(track, kind="buyout")
    left_micro = TOTAL_MICRO - PRICES_MICRO[0]
    assert opened["price_micro"] == opened["left_to_own_micro"] == left_micro
    bought = listener.record(opened)
    assert (bought.status_code, bought.json()["price_micro"], bought.json()["owned"]) == (200, left_micro, True)
    assert listener.record(opened).json() == bought.json()

    assert listener.spendable_micro == 0
    assert listener.progress(track) == (1, TOTAL_MICRO, True)
    refusal(listener.record(metered, skip_ahead=True), 409, "already-owned")
    answer = listener.http.post("/api/v1/plays", json={"track_id": track.id, "kind": "buyout"})
    refusal(answer, 409, "already-owned")
    download = listener.http.get(original)
    assert download.content == track.source
    assert "piece.wav" in download.headers["content-disposition"]
    owned = listener.open(track)
    assert (owned["free"], owned["price_micro"], owned["left_to_own_micro"]) == (True, 0, 0)
    assert len(listener.hear(owned).body) == track.size
    refusal(listener.record(owned), 409, "not-metered")
    assert coop.settled(listener)["balance_micro"] == 0


def test_a_stream_is_not_cut_off_when_the_listener_comes_to_own_the_track_elsewhere(coop: Coop) -> None:
    long = coop.a_published_track(LONG_S)
    listener = coop.a_listener(TOTAL_MICRO)
    opened = listener.open(long)
    assert listener.other_session().buy(long).status_code == 200
    heard = listener.hear(opened)
    assert (heard.whole, len(heard.body)) == (True, long.size)
    assert listener.spendable_micro == 0


def test_a_visitor_hears_the_preview_and_never_more(coop: Coop) -> None:
    long = coop.a_published_track(LONG_S)
    path = f"/api/v1/tracks/{long.id}/preview"
    clip = listened(coop.visitor, "GET", path)
    assert (clip.status, clip.headers["content-type"]) == (200, "audio/mpeg")
    assert 0 < len(clip.body) <= long.size // 2 + 4_096
    assert int(clip.headers["content-length"]) == len(clip.body)
    tail = listened(coop.visitor, "GET", path, f"bytes=10-{long.size}")
    assert (tail.status, tail.body) == (206, clip.body[10:])
    beyond = listened(coop.visitor, "GET", path, f"bytes={len(clip.body)}-")
    assert (beyond.status, beyond.problem["type"]) == (416, "/problems/range-not-satisfiable")


RANGES = {
    "reversed": ("bytes=9-5", 200, slice(None)),
    "malformed": ("bytes=a-b", 200, slice(None)),
    "empty": ("bytes=", 200, slice(None)),
    "another unit": ("items=0-5", 200, slice(None)),
    "several": ("bytes=0-1,5-6", 200, slice(None)),
    "a hundred": ("bytes=" + ",".join(f"{n}-" for n in range(100)), 200, slice(None)),
    "first byte": ("bytes=0-0", 206, slice(0, 1)),
    "beyond the end": ("bytes=10-999999999999999999", 206, slice(10, None)),
    "suffix": ("bytes=-7", 206, slice(-7, None)),
    "suffix beyond the beginning": ("bytes=-999999999", 206, slice(None)),
    "past the end": ("bytes=999999999-", 416, None),
    "no suffix": ("bytes=-0", 416, None),
    "number too long": ("bytes=0-" + "9" * 500, 200, slice(None)),
}


@pytest.mark.parametrize("case", RANGES)
def test_a_range_is_read_alike_on_paid_owned_preview_and_original(coop: Coop, case: str) -> None:
    short = coop.a_published_track(1.5)
    header, status, part = RANGES[case]
    owner = short.artist
    paying = coop.a_listener(PRICES_MICRO[0])
    paid = paying.open(short)
    assert paying.record(paid, skip_ahead=True).status_code == 200
    sources: dict[str, Any] = {
        "paid": lambda range_: paying.hear(paid, range_),
        "owned": lambda range_: owner.hear(owner.open(short), range_),
        "preview": lambda range_: listened(coop.visitor, "GET", f"/api/v1/tracks/{short.id}/preview", range_),
        "original": lambda range_: listened(owner.http, "GET", f"/api/v1/tracks/{short.id}/original", range_),
    }
    for what, ask in sources.items():
        whole, heard = ask(None).body, ask(header)
        assert heard.status == status, what
        assert heard.headers["accept-ranges"] == "bytes" if part else True
        if part is None:
            assert heard.problem["type"] == "/problems/range-not-satisfiable"
        else:
            assert heard.body == whole[part], what


@pytest.mark.embedded_parts("before an S3, nginx sends the whole to whoever resumes by If-Range")
def test_a_range_whose_if_range_holds_is_answered_in_part_and_an_empty_one_never_holds(coop: Coop) -> None:
    path = f"/api/v1/tracks/{coop.a_published_track(1.5).id}/preview"
    tag = coop.visitor.get(path).headers["etag"]
    for named, range_, status in (
        (tag, "bytes=5-9", 206),
        (tag, "bytes=999999999-", 416),
        ("", "bytes=999999999-", 200),
    ):
        answer = coop.visitor.get(path, headers={"Range": range_, "If-Range": named})
        assert answer.status_code == status, (named, range_)


def test_a_range_whose_if_range_does_not_hold_is_ignored_wherever_it_lies(coop: Coop) -> None:
    short = coop.a_published_track(1.5)
    path = f"/api/v1/tracks/{short.id}/preview"
    whole = coop.visitor.get(path)
    for range_ in ("bytes=5-9", "bytes=999999999-"):
        answer = coop.visitor.get(path, headers={"Range": range_, "If-Range": '"another"'})
        assert (answer.status_code, answer.content) == (200, whole.content), range_
    paying = coop.a_listener(PRICES_MICRO[0])
    paid = paying.open(short)
    assert paying.record(paid, skip_ahead=True).status_code == 200
    # No ETag goes with a metered play.
    conditional = {"Range": "bytes=5-9", "If-Range": whole.headers["etag"]}
    assert paying.http.head(paid["stream_url"]).headers.get("etag") is None
    assert paying.http.get(paid["stream_url"], headers=conditional).status_code == 200


def test_a_monthly_budget_is_never_exceeded(coop: Coop, track: Track, other_track: Track) -> None:
    listener = coop.a_listener(TOTAL_MICRO)
    listener.limit(monthly_budget_micro=PRICES_MICRO[0] + PRICES_MICRO[1])
    listener.pay(track)
    listener.pay(track)
    opened = listener.open(other_track)
    assert opened["refusal"] == "/problems/over-budget"
    over = refusal(listener.record(opened, skip_ahead=True), 403, "over-budget")
    assert over["missing_micro"] == PRICES_MICRO[0]
    refusal(listener.buy(other_track), 403, "over-budget")
    assert len(listener.hear(opened).body) == other_track.free_bytes
    assert listener.get("/wallet")["spent_this_month_micro"] == PRICES_MICRO[0] + PRICES_MICRO[1]


def test_a_listener_is_never_taken_past_the_play_she_named(coop: Coop, track: Track) -> None:
    listener = coop.a_listener(TOTAL_MICRO)
    listener.limit(stop_before_ordinal=2)
    listener.pay(track)
    opened = listener.open(track)
    assert opened["refusal"] == "/problems/stopped-before"
    refusal(listener.record(opened, skip_ahead=True), 403, "stopped-before")
    assert len(listener.hear(opened).body) == track.free_bytes
    assert listener.spendable_micro == TOTAL_MICRO - PRICES_MICRO[0]


def test_limits_set_on_one_device_hold_on_another_at_once(coop: Coop, track: Track) -> None:
    phone = coop.a_listener(TOTAL_MICRO)
    tablet = phone.other_session()
    opened = tablet.open(track)
    assert opened["refusal"] is None
    phone.limit(stop_before_ordinal=1)
    refusal(tablet.record(opened, skip_ahead=True), 403, "stopped-before")
    phone.limit(monthly_budget_micro=0)
    refusal(tablet.record(opened, skip_ahead=True), 403, "over-budget")
    phone.limit()
    assert tablet.record(opened, skip_ahead=True).status_code == 200


def test_nine_plays_follow_the_curve_to_the_unit_and_the_tenth_is_free(coop: Coop, track: Track) -> None:
    listener = coop.a_listener(TOTAL_MICRO)
    paid_micro = 0
    for ordinal, price_micro in enumerate(PRICES_MICRO, 1):
        opened = listener.open(track)
        assert (opened["ordinal"], opened["price_micro"], opened["plays_to_own"]) == (ordinal, price_micro, 9)
        assert opened["left_to_own_micro"] == TOTAL_MICRO - paid_micro
        assert opened["price_money_micro"] == price_micro * 5
        answer = listener.record(opened, skip_ahead=True).json()
        paid_micro += price_micro
        assert (answer["ordinal"], answer["price_micro"], answer["owned"]) == (ordinal, price_micro, ordinal == 9)
        assert listener.progress(track) == (ordinal, paid_micro, ordinal == 9)
        assert listener.spendable_micro == TOTAL_MICRO - paid_micro
    assert listener.open(track)["free"]
    assert coop.settled(listener)["balance_micro"] == 0
    _require_statement(listener, track)


def _require_statement(listener: Person, track: Track) -> None:
    month = f"{now():%Y-%m}"
    told: Json = listener.get("/wallet/statement", month=month)
    plays = [line for line in told["lines"] if line["kind"] == "play"]
    assert [line["ordinal"] for line in plays] == list(range(1, 10))
    assert [line["credits_micro"] for line in plays] == [-price for price in PRICES_MICRO]
    assert {(line["track_id"], line["settled"]) for line in plays} == {(track.id, True)}
    assert (told["opening_micro"], told["in_micro"], told["out_micro"]) == (0, TOTAL_MICRO, TOTAL_MICRO)
    assert told["closing_micro"] == 0
    csv = listener.http.get("/api/v1/wallet/statement.csv", params={"month": month})
    assert csv.text.count("\n") == len(told["lines"]) + 1


def test_whoever_does_not_record_pays_nothing_however_often_she_listens_to_free_parts(coop: Coop, track: Track) -> None:
    listener = coop.a_listener(TOTAL_MICRO)
    with unchanged(lambda: (listener.spendable_micro, listener.progress(track))):
        for opened in openings(listener, track, 4):
            heard = listener.hear(opened, f"bytes=0-{track.free_bytes - 1}")
            assert (heard.status, heard.whole, len(heard.body)) == (206, True, track.free_bytes)


def test_listening_never_buys_a_track_by_itself(coop: Coop, track: Track) -> None:
    listener = coop.a_listener(TOTAL_MICRO)
    opened = listener.open(track, kind="buyout")
    assert opened["stream_url"] is None

    answer = listener.http.get(f"/stream/{opened['play_token']}", headers={"Range": "bytes=-1"})

    refusal(answer, 403, "play-token-refused")
    assert listener.spendable_micro == TOTAL_MICRO


def test_a_balance_can_be_asked_for_any_instant(coop: Coop, track: Track) -> None:
    before = now().isoformat()
    listener = coop.a_listener(TOTAL_MICRO)
    between = now().isoformat()
    listener.pay(track)
    coop.settled(listener)

    assert listener.get("/wallet/balance", at=before)["balance_micro"] == 0
    assert listener.get("/wallet/balance", at=between)["balance_micro"] == TOTAL_MICRO
    assert listener.get("/wallet/balance", at=now().isoformat())["balance_micro"] == (TOTAL_MICRO - PRICES_MICRO[0])
