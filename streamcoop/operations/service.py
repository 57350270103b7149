"""How the service is doing, as its parts tell: asked all at once, each within its time, and not one of them is needed.

`GET /metrics` and `streamcoop status` show the same picture. Every question is cheap: it reads an index's end, or
counts up to a bound.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from sqlalchemy import Connection, NullPool, create_engine
from sqlalchemy.orm import Session

from ledger.epochs import Calendar
from ledger.store import batches, closing, settling, terms
from streamcoop.adapters.objects import open_store
from streamcoop.anchoring import service as anchoring
from streamcoop.catalogue import rendering
from streamcoop.database import with_driver
from streamcoop.governance import counting, electorate
from streamcoop.membership import reconciling
from streamcoop.membership import service as membership
from streamcoop.operations import books_check, broker
from streamcoop.payouts import service as payouts
from streamcoop.settings import Settings
from streamcoop.transparency.recovering import is_behind
from streamcoop.witness import service as witness

# For each part: to be connected, and for each of its answers.
PART_S_MAX = 2
# For all of a part's answers. Whoever needs longer is told of as away.
LOOK_S_MAX = 5.0
COUNT_MAX = 10_000

MINUTE = timedelta(minutes=1)
# Plays are found by when they were opened: one that was recorded later than this after its opening is not counted.
OPENED_BEFORE_MAX = timedelta(minutes=5)
PLAYS_COUNT_MAX = 200_000
_NO_OBJECT = "streamcoop-status"

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Away:
    """A part did not answer in its time."""

    why: str


@dataclass(frozen=True, slots=True)
class Epochs:
    """Where the calendar stands and where closing does. `overdue`: since when the earliest open one could be closed."""

    calendar: Calendar
    current: int
    first_open: int
    overdue: timedelta
    late_tracks: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What the database tells. Counts beyond COUNT_MAX may stop there."""

    unsettled_plays: int
    settling_lag: timedelta
    epochs: Epochs
    orders: int
    orders_held_up: int
    register_differences: int
    ballots_waiting: int
    anchors: int
    oldest_anchor: timedelta
    log_batches: int
    oldest_log_batch: timedelta
    log_published_at: datetime | None
    recordings_waiting: int
    oldest_recording: timedelta
    payouts: dict[str, tuple[int, datetime]]
    books: books_check.LastCheck | None
    forked_logs: int = 0
    """Of the logs of others that are witnessed here."""
    last_fork_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LastMinute:
    """Plays recorded in the last minute, and how many of them are settled already."""

    recorded: int
    settled: int


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block the node knows. Its time is the chain's own."""

    block: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Picture:
    """The service at one instant, part by part."""

    at: datetime
    database: Standing | Away
    broker: list[broker.Queue] | Away
    chain: Head | Away
    objects: bool | Away
    is_behind: bool | Away = False
    """Whether the published log goes on beyond this database."""


class _Question(Generic[Answer]):
    """A question that is asked in a thread of its own: a part that hangs holds up nobody."""

    def __init__(self, ask: Callable[[], Answer]) -> None:
        self._ask = ask
        self._answer: Answer | Away = Away(f"no answer within {LOOK_S_MAX:g} s")
        self._thread = threading.Thread(target=self._run, name="looking", daemon=True)
        self._until = time.monotonic() + LOOK_S_MAX
        self._thread.start()

    def _run(self) -> None:
        try:
            self._answer = self._ask()
        # Whatever a part's library raises, it means that the part does not answer as it should. An error's text may
        # hold an address with a password.
        except Exception as error:
            self._answer = Away(type(error).__name__)

    def answer(self) -> Answer | Away:
        self._thread.join(max(self._until - time.monotonic(), 0.0))
        return self._answer


def look(configured: Settings, now: datetime) -> Picture:
    """The picture as of `now`, within about LOOK_S_MAX. Raises nothing."""
    database = _Question(lambda: _ask_database(configured, lambda conn: standing(conn, configured, now)))
    queues = _Question(lambda: broker.queues(configured.broker_url.get_secret_value(), PART_S_MAX))
    chain = _Question(lambda: head(configured.chain_rpc_url))
    objects = _Question(lambda: open_store(configured).exists(_NO_OBJECT) in (True, False))
    behind = _Question(lambda: _ask_database(configured, lambda conn: is_behind(conn, open_store(configured))))
    return Picture(now, database.answer(), queues.answer(), chain.answer(), objects.answer(), behind.answer())


def look_at_last_minute(configured: Settings, now: datetime) -> LastMinute | Away:
    """What was played in the last minute. Costs as much as there was: for a person who asks, not for every scrape."""
    return _Question(lambda: _ask_database(configured, lambda conn: last_minute(conn, now))).answer()


def _ask_database(configured: Settings, ask: Callable[[Connection], Answer]) -> Answer:
    """Over a connection of its own: the pools may be what is in trouble."""
    engine = create_engine(
        with_driver(configured.database_url.get_secret_value()),
        poolclass=NullPool,
        connect_args={"connect_timeout": PART_S_MAX, "options": f"-c statement_timeout={PART_S_MAX}s -c timezone=UTC"},
    )
    with engine.connect() as conn, conn.begin():
        conn.exec_driver_sql("set transaction read only")
        return ask(conn)


def standing(conn: Connection, configured: Settings, now: datetime) -> Standing:
    """What the database tells of the service."""
    count, oldest = settling.unsettled(conn)
    with Session(conn) as session:
        orders, held_up = membership.waiting(session)
        # Where no contract is named, anchors wait for one, and nothing is amiss.
        anchors, intended_at = anchoring.waiting(session) if configured.anchor_contract else (0, None)
        # Nor where nobody signs the log.
        told = batches.waiting(conn) if configured.log_key else batches.Waiting(0, None)
        published = batches.published_head(conn)
        forked, last_fork_at = witness.forks(session)
        recordings, uploaded_at = rendering.unfinished(session, COUNT_MAX)
        return Standing(
            unsettled_plays=count,
            settling_lag=now - oldest if oldest else timedelta(),
            epochs=_epochs(conn, now),
            orders=orders,
            orders_held_up=held_up,
            register_differences=reconciling.count(session),
            ballots_waiting=len(electorate.in_preparation(session)) + len(counting.due(session, now)),
            anchors=anchors,
            oldest_anchor=now - intended_at if intended_at else timedelta(),
            log_batches=told.count,
            oldest_log_batch=now - told.since if told.since else timedelta(),
            log_published_at=published.published_at if published else None,
            recordings_waiting=recordings,
            oldest_recording=now - uploaded_at if uploaded_at else timedelta(),
            payouts=payouts.under_way(session),
            books=books_check.last(session),
            forked_logs=forked,
            last_fork_at=last_fork_at,
        )


def _epochs(conn: Connection, now: datetime) -> Epochs:
    founded = terms.founding(conn)
    first_open = closing.first_open(conn, founded)
    return Epochs(
        calendar=founded.calendar,
        current=founded.calendar.epoch_at(now),
        first_open=first_open,
        overdue=max(now - founded.may_close_at(first_open), timedelta()),
        late_tracks=closing.late_tracks(conn, COUNT_MAX),
    )


def last_minute(conn: Connection, now: datetime) -> LastMinute:
    """Plays recorded within a MINUTE before `now`, counted up to PLAYS_COUNT_MAX."""
    since = now - MINUTE
    recorded, waiting = settling.recorded_since(conn, since, since - OPENED_BEFORE_MAX, PLAYS_COUNT_MAX)
    return LastMinute(recorded, max(recorded - waiting, 0))


def head(rpc_url: str) -> Head:
    """The chain's newest block. Raises OSError or ValueError where the node does not answer with sense."""
    question = {"jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": ["latest", False]}
    request = urllib.request.Request(  # noqa: S310  # the operator's own address
        rpc_url, json.dumps(question).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=PART_S_MAX) as answer:  # noqa: S310
        block = json.load(answer).get("result")
    if not isinstance(block, dict):
        raise ValueError("no block")
    return Head(int(block["number"], 16), datetime.fromtimestamp(int(block["timestamp"], 16), UTC))
