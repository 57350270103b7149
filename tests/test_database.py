"""One engine a process."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine

from streamcoop import database

THREADS = 3
# How long one that makes an engine waits for others to make theirs.
TOGETHER_S = 0.3


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Engine]]:
    """All engines that were made. Each is long in the making: until all threads are at it, if they can be."""
    engines: list[Engine] = []
    all_at_it = Barrier(THREADS)

    def make(*arguments: Any, **named: Any) -> Engine:
        with suppress(BrokenBarrierError):
            all_at_it.wait(TOGETHER_S)
        engines.append(create_engine(*arguments, **named))
        return engines[-1]

    address = SimpleNamespace(database_url=SecretStr("postgresql://nobody@127.0.0.1:1/none"))
    monkeypatch.setattr(database, "settings", lambda: address)
    monkeypatch.setattr(database, "create_engine", make)
    database._engine.cache_clear()
    yield engines
    database._engine.cache_clear()


def test_threads_that_ask_first_at_once_are_given_one_engine(made: list[Engine]) -> None:
    with ThreadPoolExecutor(THREADS) as threads:
        given = list(threads.map(lambda _: database.engine(), range(THREADS)))
    assert len(made) == 1
    assert set(given) == set(made)
