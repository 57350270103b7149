"""Guessing passwords made slow, without locking anybody out of her own account.

An attempt is counted before the password is looked at, in a transaction of its own, and taken back if it succeeds:
however many are made at once, on however many processes, each is counted. What is counted are three doors:

- one account from one network (an IPv4 address, an IPv6 /64): after FREE_MAX failures the wait doubles, to 15 minutes;
- one network, whatever the account: after ten times as many, to a minute, since many people may share it;
- one account from everywhere: after twenty times as many, to half a minute. Networks from which the account was signed
  in to within KNOWN_FOR are let past this one, so strangers cannot keep a member out of where she usually is.

While a door is shut the password is not looked at, so a right one is answered like a wrong one; an address without an
account is counted like any other. Keys are keyed digests: the table tells neither people nor addresses.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus

from sqlalchemy import case, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from ledger.errors import DomainError
from streamcoop.accounts.models import SignInDoor
from streamcoop.problems import register
from streamcoop.settings import settings

FREE_OF_NETWORK = 10
FREE_OF_ACCOUNT = 20
WAIT_S_MAX = 900
WAIT_OF_NETWORK_S_MAX = 60
WAIT_OF_ACCOUNT_S_MAX = 30
FORGET_AFTER = timedelta(hours=1)
KNOWN_FOR = timedelta(days=30)
# Old doors removed at each attempt: more than an attempt makes, so the table shrinks again by itself.
SWEPT_MAX = 20


class SignInPaused(DomainError):
    """Too many attempts have failed: wait before the next one."""


register({SignInPaused: HTTPStatus.TOO_MANY_REQUESTS})


@dataclass(frozen=True, slots=True)
class Door:
    """What is counted together. `known_lets_past`: not shut for those whose own door, the first, is known."""

    key: bytes
    free: int
    wait_s_max: int
    known_lets_past: bool = False


def doors_of_network(network: str) -> list[Door]:
    """The door of a network alone: for asking whether an e-mail address is taken."""
    free = settings().sign_in_failures_free
    return [Door(_key("network", network), free * FREE_OF_NETWORK, WAIT_OF_NETWORK_S_MAX)] if free else []


def doors(email: str, network: str) -> list[Door]:
    """The doors between a network and an account, that of this account from this network first."""
    free = settings().sign_in_failures_free
    if not free:
        return []
    account = email.lower()
    return [
        Door(_key("account from network", account, network), free, WAIT_S_MAX),
        *doors_of_network(network),
        Door(_key("account", account), free * FREE_OF_ACCOUNT, WAIT_OF_ACCOUNT_S_MAX, known_lets_past=True),
    ]


def attempt(session: Session, doors: Sequence[Door], now: datetime) -> None:
    """Count an attempt as failed. Commit it before the password is looked at. Raises SignInPaused, counting nothing."""
    if not doors:
        return
    _sweep(session, now)
    found = _locked(session, doors, now)
    known = found[doors[0].key].known_until
    shut = [
        found[door.key].free_at
        for door in doors
        if not (door.known_lets_past and known is not None and known > now) and found[door.key].free_at > now
    ]
    if shut:
        raise SignInPaused(retry_after_s=math.ceil((max(shut) - now).total_seconds()))
    for door in doors:
        row = found[door.key]
        row.failures += 1
        over = row.failures - door.free
        row.free_at = now + timedelta(seconds=_wait_s(over, door.wait_s_max))
        row.forget_at = max(row.free_at + FORGET_AFTER, row.known_until or now)


def succeeded(session: Session, doors: Sequence[Door], now: datetime) -> None:
    """Take the attempt back; the first door's failures are forgotten, and it is known from now on."""
    if not doors:
        return
    found = _locked(session, doors, now)
    for number, door in enumerate(doors):
        row = found[door.key]
        row.failures = max(row.failures - 1, 0) if number else 0
        row.free_at = now
    own = found[doors[0].key]
    if len(doors) > 1:
        own.known_until = own.forget_at = now + KNOWN_FOR


def _wait_s(over: int, wait_s_max: int) -> int:
    """Seconds after a failure: none while the allowance lasts, then 1, 2, 4 and so on."""
    return 0 if over < 0 else min(1 << min(over, wait_s_max.bit_length()), wait_s_max)


def _key(*parts: str) -> bytes:
    secret = settings().secret_key.get_secret_value().encode()
    return hmac.new(secret, "\0".join(("sign-in", *parts)).encode(), hashlib.sha256).digest()


def _locked(session: Session, doors: Sequence[Door], now: datetime) -> dict[bytes, SignInDoor]:
    """The doors' rows, made where there are none and locked in the order of their keys. Old failures are forgotten."""
    fresh = [
        {"key": key, "failures": 0, "free_at": now, "forget_at": now + FORGET_AFTER}
        for key in sorted(door.key for door in doors)
    ]
    remembered = case((SignInDoor.free_at + FORGET_AFTER <= now, 0), else_=SignInDoor.failures)
    later = func.greatest(SignInDoor.forget_at, now + FORGET_AFTER)
    upsert = insert(SignInDoor).values(fresh)
    upsert = upsert.on_conflict_do_update(
        index_elements=[SignInDoor.key], set_={"failures": remembered, "forget_at": later}
    )
    rows = session.scalars(upsert.returning(SignInDoor), execution_options={"populate_existing": True})
    return {row.key: row for row in rows}


def _sweep(session: Session, now: datetime) -> None:
    old = select(SignInDoor.key).where(SignInDoor.forget_at <= now).limit(SWEPT_MAX).with_for_update(skip_locked=True)
    session.execute(delete(SignInDoor).where(SignInDoor.key.in_(old)), execution_options={"synchronize_session": False})
