"""Gathering: everybody is answered, with her own answer, whenever she asks and whatever fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest

from streamcoop import gathering
from streamcoop.gathering import Gathering, Overloaded

ANSWERED_S_MAX = 10.0
BATCH_MAX = 7


async def _turns(count: int) -> None:
    """Let everything else that is ready run, so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


def _run(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def within_bounds() -> None:
        async with asyncio.timeout(ANSWERED_S_MAX):
            await scene()

    asyncio.run(within_bounds())


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("seed", range(20))
def test_everybody_is_answered_with_her_own_answer_whenever_she_asks(seed: int, lanes: int) -> None:
    chance = Random(seed)
    batches: list[int] = []
    at_once = 0

    async def doubled(asked: list[int]) -> list[int]:
        nonlocal at_once
        at_once += 1
        batches.append(len(asked))
        assert at_once <= lanes
        await _turns(chance.randrange(4))
        at_once -= 1
        return [2 * number for number in asked]

    async def scene() -> None:
        gathered = Gathering(doubled, BATCH_MAX, lanes)

        async def ask(number: int, turns: int) -> None:
            await _turns(turns)
            assert await gathered.ask(number) == 2 * number
            assert await gathered.ask(-number) == -2 * number

        await asyncio.gather(*(ask(number, chance.randrange(60)) for number in range(200)))

    _run(scene)
    assert sum(batches) == 400
    assert max(batches) <= BATCH_MAX


def test_a_failure_is_told_to_all_who_asked_together_and_to_nobody_else() -> None:
    async def failing(asked: list[str]) -> list[str]:
        await _turns(1)
        if "bad" in asked:
            raise LookupError("bad")
        return asked

    async def scene() -> None:
        gathered = Gathering(failing, 2)
        told = await asyncio.gather(*map(gathered.ask, ("one", "bad", "two", "three")), return_exceptions=True)
        assert [type(answer) for answer in told] == [LookupError, LookupError, str, str]
        assert await gathered.ask("four") == "four"

    _run(scene)


def test_what_was_asked_is_asked_for_even_if_whoever_asked_went_away() -> None:
    heard: list[str] = []

    async def hearing(asked: list[str]) -> list[str]:
        heard.extend(asked)
        await _turns(2)
        return asked

    async def scene() -> None:
        gathered = Gathering(hearing, BATCH_MAX)
        leaving, staying = (asyncio.create_task(gathered.ask(name)) for name in ("leaving", "staying"))
        await _turns(1)
        leaving.cancel()
        assert await staying == "staying"
        assert leaving.cancelled()

    _run(scene)
    assert heard == ["leaving", "staying"]


def test_draining_answers_what_waits_and_gives_up_what_takes_too_long() -> None:
    stuck = asyncio.Event()

    async def slow(asked: list[str]) -> list[str]:
        if "never" in asked:
            await stuck.wait()
        return asked

    async def scene() -> None:
        gathered = Gathering(slow, 1)
        soon = asyncio.create_task(gathered.ask("soon"))
        await _turns(1)
        await gathered.drain(ANSWERED_S_MAX)
        assert await soon == "soon"
        never, behind = (asyncio.create_task(gathered.ask(name)) for name in ("never", "behind"))
        await _turns(2)
        await gathered.drain(0.0)
        told = await asyncio.gather(never, behind, return_exceptions=True)
        assert [str(answer) for answer in told] == [gathering.GIVEN_UP] * 2

    _run(scene)


def test_too_many_waiting_are_refused_and_the_others_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "WAITING_MAX", 3)

    async def echo(asked: list[int]) -> list[int]:
        await _turns(1)
        return asked

    async def scene() -> None:
        gathered = Gathering(echo, BATCH_MAX)
        told = await asyncio.gather(*map(gathered.ask, range(5)), return_exceptions=True)
        assert told[:3] == [0, 1, 2]
        assert all(isinstance(refused, Overloaded) for refused in told[3:])

    _run(scene)
