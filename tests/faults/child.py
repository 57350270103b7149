"""Runs one part of the service as it is, behind a clock that can be set, a store that can fail and steps that kill.

`python -m tests.faults.child PART MODULE ARGUMENT...` is `python -m MODULE ARGUMENT...` under the levers.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any

import celery.app.base
import celery.worker.request
from dotenv import dotenv_values
from sqlalchemy import event
from sqlalchemy.orm import Session

import streamcoop.clock
from streamcoop.adapters.objects import FolderStore, ObjectStoreUnavailable
from streamcoop.settings import PREFIX, SERVICE_ENV, data_dir
from tests.faults.levers import Levers, of_environment
from tests.faults.steps import STEPS, Step

PROXY = "FAULTS_PROXY"
"""The variable that tells a part which port to use in place of which: `<database's>:<proxy's>`."""
# Where the service and what it is built on read the time of day, besides `time.time`.
CLOCKS = (streamcoop.clock, celery.app.base, celery.worker.request)
STORE_WRITES = ("put_file", "put_bytes", "replace_bytes", "delete")
STORE_READS = ("open_range", "size", "exists", "fetch_to")


def main() -> None:
    part, module, *arguments = sys.argv[1:]
    levers = of_environment()
    _reach_the_database_through_the_proxy(os.environ[PROXY])
    _install_clock(levers, part)
    _install_store(levers)
    _install_steps(levers, [step for step in STEPS if step.part == part])
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _reach_the_database_through_the_proxy(ports: str) -> None:
    own, proxy = ports.split(":")
    for name, value in dotenv_values(data_dir() / SERVICE_ENV).items():
        if name in (f"{PREFIX}DATABASE_URL", f"{PREFIX}BROKER_URL") and value:
            os.environ[name] = value.replace(f":{own}/", f":{proxy}/")


def _install_clock(levers: Levers, part: str) -> None:
    read, read_ns = time.time, time.time_ns

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # a plain one, which can be pickled
            return datetime.now(tz) + timedelta(seconds=levers.clock_offset_s(part))

    for module in CLOCKS:
        setattr(module, "datetime", Shifted)  # noqa: B010  # mypy does not let a module's class be assigned
    time.time = lambda: read() + levers.clock_offset_s(part)
    time.time_ns = lambda: read_ns() + int(levers.clock_offset_s(part) * 1e9)


def _install_store(levers: Levers) -> None:
    for name in (*STORE_WRITES, *STORE_READS):
        setattr(FolderStore, name, _spoiled(getattr(FolderStore, name), levers))


def _spoiled(method: Callable[..., Any], levers: Levers) -> Callable[..., Any]:
    @functools.wraps(method)
    def spoiled(*arguments: Any, **named: Any) -> Any:
        fault, _, seconds = levers.store_fault().partition(" ")
        if fault == "slow":
            time.sleep(float(seconds))
        if fault == "fails-before":
            raise ObjectStoreUnavailable("the store fails")
        result = method(*arguments, **named)
        if fault == "fails-after":
            raise ObjectStoreUnavailable("the store's answer was lost")
        return result

    return spoiled


def _install_steps(levers: Levers, steps: list[Step]) -> None:
    committing = _Committing(levers)
    functions = {step.function for step in steps}
    for name in functions:
        module_name, _, attribute = name.partition(":")
        module = importlib.import_module(module_name)
        names: dict[str, str] = {step.moment: step.name for step in steps if step.function == name}
        setattr(module, attribute, _watched(getattr(module, attribute), names, levers, committing))


class _Committing:
    """The steps that a thread has come to once its transaction is committed."""

    def __init__(self, levers: Levers) -> None:
        self._levers, self._thread = levers, threading.local()
        event.listen(Session, "after_commit", self._committed)
        event.listen(Session, "after_rollback", self._forget)

    def expect(self, step: str) -> None:
        self._thread.steps = [*getattr(self._thread, "steps", ()), step]

    def _committed(self, session: Session) -> None:
        for step in getattr(self._thread, "steps", ()):
            self._levers.at_step(step, _die)
        self._forget(session)

    def _forget(self, _: Session) -> None:
        self._thread.steps = []


def _watched(
    function: Callable[..., Any], names: Mapping[str, str], levers: Levers, committing: _Committing
) -> Callable[..., Any]:
    """The function, with its steps: `names` by their moments."""

    def at(moment: str) -> None:
        if moment in names:
            levers.at_step(names[moment], _die)

    def expect_commit() -> None:
        if "committed" in names:
            committing.expect(names["committed"])

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def watched_async(*arguments: Any, **named: Any) -> Any:
            at("before")
            result = await function(*arguments, **named)
            at("after")
            return result

        return watched_async

    @functools.wraps(function)
    def watched(*arguments: Any, **named: Any) -> Any:
        at("before")
        result = function(*arguments, **named)
        at("after")
        expect_commit()
        return result

    return watched


def _die(whole_part: bool) -> None:
    if whole_part:
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
