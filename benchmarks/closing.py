"""Closing an epoch by the service's own path: time that goes with its tracks, not with its plays."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from sqlalchemy import text
from sqlalchemy.orm import Session

from benchmarks.coop import NOW, Coop, coop, partition_of
from benchmarks.figures import Bench, Figure, alternating, at_most
from streamcoop.royalties.service import close_epoch

LISTENERS, TRACKS = 50_000, 100_000
PLAYS, PLAYS_QUICK = 10_000_000, 100_000
FEWER = 10
OF_BARE_MAX = 1.3
TRANSACTION_S_MAX = 2.0
TRACKS_AN_ARTIST = 10

# Each artist has one release; every fourth track is shared with the artist before.
_CATALOGUE = f"""
    create table bench.artist as
    select n, md5('artist:' || n)::uuid as id, md5('owner:' || n)::uuid as owner_id,
           md5('release:' || n)::uuid as release_id
      from generate_series(0, (select (count(*) - 1) / {TRACKS_AN_ARTIST} from bench.track)) as n;
    insert into coop.user (id, email, password_hash, name, roles, created_at)
    select owner_id, 'artist' || n || '@example.org', 'none', 'Artist ' || n, array['listener', 'artist'], %(now)s
      from bench.artist;
    insert into coop.artist (id, owner_id, name, words, created_at)
    select id, owner_id, 'Artist ' || n, 'artist ' || n, %(now)s from bench.artist;
    insert into coop.release (id, artist_id, title, kind, state, created_at, published_at, words)
    select release_id, id, 'Release ' || n, 'album', 'published', %(now)s, %(now)s, 'release ' || n
      from bench.artist;
    insert into coop.track (id, release_id, artist_id, position, title, state, duration_ms, original, sha256, format,
                            content_type, lossless, bytes, filename, uploaded_at, tags, attempts, words, release_words)
    select t.id, a.release_id, a.id, t.n %% {TRACKS_AN_ARTIST} + 1, 'Track ' || t.n, 'ready', 180000, 'none',
           sha256(t.n::text::bytea), 'flac', 'audio/flac', true, 1, t.n || '.flac', %(now)s, '{{}}', 0, '', ''
      from bench.track t join bench.artist a on a.n = t.n / {TRACKS_AN_ARTIST};
    insert into coop.split (id, track_id, effective_epoch, proposed_by, proposed_at)
    select md5('split:' || t.n)::uuid, t.id, %(epoch)s, a.owner_id, %(now)s
      from bench.track t join bench.artist a on a.n = t.n / {TRACKS_AN_ARTIST} where t.n %% 4 = 0 and a.n > 0;
    insert into coop.split_share (split_id, payee, share_bp, consented_at)
    select md5('split:' || t.n)::uuid, a.owner_id, 5000, %(now)s
      from bench.track t join bench.artist a on a.n in (t.n / {TRACKS_AN_ARTIST}, t.n / {TRACKS_AN_ARTIST} - 1)
     where t.n %% 4 = 0 and t.n >= {TRACKS_AN_ARTIST};
    analyze
"""


def run(bench: Bench) -> Iterator[Figure]:
    """The epoch's close beside the bare sum of its plays, and beside a close of the same tracks with fewer plays."""
    plays = bench.size(PLAYS, PLAYS_QUICK)
    listeners, tracks = bench.size(LISTENERS, LISTENERS // 10), bench.size(TRACKS, TRACKS // 10)
    with coop(bench.seed, listeners, tracks, capacity=2 * plays) as made:
        quiet, busy = made.founding.first_epoch, made.founding.first_epoch + 1
        with made.superuser() as connection:
            psycopg.ClientCursor(connection).execute(_CATALOGUE, {"now": NOW, "epoch": quiet})
        for epoch, count in ((quiet, plays // FEWER), (busy, plays)):
            bench.say(f"loading {count:,} plays")
            made.load_plays([epoch], count)
            made.tally([epoch])
        (summed_s,) = alternating(bench.runs, lambda: _summed_s(made, busy))
        with made.superuser() as connection:
            # A close reads tallies and balances, no play: without them copies are cheap.
            for epoch in (quiet, busy):
                connection.execute(f"drop table ledger.{partition_of(epoch)}")
        few: list[_Close] = []
        many: list[_Close] = []
        with made.copied("quiet_closed") as further:
            _close(further, quiet)
            for run_number in range(bench.runs):
                bench.say(f"closing, {run_number + 1} of {bench.runs}")
                few.append(_closed_copy(made, quiet))
                many.append(_closed_copy(further, busy))
    close_s = statistics.median(close.seconds for close in many)
    yield Figure(
        f"epoch closed, {plays:,} plays of {many[0].tracks:,} tracks",
        close_s, "s", "the bare sum of its plays by track", summed_s,
    )  # fmt: skip
    yield Figure(
        "epoch closed, per track",
        statistics.median(close.track_us for close in many), "µs",
        f"with a tenth of the plays ({few[0].tracks:,} tracks)", statistics.median(close.track_us for close in few),
        at_most(OF_BARE_MAX, "ratio"),
    )  # fmt: skip
    longest_s = max(close.longest_transaction_s for close in few + many)
    yield Figure("longest transaction of a close", longest_s, "s", bar=at_most(TRANSACTION_S_MAX))


@dataclass
class _Close:
    """A close by the service, each transaction of it timed."""

    made: Coop
    transactions_s: list[float] = field(default_factory=list)
    tracks: int = 0

    @property
    def seconds(self) -> float:
        return sum(self.transactions_s)

    @property
    def track_us(self) -> float:
        return self.seconds / self.tracks * 1e6

    @property
    def longest_transaction_s(self) -> float:
        return max(self.transactions_s)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        begun = time.perf_counter()
        with Session(self.made.engine, expire_on_commit=False) as session, session.begin():
            yield session
        self.transactions_s.append(time.perf_counter() - begun)


def _close(made: Coop, epoch: int) -> _Close:
    close = _Close(made)
    if not close_epoch(close.transaction, made.founding, epoch, lambda: NOW):
        raise RuntimeError(f"epoch {epoch} was closed already")
    with made.engine.connect() as connection:
        counted = text("select count(*) from ledger.track_close where closed_in = :epoch")
        close.tracks = connection.scalar(counted, {"epoch": epoch}) or 0
    return close


def _closed_copy(made: Coop, epoch: int) -> _Close:
    with made.copied("closing") as copy:
        return _close(copy, epoch)


def _summed_s(made: Coop, epoch: int) -> float:
    begun = time.perf_counter()
    with made.engine.connect() as connection:
        summed = "select track_id, sum(price_micro) from ledger.play where epoch = :epoch group by track_id"
        connection.execute(text(summed), {"epoch": epoch}).all()
    return time.perf_counter() - begun
