"""The faults: how each is done to the service, and taken back where it lasts."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

import psutil
import psycopg

from tests.faults.proxy import PG_COMMIT
from tests.faults.stand import PARTS, Stand, backends
from tests.faults.steps import STEPS, Step

DAY_S = 86_400
CLOCK_S_MAX = 3 * DAY_S
# Clocks are set together, as those of one machine or of machines that ask the same time server, to a few seconds.
SKEW_S_MAX = 5.0
# One that nobody keeps right. Even two of them are apart by less than ticks of the timetable live.
ONE_CLOCK_S_MAX = 1_500
SLOW_NETWORK_S_MAX = 0.3
SLOW_STORE_S_MAX = 2.0


@dataclass
class Struck:
    """What a fault did: how many processes it killed, and how it is taken back, if it lasts."""

    kills: int = 0
    take_back: Callable[[], object] = lambda: None


Strike = Callable[[Stand, Random], Struck]


def _kill(name: str) -> Strike:
    def strike(stand: Stand, rng: Random) -> Struck:
        part = stand.part(name)
        if part is None:
            return Struck()
        with suppress(psutil.NoSuchProcess):
            # A worker's pool is a process too; it can die alone.
            victims = [part, *part.children()] if name in ("credits", "worker", "media") else [part]
            victim = rng.choice(victims)
            victim.kill()
            return Struck(kills=1)
        return Struck()

    return strike


def _kill_backend(stand: Stand, rng: Random) -> Struck:
    try:
        victims = backends(stand.superuser_url)
        if victims:
            os.kill(rng.choice(victims), signal.SIGKILL)
            return Struck(kills=1)
    except (psycopg.OperationalError, ProcessLookupError):
        pass
    return Struck()


def _end_sessions(stand: Stand, _: Random) -> Struck:
    with suppress(psycopg.OperationalError), psycopg.connect(stand.superuser_url, connect_timeout=2) as conn:
        conn.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where backend_type = 'client backend' and pid <> pg_backend_pid()"
        )
    return Struck()


def _empty_broker(stand: Stand, _: Random) -> Struck:
    url = stand.setting("BROKER_URL").replace("pgmq://", "postgresql://", 1)
    with suppress(psycopg.OperationalError), psycopg.connect(url, connect_timeout=2) as conn:
        conn.execute("select pgmq.purge_queue(queue_name) from pgmq.list_queues()")
    return Struck()


def _fill_database_disk(stand: Stand, rng: Random) -> Struck:
    stand.fill_disk(stand.places.postgres)
    if rng.random() < 0.5:
        # Without a segment to recycle even the log cannot be written: the server panics.
        with suppress(psycopg.OperationalError), psycopg.connect(stand.superuser_url, connect_timeout=2) as conn:
            conn.execute("select pg_switch_wal()")
    return Struck(take_back=lambda: stand.empty_disk(stand.places.postgres))


def _fill_object_disk(stand: Stand, _: Random) -> Struck:
    stand.fill_disk(stand.places.objects)
    return Struck(take_back=lambda: stand.empty_disk(stand.places.objects))


def _fail_store(stand: Stand, rng: Random) -> Struck:
    stand.levers.spoil_store(rng.choice(["fails-before", "fails-after"]))
    return Struck(take_back=lambda: stand.levers.spoil_store(""))


def _slow_store(stand: Stand, rng: Random) -> Struck:
    stand.levers.spoil_store(f"slow {rng.uniform(0.2, SLOW_STORE_S_MAX):.2f}")
    return Struck(take_back=lambda: stand.levers.spoil_store(""))


def _set_clock(sign: int) -> Strike:
    def strike(stand: Stand, rng: Random) -> Struck:
        # As likely seconds as days.
        stand.levers.set_clocks(sign * CLOCK_S_MAX ** rng.uniform(0.1, 1))
        for part in PARTS:
            stand.levers.skew_clock(part, rng.uniform(-SKEW_S_MAX, SKEW_S_MAX))
        return Struck(take_back=stand.levers.reset_clocks)

    return strike


def _skew_one_clock(stand: Stand, rng: Random) -> Struck:
    skew_s = rng.choice([-1, 1]) * ONE_CLOCK_S_MAX ** rng.uniform(0.1, 1)
    stand.levers.skew_clock(rng.choice(PARTS), skew_s)
    return Struck(take_back=stand.levers.reset_clocks)


def _cut_all(stand: Stand, _: Random) -> Struck:
    stand.network.cut_now()
    return Struck()


def _cut_before_commit(stand: Stand, rng: Random) -> Struck:
    stand.network.cut_before(PG_COMMIT, cuts=rng.randint(1, 5))
    return Struck(take_back=stand.network.pass_on)


def _cut_after_commit(stand: Stand, rng: Random) -> Struck:
    stand.network.cut_after(PG_COMMIT, answer=PG_COMMIT, cuts=rng.randint(1, 5))
    return Struck(take_back=stand.network.pass_on)


def _slow_network(stand: Stand, rng: Random) -> Struck:
    stand.network.delay(rng.uniform(0.05, SLOW_NETWORK_S_MAX))
    return Struck(take_back=stand.network.pass_on)


def _cut_off(stand: Stand, _: Random) -> Struck:
    stand.network.refuse()
    stand.network.cut_now()
    return Struck(take_back=stand.network.pass_on)


AT_A_STEP = "kill at a step"
ON_DISK = ("disk full for the database", "disk full for the objects")
CLOCKS = ("clock set back", "clock set forward", "one clock off")

KINDS: dict[str, Strike] = {
    "kill the API": _kill("api"),
    "kill the settling worker": _kill("credits"),
    "kill the closing and chain worker": _kill("worker"),
    "kill the media worker": _kill("media"),
    "kill beat": _kill("beat"),
    "kill PostgreSQL": _kill("postgres"),
    "kill a backend": _kill_backend,
    "end all sessions": _end_sessions,
    "kill the chain": _kill("chain"),
    "empty the broker": _empty_broker,
    ON_DISK[0]: _fill_database_disk,
    ON_DISK[1]: _fill_object_disk,
    "object store fails": _fail_store,
    "object store slow": _slow_store,
    CLOCKS[0]: _set_clock(-1),
    CLOCKS[1]: _set_clock(1),
    CLOCKS[2]: _skew_one_clock,
    "network cut": _cut_all,
    "network cut before commits": _cut_before_commit,
    "network cut after commits": _cut_after_commit,
    "network slow": _slow_network,
    "network away": _cut_off,
}
"""Every kind of fault but `AT_A_STEP`, which waits to be come to."""


def step_of(rng: Random) -> tuple[Step, bool]:
    """A step, and whether the whole part dies there or only the process that came to it."""
    return rng.choice(STEPS), rng.random() < 0.5
