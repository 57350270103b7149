"""A synthetic co-op in a PostgreSQL of its own: for one seed always the same listeners, tracks and plays.

Few tracks are played much, by Zipf's law, and few listeners play much, by a flatter one. Its books are whole: what is
loaded in bulk stands there as if it had been recorded and settled, and all that `check-books` finds is that no log
tells what wallets were filled with.
"""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from uuid import UUID

import psycopg
from psycopg import sql
from sqlalchemy import Engine, create_engine

from ledger import accounts
from ledger.constitution import Constitution
from ledger.epochs import Calendar
from ledger.ids import lowest_id, uuid7
from ledger.rates import NetFactors, Rates
from ledger.recording import Claim
from ledger.rules import Rules
from ledger.store import partitions, posting, settling, terms
from ledger.store.posting import Transfer
from ledger.tariff import Progress, Tariff
from streamcoop.database import STATEMENT_TIMEOUT_MS, with_driver
from streamcoop.embedded import databases, postgres
from streamcoop.migrate import migrate

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
CALENDAR = Calendar()
EPOCH = CALENDAR.epoch_at(NOW)
MONTHS_BEFORE = 36
TARIFF = Tariff()
CREDIT_PRICE_MICRO = 1_000_000
FUNDS_MICRO = 100_000 * 1_000_000
# How often a listener plays each of thirteen tracks of hers: most of them once; after nine plays she owns one.
LIBRARY = (1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 9)
# Rank = listeners × uniform^exponent: shares fall with rank^(1/exponent − 1), that is ^-0.5. By Zipf's law the first of
# 50,000 would listen to a tenth of all music, more than a day has hours for.
LISTENER_EXPONENT = 2
# A prime above every count it shuffles, so t × STRIDE mod count visits each number once.
STRIDE = 2_654_435_761
SETTLINGS_A_MONTH = 10
CORES = 2
# Where PostgreSQL has to run as another account, that one must get through.
PASSABLE = 0o711


@dataclass(frozen=True)
class Settled:
    """What settling until nothing waited came to."""

    plays: int
    seconds: float
    longest_transaction_s: float


@dataclass(frozen=True)
class Coop:
    """A founded co-op with funded wallets. `capacity` is how many plays its libraries hold."""

    cluster: postgres.Cluster
    database: str
    app_url: str
    engine: Engine
    founding: terms.Founding
    seed: int
    listeners: Sequence[UUID]
    tracks: Sequence[UUID]
    capacity: int
    random: Random = field(repr=False)

    def superuser(self) -> psycopg.Connection:
        """A connection for loading: it checks no foreign keys and does not wait for the disk."""
        connection = psycopg.connect(self.cluster.superuser_url(self.database), autocommit=True)
        connection.execute(_LOADING)
        return connection

    def claims(self, count: int) -> list[Claim]:
        """So many plays that are due now, no two of them by one listener of one track. The queue must be empty."""
        due: dict[tuple[UUID, UUID], None] = {}
        claims: list[Claim] = []
        while len(claims) < count:
            drawn: dict[tuple[UUID, UUID], None] = {}
            for _ in range(count - len(claims)):
                listener = self.listeners[int(len(self.listeners) * self.random.random() ** LISTENER_EXPONENT)]
                track = self.tracks[int(len(self.tracks) ** self.random.random()) - 1]
                if (listener, track) not in due:
                    drawn[listener, track] = None
            due |= drawn
            claims += self._quoted(list(drawn))
        return claims

    def _quoted(self, pairs: list[tuple[UUID, UUID]]) -> list[Claim]:
        asked = {"listeners": [listener for listener, _ in pairs], "tracks": [track for _, track in pairs]}
        with psycopg.connect(self.app_url) as connection:
            rows = connection.execute(_PROGRESS, asked).fetchall()
        at_ms = int(NOW.timestamp() * 1000)
        return [
            Claim(
                uuid7(at_ms, self.random.getrandbits(80)),
                listener,
                track,
                "play",
                progress.plays + 1,
                TARIFF.next_price_micro(progress),
                EPOCH,
            )
            for listener, track, *figures in rows
            if not TARIFF.owns(progress := Progress(*figures))
        ]

    def load_plays(self, epochs: Sequence[int], plays_each: int) -> None:
        """Record so many plays (whole libraries of them) in each of these epochs, which get a partition each.

        No listener goes on in one epoch with a track of another. The plays are neither queued nor settled.
        """
        plays_each -= plays_each % sum(LIBRARY)
        with _loading(self.cluster), self.superuser() as connection:
            for epoch in epochs:
                # Without indexes: attaching builds them, from all rows at once.
                name = sql.Identifier("ledger", partition_of(epoch))
                made = "create table {} (like ledger.play including defaults including constraints)"
                connection.execute(sql.SQL(made).format(name))
                connection.execute(sql.SQL("alter table {} owner to {}").format(name, sql.Identifier(databases.OWNER)))
            with ThreadPoolExecutor(CORES) as threads:
                parts = itertools.product(epochs, range(CORES))
                list(threads.map(lambda part: self._load_part(*part, plays_each), parts))
                list(threads.map(self._attach_partition, epochs))

    def _load_part(self, epoch: int, part: int, plays: int) -> None:
        pairs = [(pair, ordinal) for pair, times in enumerate(LIBRARY) for ordinal in range(1, times + 1)]
        begins, ends = CALENDAR.starts_at(epoch), CALENDAR.ends_at(epoch)
        given = {
            "seed": f"{self.seed}:{epoch}",
            "plays": plays,
            "from": plays * part // CORES,
            "to": plays * (part + 1) // CORES,
            "stride": STRIDE,
            "first_block": (epoch - self.founding.first_epoch) * plays // sum(LIBRARY),
            "blocks": self.capacity // sum(LIBRARY),
            "block_plays": sum(LIBRARY),
            "block_pairs": len(LIBRARY),
            "pair_of": [pair for pair, _ in pairs],
            "ordinal_of": [ordinal for _, ordinal in pairs],
            "prices": [TARIFF.price_micro(n) for n in range(1, TARIFF.plays + 1)],
            "owned_at": TARIFF.plays,
            "tracks": len(self.tracks),
            "epoch": epoch,
            "begins_ms": int(begins.timestamp() * 1000),
            "lasts_ms": int((ends - begins).total_seconds() * 1000),
        }
        with self.superuser() as connection:
            name = sql.Identifier("ledger", partition_of(epoch))
            connection.execute(sql.SQL("insert into {} " + _PLAYS).format(name), given)

    def _attach_partition(self, epoch: int) -> None:
        name = sql.Identifier("ledger", partition_of(epoch))
        low, high = (sql.Literal(lowest_id(at)) for at in (CALENDAR.starts_at(epoch), CALENDAR.ends_at(epoch)))
        with self.superuser() as connection:
            attached = "alter table ledger.play attach partition {} for values from ({}) to ({})"
            connection.execute(sql.SQL(attached).format(name, low, high))
            connection.execute(sql.SQL("vacuum (analyze) {}").format(name))

    def enqueue(self, epoch: int, first: int = 0, count: int | None = None) -> None:
        """Queue an epoch's plays as recording does: all, or so many from the `first`-th on."""
        with self.superuser() as connection:
            statement = sql.SQL(_ENQUEUE).format(sql.Identifier("ledger", partition_of(epoch)))
            connection.execute(statement, {"first": first, "count": count})
            connection.execute("vacuum analyze ledger.play_queue")

    def book(self, epochs: Sequence[int], batch: int = 1) -> None:
        """Enter these epochs' plays in the books as if they had been settled, SETTLINGS_A_MONTH times a month.

        The log tells them in `batch`, which is open.
        """
        self._enter(epochs, _BOOK, batch)

    def tally(self, epochs: Sequence[int]) -> None:
        """Enter of these epochs' plays what a close reads, and nothing else: tallies and balances."""
        self._enter(epochs, (_TALLY,))

    def _enter(self, epochs: Sequence[int], parts: Sequence[Sequence[str]], batch: int = 1) -> None:
        with _loading(self.cluster), self.superuser() as connection:
            with ThreadPoolExecutor(CORES) as threads:
                list(threads.map(lambda each: self._enter_part(*each, batch), itertools.product(epochs, parts)))
            connection.execute(_PAY_FROM_WALLETS, {"epochs": list(epochs)})
            connection.execute("vacuum (analyze)")
        with self.superuser() as connection:
            connection.execute("checkpoint")

    def _enter_part(self, epoch: int, part: Sequence[str], batch: int) -> None:
        begins, ends = CALENDAR.starts_at(epoch), CALENDAR.ends_at(epoch)
        given = {
            "epoch": epoch,
            "seed": f"{self.seed}:{epoch}",
            "settlings": SETTLINGS_A_MONTH,
            "begins": begins,
            "lasts": (ends - begins) / SETTLINGS_A_MONTH,
            "batch": batch,
        }
        with self.superuser() as connection:
            for statement in part:
                connection.execute(
                    sql.SQL(statement).format(plays=sql.Identifier("ledger", partition_of(epoch))), given
                )

    @contextmanager
    def copied(self, name: str) -> Iterator[Coop]:
        """A copy of the whole database for as long as a `with` block lasts."""
        self.engine.dispose()
        administer(self.cluster, "create database {} template {} strategy file_copy", name, self.database)
        app_url = f"{self.app_url.rpartition('/')[0]}/{name}"
        engine = connected(app_url)
        try:
            yield replace(self, database=name, app_url=app_url, engine=engine)
        finally:
            engine.dispose()
            administer(self.cluster, "drop database {} with (force)", name)


def partition_of(epoch: int) -> str:
    """The name of the plays' partition of a month."""
    return f"play_{CALENDAR.label(epoch).replace('-', '_')}"


def settle_all(engine: Engine) -> Settled:
    """Settle until nothing waits, a transaction per batch."""
    plays, longest_s, begun = 0, 0.0, time.perf_counter()
    while True:
        before = time.perf_counter()
        with engine.begin() as connection:
            count = settling.settle(connection, NOW)
        longest_s = max(longest_s, time.perf_counter() - before)
        if not count:
            return Settled(plays, time.perf_counter() - begun, longest_s)
        plays += count


def connected(app_url: str) -> Engine:
    """An engine whose statements may last as long as production's."""
    return create_engine(with_driver(app_url), connect_args={"options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS}"})


def administer(cluster: postgres.Cluster, statement: str, *names: str) -> None:
    """Run a statement about whole databases as the superuser, with `names` as its identifiers."""
    with psycopg.connect(cluster.superuser_url(), autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@contextmanager
def _loading(cluster: postgres.Cluster) -> Iterator[None]:
    """A server that may lose all in a crash, for as long as a `with` block lasts: it can be loaded again."""
    for name, value in _WHILE_LOADING.items():
        administer(cluster, "alter system set {} = {}", name, value)
    administer(cluster, "select pg_reload_conf()")
    try:
        yield
    finally:
        for name in _WHILE_LOADING:
            administer(cluster, "alter system reset {}", name)
        administer(cluster, "select pg_reload_conf()")


@contextmanager
def coop(seed: int, listeners: int, tracks: int, capacity: int) -> Iterator[Coop]:
    """A co-op of so many listeners and tracks for as long as a `with` block lasts, on a server as production has it:
    fsync and synchronous_commit are on."""
    random = Random(seed)  # noqa: S311
    people = [UUID(int=random.getrandbits(128), version=4) for _ in range(listeners)]
    music = [UUID(int=random.getrandbits(128), version=4) for _ in range(tracks)]
    capacity -= capacity % sum(LIBRARY)
    if capacity // sum(LIBRARY) * len(LIBRARY) > tracks * listeners ** (1 / LISTENER_EXPONENT):
        raise ValueError(f"the busiest of {listeners} listeners cannot spread {capacity} plays over {tracks} tracks")
    with tempfile.TemporaryDirectory(prefix="streamcoop-bench-") as folder:
        Path(folder).chmod(PASSABLE)
        running = postgres.start(Path(folder) / "postgres")
        try:
            urls = databases.bootstrap(running.cluster)
            migrate(urls.owner_url)
            engine = connected(urls.app_url)
            made = Coop(
                cluster=running.cluster,
                database=databases.DATABASE,
                app_url=urls.app_url,
                engine=engine,
                founding=_founding(),
                seed=seed,
                listeners=people,
                tracks=music,
                capacity=capacity,
                random=random,
            )
            _found(made)
            yield made
            engine.dispose()
        finally:
            running.stop()


def _founding() -> terms.Founding:
    first_epoch = EPOCH - MONTHS_BEFORE
    return terms.Founding(
        coop_name="Synthetic",
        currency="EUR",
        minor_digits=2,
        credit_price_micro=CREDIT_PRICE_MICRO,
        epoch_seconds=0,
        epoch_grace_seconds=0,
        free_extra_ms=15_000,
        token_ms_min=1_800_000,
        first_epoch=first_epoch,
        founded_at=CALENDAR.starts_at(first_epoch),
        constitution=Constitution(),
    )


def _found(made: Coop) -> None:
    with made.engine.begin() as connection:
        partitions.ensure_partitions(connection, NOW)
        terms.found(connection, made.founding, TARIFF, Rates(), Rules(), NetFactors())
        for first in range(0, len(made.listeners), posting.TRANSFERS_MAX // 2):
            some = made.listeners[first : first + posting.TRANSFERS_MAX // 2]
            money_micro = len(some) * FUNDS_MICRO * CREDIT_PRICE_MICRO // 1_000_000
            paid = [Transfer(accounts.BANK, accounts.TOPUPS_CLEARING, money_micro)]
            paid += [Transfer(accounts.CREDITS_ISSUED, accounts.wallet(listener), FUNDS_MICRO) for listener in some]
            key = uuid7(first, made.random.getrandbits(80))
            posting.post(connection, key, "top-up", paid, made.founding.founded_at)
    pairs = made.capacity // sum(LIBRARY) * len(LIBRARY)
    firsts = [
        math.floor(pairs * (n / len(made.listeners)) ** (1 / LISTENER_EXPONENT)) for n in range(len(made.listeners) + 1)
    ]
    with made.superuser() as loading, loading.cursor() as cursor:
        cursor.execute(_LIBRARIES)
        with cursor.copy("copy bench.listener from stdin") as copy:
            for n, listener in enumerate(made.listeners):
                copy.write_row((n, listener, firsts[n], firsts[n + 1] - firsts[n], made.random.random()))
        with cursor.copy("copy bench.track from stdin") as copy:
            for n, track in enumerate(made.tracks):
                copy.write_row((n, track))
        cursor.execute("vacuum (analyze)")


_LOADING = """
    set session_replication_role = replica;
    set synchronous_commit = off;
    set work_mem = '512MB';
    set maintenance_work_mem = '512MB'
"""

# Else the log takes each page anew after every checkpoint, and autovacuum goes over what is still being loaded.
_WHILE_LOADING = {"autovacuum": "off", "full_page_writes": "off", "max_wal_size": "16GB"}

_PROGRESS = """
    select asked.listener_id, asked.track_id, coalesce(plays, 0), coalesce(paid_micro, 0), owned_at is not null
      from unnest(%(listeners)s::uuid[], %(tracks)s::uuid[]) with ordinality as asked(listener_id, track_id, n)
      left join ledger.progress using (listener_id, track_id) order by n
"""

# A listener's library is the pairs from first_pair on.
_LIBRARIES = """
    create schema bench;
    create table bench.listener (n bigint, id uuid, first_pair bigint, pairs bigint, taste double precision);
    create table bench.track (n bigint, id uuid);
"""

# Each play's place in the libraries follows from its number; so does the rest of it.
_PLAYS = """
    (id, listener_id, track_id, kind, ordinal, price_micro, completes, epoch, salt, recorded_at)
    select (lpad(to_hex(at_ms), 12, '0') || '7' || left(noise, 3) || 'b' || substr(noise, 4, 15))::uuid,
           listener.id, track.id, 'play', ordinal, (%(prices)s::bigint[])[ordinal], ordinal = %(owned_at)s, %(epoch)s,
           decode(noise || noise, 'hex'), to_timestamp(at_ms / 1000::float)
      from (select t, t * %(stride)s %% %(plays)s as place, %(begins_ms)s + t * %(lasts_ms)s / %(plays)s as at_ms,
                   md5(%(seed)s || ':' || t) as noise
              from generate_series(%(from)s, %(to)s::bigint - 1) as t) as numbered
     cross join lateral (
           select (%(first_block)s + place / %(block_plays)s) * %(stride)s %% %(blocks)s * %(block_pairs)s
                  + (%(pair_of)s::integer[])[place %% %(block_plays)s + 1] as pair,
                  (%(ordinal_of)s::smallint[])[place %% %(block_plays)s + 1] as ordinal) as placed
      join bench.listener
        on listener.n = width_bucket(pair, (select array_agg(first_pair order by n) from bench.listener)) - 1
      join bench.track
        on track.n = pair - first_pair
                   + floor((%(tracks)s - pairs)
                           * (power(%(tracks)s::float, (pair - first_pair + taste) / pairs) - 1) / (%(tracks)s - 1))
"""

_ENQUEUE = """
    insert into ledger.play_queue
           (play_id, listener_id, track_id, kind, price_micro, completes, epoch, month, recorded_at, commitment)
    select id, listener_id, track_id, kind, price_micro, completes, epoch, epoch, recorded_at,
           ledger.play_commitment(salt, id, listener_id, track_id, epoch, ordinal, kind, price_micro) from {}
     order by id limit %(count)s offset %(first)s
"""

_TALLY = (
    """
    insert into ledger.spending (listener_id, month, spent_micro)
    select listener_id, %(epoch)s, sum(price_micro) from {plays} group by listener_id
    """,
    """
    insert into ledger.track_epoch (epoch, track_id, plays, buyouts, collected_micro)
    select %(epoch)s, track_id, count(*), 0, sum(price_micro) from {plays} group by track_id
    """,
    """
    insert into ledger.account (code, kind, asset, owner, epoch, balance_micro)
    select 'track:' || track_id || ':' || epoch, 'track', 'credit', track_id, epoch, collected_micro
      from ledger.track_epoch where epoch = %(epoch)s
    """,
)
_TRANSFERS = (
    """
    insert into ledger.posting (key, kind, content_sha256, note, posted_at, batch)
    select md5(%(seed)s || ':' || n)::uuid, 'settling', sha256(%(seed)s::bytea), jsonb_build_object('epoch', %(epoch)s),
           %(begins)s + (n + 1) * %(lasts)s::interval, %(batch)s
      from generate_series(0, %(settlings)s - 1) as n
    """,
    "analyze ledger.account, ledger.posting",
    """
    with settled as (
        select listener_id, track_id, price_micro,
               date_bin(%(lasts)s, recorded_at, %(begins)s) + %(lasts)s as posted_at from {plays}
    ), moved as (
        select posted_at, w.id as debit, c.id as credit, micro
          from (select posted_at, listener_id, sum(price_micro) as micro from settled group by 1, 2) as paid
          join ledger.account w on w.kind = 'wallet' and w.owner = listener_id
          join ledger.account c on c.code = 'plays:clearing'
         union all
        select posted_at, c.id, a.id, micro
          from (select posted_at, track_id, sum(price_micro) as micro from settled group by 1, 2) as collected
          join ledger.account a on a.kind = 'track' and a.owner = track_id and a.epoch = %(epoch)s
          join ledger.account c on c.code = 'plays:clearing'
    )
    insert into ledger.transfer (posting_id, debit_account, credit_account, asset, amount_micro, posted_at)
    select p.id, debit, credit, 'credit', micro, posted_at
      from moved join ledger.posting p using (posted_at) where p.note = jsonb_build_object('epoch', %(epoch)s)
    """,
)
_TRACKS_PLAYED = """
    insert into ledger.progress (listener_id, track_id, plays, paid_micro, epoch, owned_at)
    select listener_id, track_id, count(*), sum(price_micro), %(epoch)s, max(recorded_at) filter (where completes)
      from {plays} group by listener_id, track_id order by listener_id, track_id
"""
_LOG = """
    insert into ledger.log_play (play_id, batch, epoch, track_id, price_micro, commitment)
    select id, %(batch)s, epoch, track_id, price_micro,
           ledger.play_commitment(salt, id, listener_id, track_id, epoch, ordinal, kind, price_micro) from {plays}
"""
# Each part needs nothing of the others; the longest comes first.
_BOOK = ((*_TALLY, *_TRANSFERS), (_LOG,), (_TRACKS_PLAYED,))

_PAY_FROM_WALLETS = """
    update ledger.account a set balance_micro = a.balance_micro - spent.micro
      from (select listener_id, sum(spent_micro) as micro from ledger.spending
             where month = any(%(epochs)s) group by listener_id) as spent
     where a.kind = 'wallet' and a.owner = spent.listener_id
"""
