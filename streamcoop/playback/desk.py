"""The recording desk of a process: plays that are asked for at the same time share a transaction, quotes a look."""

from __future__ import annotations

import base64
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from psycopg import OperationalError
from psycopg.errors import ReadOnlySqlTransaction
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from ledger.epochs import Calendar
from ledger.money import CreditPrice
from ledger.recording import Claim, Recorded, Standing
from ledger.store import recording
from ledger.store.recording import Outcome
from ledger.tariff import Tariff
from streamcoop import metrics, tracing
from streamcoop.catalogue.lookup import Playable, playable
from streamcoop.clock import now
from streamcoop.database import HotConnection, ReadOnly
from streamcoop.gathering import Gathering
from streamcoop.playback.rule import Rule
from streamcoop.settings import Settings

log = logging.getLogger(__name__)

LANES = 2
QUOTED_MAX = 500
# At shutdown: what still waits is a few batches.
DRAIN_S_MAX = 5.0
RECORDED_KEPT_MAX = 100_000
EPOCHS_KEPT_MAX = 240

_FOUNDING = """
    select credit_price_micro, currency, minor_digits, epoch_seconds, first_epoch, free_extra_ms, token_ms_min
      from ledger.founding
"""
_TERMS = """
    select tariff.first_price_micro, tariff.plays, rules.listen_ms_max
      from (select * from ledger.tariff where effective_epoch <= %(epoch)s
             order by effective_epoch desc, version desc limit 1) as tariff,
           (select * from ledger.rules where effective_epoch <= %(epoch)s
             order by effective_epoch desc, version desc limit 1) as rules
"""
_RECORDED = "select from ledger.play where id = %s"


@dataclass(frozen=True, slots=True)
class Quoted:
    """What a quote goes by: the track, None if it is not there or not ready, and how its listener stands."""

    track: Playable | None
    standing: Standing


@dataclass(frozen=True, slots=True)
class EpochTerms:
    """What plays that are opened in an epoch go by."""

    tariff: Tariff
    rule: Rule


class PlaybackDesk:
    """Owns the gathering of claims and quotes, and a process's memory of what cannot change.

    An entry of `recorded` is a fact that is durable; a claim whose requester went away is recorded all the same.
    """

    calendar: Calendar
    credit_price: CreditPrice
    currency: str

    def __init__(self, pool: AsyncConnectionPool[HotConnection], settings: Settings) -> None:
        self.pool = pool
        self.secret_key = base64.b64decode(settings.secret_key.get_secret_value())
        self._claims = Gathering(self._record, recording.BATCH_MAX, LANES)
        self._quotes = Gathering(self._look, QUOTED_MAX)
        self._recorded: OrderedDict[UUID, None] = OrderedDict()
        self._terms: OrderedDict[int, EpochTerms] = OrderedDict()

    async def __aenter__(self) -> Self:
        async with self.pool.connection() as conn, conn.cursor(row_factory=dict_row) as cursor:
            founding = await (await cursor.execute(_FOUNDING)).fetchone()
        if founding is None:
            raise RuntimeError("no co-op is founded in this database: run `streamcoop found`")
        self._free_extra_ms, self._token_ms_min = founding["free_extra_ms"], founding["token_ms_min"]
        self.calendar = Calendar(founding["epoch_seconds"], founding["first_epoch"])
        self.credit_price = CreditPrice(founding["credit_price_micro"])
        self.currency = founding["currency"]
        return self

    async def __aexit__(self, *_: object) -> None:
        # A claim that still waits is recorded, whether or not its requester is there to be told.
        await self._claims.drain(DRAIN_S_MAX)
        await self._quotes.drain(DRAIN_S_MAX)

    async def terms_in(self, epoch: int) -> EpochTerms:
        """The terms of an epoch that has begun; such never change, so they are read once."""
        if epoch not in self._terms:
            async with self.pool.connection() as conn:
                row = await (await conn.execute(_TERMS, {"epoch": epoch})).fetchone()
            if row is None:
                raise LookupError(f"no terms in epoch {epoch}")
            first_price_micro, plays, listen_ms_max = row
            rule = Rule(listen_ms_max, self._free_extra_ms, self._token_ms_min)
            self._terms[epoch] = EpochTerms(Tariff(first_price_micro, plays), rule)
            while len(self._terms) > EPOCHS_KEPT_MAX:
                self._terms.popitem(last=False)
        return self._terms[epoch]

    def _tariff_in(self, epoch: int) -> Tariff:
        return self._terms[epoch].tariff

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
        await self.terms_in(claim.epoch)
        return await self._claims.ask(claim)

    async def quoted(self, listener_id: UUID, track_id: UUID, epoch: int) -> Quoted:
        """What a play of the track would have to go by in `epoch`. Writes nothing."""
        return await self._quotes.ask((listener_id, track_id, epoch))

    async def _record(self, claims: list[Claim]) -> list[Outcome]:
        begun_ns = time.time_ns()
        try:
            outcomes = await self._decided(claims)
        # The transaction rolled back, or its commit's answer was lost: either way asking again is safe.
        except ReadOnlySqlTransaction as refused:
            raise ReadOnly from refused
        except Exception as error:
            log.warning("batch not recorded", extra={"error": type(error).__name__, "plays": len(claims)})
            raise
        recorded = 0
        for outcome in outcomes:
            if isinstance(outcome.decision, Recorded):
                self._remember(outcome.decision.claim.play_id)
                recorded += not outcome.repeated
            else:
                metrics.PLAYS_REFUSED.labels(outcome.decision.reason).inc()
        metrics.PLAYS_RECORDED.inc(recorded)
        metrics.RECORDING_SECONDS.observe((time.time_ns() - begun_ns) / 1e9)
        tracing.done("record plays", begun_ns, plays=len(claims), recorded=recorded)
        return outcomes

    async def _decided(self, claims: list[Claim]) -> list[Outcome]:
        """What becomes of the claims. Once, a connection that turns out to be dead is replaced by another."""
        async with self.pool.connection() as conn:
            try:
                return await recording.record(conn, claims, self._tariff_in, now())
            except OperationalError:
                if not conn.broken:
                    raise
        # Whatever was recorded all the same is answered as it was.
        async with self.pool.connection() as conn:
            return await recording.record(conn, claims, self._tariff_in, now())

    async def _look(self, asked: list[tuple[UUID, UUID, int]]) -> list[Quoted]:
        pairs = {(listener_id, track_id) for listener_id, track_id, _ in asked}
        async with self.pool.connection() as conn:
            tracks = await playable(conn, {track_id for _, track_id in pairs})
            standings = await recording.standings_of(conn, pairs, max(epoch for *_, epoch in asked), now())
        return [Quoted(tracks.get(track_id), standings[listener_id]) for listener_id, track_id, _ in asked]

    def _remember(self, play_id: UUID) -> None:
        self._recorded[play_id] = None
        while len(self._recorded) > RECORDED_KEPT_MAX:
            self._recorded.popitem(last=False)
