"""The recording desk of a process: gathers plays that are asked for at the same time into one transaction.

While one batch is being committed the next gathers; so one play alone waits for nothing, and under
load a commit is shared by hundreds.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections import OrderedDict
from contextlib import suppress
from http import HTTPStatus
from typing import Self
from uuid import UUID

from psycopg import OperationalError
from psycopg.errors import ReadOnlySqlTransaction
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from ledger.epochs import Calendar
from ledger.errors import DomainError
from ledger.money import CreditPrice
from ledger.recording import Claim, Recorded
from ledger.store import recording
from ledger.store.recording import Outcome
from ledger.tariff import Tariff
from streamcoop import metrics, tracing
from streamcoop.clock import now
from streamcoop.database import HotConnection, ReadOnly
from streamcoop.playback.rule import Rule
from streamcoop.problems import register
from streamcoop.settings import Settings

log = logging.getLogger(__name__)

LANES = 2
WAITING_MAX = 10_000
# At shutdown: what still waits is a few batches.
DRAIN_S_MAX = 5.0
RECORDED_KEPT_MAX = 100_000
TARIFFS_KEPT_MAX = 240

_FOUNDING = """
    select credit_price_micro, currency, minor_digits, epoch_seconds, first_epoch, listen_ms_max, free_extra_ms,
           token_ms_min
      from ledger.founding
"""
_TARIFF = """
    select first_price_micro, plays from ledger.tariff where effective_epoch <= %s
     order by effective_epoch desc, version desc limit 1
"""
_RECORDED = "select from ledger.play where id = %s"


class Overloaded(DomainError):
    """Too many plays are being recorded just now: try again in a moment."""


register({Overloaded: HTTPStatus.SERVICE_UNAVAILABLE})


class PlaybackDesk:
    """Owns the gathering of claims and a process's memory of what cannot change.

    `waiting` is touched only between awaits of the one event loop, so it needs no lock. An entry of
    `recorded` is a fact that is durable; a claim whose requester went away is recorded all the same.
    """

    rule: Rule
    calendar: Calendar
    credit_price: CreditPrice
    currency: str

    def __init__(self, pool: AsyncConnectionPool[HotConnection], settings: Settings) -> None:
        self.pool = pool
        self.secret_key = base64.b64decode(settings.secret_key.get_secret_value())
        self._waiting: list[tuple[Claim, asyncio.Future[Outcome]]] = []
        self._wake = asyncio.Event()
        self._open = True
        self._lanes: list[asyncio.Task[None]] = []
        self._recorded: OrderedDict[UUID, None] = OrderedDict()
        self._tariffs: OrderedDict[int, Tariff] = OrderedDict()

    async def __aenter__(self) -> Self:
        async with self.pool.connection() as conn, conn.cursor(row_factory=dict_row) as cursor:
            founding = await (await cursor.execute(_FOUNDING)).fetchone()
        if founding is None:
            raise RuntimeError("no co-op is founded in this database: run `streamcoop found`")
        self.rule = Rule(founding["listen_ms_max"], founding["free_extra_ms"], founding["token_ms_min"])
        self.calendar = Calendar(founding["epoch_seconds"], founding["first_epoch"])
        self.credit_price = CreditPrice(founding["credit_price_micro"])
        self.currency = founding["currency"]
        self._lanes = [asyncio.create_task(self._lane(), name=f"recording lane {n}") for n in range(LANES)]
        return self

    async def __aexit__(self, *_: object) -> None:
        # A claim that still waits is recorded, whether or not its requester is there to be told.
        self._open = False
        self._wake.set()
        await asyncio.wait(self._lanes, timeout=DRAIN_S_MAX)
        for lane in self._lanes:
            lane.cancel()
        await asyncio.gather(*self._lanes, return_exceptions=True)

    async def tariff_in(self, epoch: int) -> Tariff:
        """The tariff of an epoch that has begun; such a one never changes, so it is read once."""
        if epoch not in self._tariffs:
            async with self.pool.connection() as conn:
                row = await (await conn.execute(_TARIFF, (epoch,))).fetchone()
            if row is None:
                raise LookupError(f"no tariff in epoch {epoch}")
            self._tariffs[epoch] = Tariff(*row)
            while len(self._tariffs) > TARIFFS_KEPT_MAX:
                self._tariffs.popitem(last=False)
        return self._tariffs[epoch]

    def is_recorded(self, play_id: UUID) -> bool:
        """Whether this process knows that the play is recorded. False proves nothing."""
        return play_id in self._recorded

    async def has_recorded(self, play_id: UUID) -> bool:
        """Whether the play is recorded, by whatever process."""
        if self.is_recorded(play_id):
            return True
        async with self.pool.connection() as conn:
            return await (await conn.execute(_RECORDED, (play_id,))).fetchone() is not None

    async def record(self, claim: Claim) -> Outcome:
        """Record a claim together with whatever else waits; returns once it is durable, or refused."""
        await self.tariff_in(claim.epoch)
        if len(self._waiting) >= WAITING_MAX:
            raise Overloaded(retry_after_s=1)
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((claim, future))
        self._wake.set()
        return await future

    async def _lane(self) -> None:
        while self._open or self._waiting:
            await self._wake.wait()
            batch = self._waiting[: recording.BATCH_MAX]
            del self._waiting[: recording.BATCH_MAX]
            if not self._waiting and self._open:
                self._wake.clear()
            if batch:
                await self._record_batch(batch)

    async def _record_batch(self, batch: list[tuple[Claim, asyncio.Future[Outcome]]]) -> None:
        begun_ns = time.time_ns()
        try:
            outcomes = await self._decided([claim for claim, _ in batch])
        except BaseException as failure:
            error = ReadOnly() if isinstance(failure, ReadOnlySqlTransaction) else failure
            # The transaction rolled back, or its commit's answer was lost: either way asking again is safe.
            for _, future in batch:
                if not future.done():
                    future.set_exception(error if isinstance(error, Exception) else ConnectionError("shutting down"))
            if not isinstance(error, Exception):
                raise
            if isinstance(error, ReadOnly):
                return
            log.warning("batch not recorded", extra={"error": type(error).__name__, "plays": len(batch)})
            return
        recorded = 0
        for (claim, future), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome.decision, Recorded):
                self._remember(claim.play_id)
                recorded += not outcome.repeated
            else:
                metrics.PLAYS_REFUSED.labels(outcome.decision.reason).inc()
            with suppress(asyncio.InvalidStateError):
                future.set_result(outcome)
        metrics.PLAYS_RECORDED.inc(recorded)
        metrics.RECORDING_SECONDS.observe((time.time_ns() - begun_ns) / 1e9)
        tracing.done("record plays", begun_ns, plays=len(batch), recorded=recorded)

    async def _decided(self, claims: list[Claim]) -> list[Outcome]:
        """What becomes of the claims. Once, a connection that turns out to be dead is replaced by another."""
        async with self.pool.connection() as conn:
            try:
                return await recording.record(conn, claims, self._tariffs.__getitem__, now())
            except OperationalError:
                if not conn.broken:
                    raise
        # Whatever was recorded all the same is answered as it was.
        async with self.pool.connection() as conn:
            return await recording.record(conn, claims, self._tariffs.__getitem__, now())

    def _remember(self, play_id: UUID) -> None:
        self._recorded[play_id] = None
        while len(self._recorded) > RECORDED_KEPT_MAX:
            self._recorded.popitem(last=False)
