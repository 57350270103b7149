"""Asking for many at once: what is asked while one question is under way is gathered into the next.

So one alone waits for nothing, and under load a round trip, or a commit, is shared by hundreds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Generic, TypeVar, cast

from ledger.errors import DomainError
from streamcoop.problems import register

WAITING_MAX = 10_000
GIVEN_UP = "shutting down"

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Overloaded(DomainError):
    """Too much is asked for just now: try again in a moment."""


register({Overloaded: HTTPStatus.SERVICE_UNAVAILABLE})


class Gathering(Generic[Asked, Answer]):
    """Hands what is asked to `answer_all`, up to `batch_max` at a time, in up to `lanes` questions at once.

    `answer_all` gives an answer for each, in order; what it raises is raised to all who asked. What was asked is asked
    for even if whoever wanted to know went away. Touched only between awaits of one event loop, so it needs no lock.
    """

    def __init__(
        self, answer_all: Callable[[list[Asked]], Awaitable[Sequence[Answer]]], batch_max: int, lanes: int = 1
    ) -> None:
        self._answer_all, self._batch_max, self._lanes_max = answer_all, batch_max, lanes
        self._waiting: list[tuple[Asked, asyncio.Future[Answer]]] = []
        self._lanes: set[asyncio.Task[None]] = set()

    async def ask(self, asked: Asked) -> Answer:
        """Its answer. Raises Overloaded where WAITING_MAX wait, and whatever `answer_all` raises."""
        if len(self._waiting) >= WAITING_MAX:
            raise Overloaded(retry_after_s=1)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, future))
        if len(self._lanes) < self._lanes_max:
            self._lanes.add(asyncio.create_task(self._lane(), name="gathering"))
        return await future

    async def drain(self, seconds_max: float) -> None:
        """Answer what still waits; what is not answered in time is given up (ConnectionError)."""
        lanes = [*self._lanes]
        if lanes:
            await asyncio.wait(lanes, timeout=seconds_max)
        for lane in lanes:
            lane.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)
        _fail(self._waiting, ConnectionError(GIVEN_UP))

    async def _lane(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._batch_max], self._waiting[self._batch_max :]
                await self._answer(batch)
        finally:
            # Here, not when the task is done: what is asked in between would wait for a lane that looks no more.
            self._lanes.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _answer(self, batch: list[tuple[Asked, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._answer_all([asked for asked, _ in batch])
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
        except Exception as error:
            _fail(batch, error)
        except BaseException:
            _fail(batch, ConnectionError(GIVEN_UP))
            raise


def _fail(batch: list[tuple[Asked, asyncio.Future[Answer]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
