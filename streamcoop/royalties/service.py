"""Closing epochs: the books' close with this service's splits, a chunk of tracks per transaction."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial

from sqlalchemy.orm import Session

from ledger.store import closing
from ledger.store.closing import TrackEpoch
from ledger.store.terms import Founding
from streamcoop import tracing
from streamcoop.royalties.splits import splits_of

CHUNKS_MAX = 100_000


def close_epoch(
    transaction: Callable[[], AbstractContextManager[Session]],
    founding: Founding,
    epoch: int,
    clock: Callable[[], datetime],
) -> bool:
    """Close an epoch from wherever an earlier run left it; False if it was closed already.

    Each chunk is its own transaction, so a kill anywhere loses at most a chunk's work and doubles nothing.
    """
    with transaction() as session:
        if not closing.begin(session.connection(), founding, epoch, clock()):
            return False
    last: TrackEpoch | None = None
    for _ in range(CHUNKS_MAX):
        with tracing.span("close a chunk of tracks", epoch=epoch), transaction() as session:
            splits = partial(splits_of, session)
            last = closing.close_chunk(session.connection(), founding, epoch, splits, clock(), last)
        if last is None:
            break
    else:
        raise RuntimeError(f"epoch {epoch} has more tracks than {CHUNKS_MAX} chunks hold")
    with transaction() as session:
        closing.finish(session.connection(), epoch, clock())
    return True
