"""Passwords by argon2: a few at a time, because each takes 64 MiB, and nobody's takes as long as somebody's."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from ledger.errors import DomainError
from streamcoop.problems import register

AT_ONCE_MAX = 4
WAITING_MAX = 100
RETRY_AFTER_S = 3
NOBODYS_BYTES = 32

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class SignInsOverloaded(DomainError):
    """Too many people are signing in just now: try again in a moment."""


register({SignInsOverloaded: HTTPStatus.SERVICE_UNAVAILABLE})

# How many have asked and are not done. Touched by the event loop only, never across an await.
_asked = 0
_threads: RunVar[CapacityLimiter] = RunVar("streamcoop.accounts.passwords")


async def in_turn(work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """Run what hashes or verifies in one of AT_ONCE_MAX threads. Raises SignInsOverloaded if too many wait already."""
    global _asked  # noqa: PLW0603  # one number of this process
    try:
        limiter = _threads.get()
    except LookupError:
        limiter = CapacityLimiter(AT_ONCE_MAX)
        _threads.set(limiter)
    if _asked >= AT_ONCE_MAX + WAITING_MAX:
        raise SignInsOverloaded(retry_after_s=RETRY_AFTER_S)
    _asked += 1
    try:
        return await to_thread.run_sync(lambda: work(*args, **kwargs), limiter=limiter)
    finally:
        _asked -= 1


@cache
def _hasher() -> PasswordHasher:
    return PasswordHasher()


@cache
def _nobodys() -> str:
    return _hasher().hash(secrets.token_urlsafe(NOBODYS_BYTES))


def hashed(password: str) -> str:
    """How a password is kept."""
    return _hasher().hash(password)


def matches(password: str, kept: str | None) -> bool:
    """Whether this is the password. Without one to compare with it never is, and that takes as long to find out."""
    try:
        _hasher().verify(kept or _nobodys(), password)
    except (VerifyMismatchError, InvalidHashError):
        return False
    return kept is not None
