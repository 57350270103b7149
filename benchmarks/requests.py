"""Plays over HTTP, one a request: opened, and recorded with the full check, durably. Beside a bare endpoint."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from random import Random
from uuid import UUID

from benchmarks.figures import Bench, Figure, alternating, at_least
from benchmarks.load import Run, drive, generator, written
from benchmarks.stage import METER, SECONDS, Listener, Stage, server, stage
from ledger.ids import uuid7
from ledger.tariff import Tariff
from streamcoop.playback.tokens import PlayToken, seal

CONNECTIONS = 64
LISTENERS, LISTENERS_QUICK = 20_000, 2_000
TRACKS = 500
REQUESTS, REQUESTS_QUICK = 10_000, 1_000
BARE_BAR = 0.35
# So long ago were the plays opened: past T, and no token has run out.
OPENED_MS_AGO = 60_000
TOKEN_MS = 3 * SECONDS * 1_000


def run(bench: Bench) -> Iterator[Figure]:
    """Record and open plays against the API, and post as much JSON to an endpoint that does nothing."""
    count = bench.size(REQUESTS, REQUESTS_QUICK)
    with (
        stage(bench.seed, bench.size(LISTENERS, LISTENERS_QUICK), TRACKS) as made,
        server(made) as (_, port),
        server(made, "benchmarks.bare:create_app") as (_, bare_port),
        generator() as pool,
    ):
        plays = Plays(made, Random(bench.seed))  # noqa: S311  # synthetic data
        to_nobody = [
            written("POST", "/record", who.headers, plays.recording(who, track)) for who, track in plays.next(1)
        ]

        def recording() -> float:
            asked = plays.next(count)
            sent = [
                written("POST", "/api/v1/plays/record", who.headers, plays.recording(who, what)) for who, what in asked
            ]
            return _driven(pool, port, sent).per_second(200)

        def opening() -> float:
            asked = plays.next(count)
            sent = [written("POST", "/api/v1/plays", who.headers, plays.opening(what)) for who, what in asked]
            return _driven(pool, port, sent).per_second(201)

        def bare() -> float:
            return _driven(pool, bare_port, to_nobody * count).per_second(200)

        bench.say(
            f"{count:,} requests a run on {CONNECTIONS} connections; no listener twice within her sign-in's memory"
        )
        for warm_up in (recording, opening, bare):
            warm_up()
        recorded, opened, answered = alternating(bench.runs, recording, opening, bare)
    control = "bare FastAPI endpoint"
    yield Figure("record a play over HTTP", recorded, "plays/s", control, answered, at_least(BARE_BAR, "ratio"))
    yield Figure("open a play over HTTP", opened, "plays/s", control, answered)


def _driven(pool: ProcessPoolExecutor, port: int, requests: list[bytes]) -> Run:
    return pool.submit(drive, port, requests, CONNECTIONS).result()


class Plays:
    """Plays that nobody has made yet: each with the ordinal and price that follow from those before."""

    def __init__(self, made: Stage, chance: Random) -> None:
        self._plays = made.plays(chance)
        self._secret_key = made.secret_key
        self._so_far: Counter[tuple[UUID, UUID]] = Counter()
        self._tariff = Tariff()
        self._chance = chance

    def next(self, count: int) -> list[tuple[Listener, UUID]]:
        """Who plays what next; nobody what she owns."""
        left_to_own = (play for play in self._plays if self._so_far[play[0].user_id, play[1]] < self._tariff.plays)
        return list(islice(left_to_own, count))

    def opening(self, track: UUID) -> bytes:
        """The body of a request that opens a play."""
        return json.dumps({"track_id": str(track)}).encode()

    def recording(self, listener: Listener, track: UUID) -> bytes:
        """The body of a request that records a play which has come to count, as its player sends it at T."""
        plays = self._so_far[listener.user_id, track]
        self._so_far[listener.user_id, track] += 1
        opened_ms = int(datetime.now(UTC).timestamp() * 1000) - OPENED_MS_AGO
        token = PlayToken(
            kind="play",
            codec="mp3",
            ordinal=plays + 1,
            play_id=uuid7(opened_ms, self._chance.getrandbits(80)),
            listener_id=listener.user_id,
            session_id=listener.session_id,
            track_id=track,
            price_micro=self._tariff.price_micro(plays + 1),
            expires_ms=opened_ms + TOKEN_MS,
            meter=METER,
        )
        return json.dumps({"play_token": seal(token, self._secret_key)}).encode()
