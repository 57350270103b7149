"""What touches the chain: a sweep of all that is due there, and what is asked for at once. The rooms do the work.

No step holds a database transaction while it waits for a node. Whatever a step finds done already, by itself before it
was killed or by another worker at the same time, it leaves as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy import text

from streamcoop.database import engine
from workers import anchors, ballots, register
from workers.app import app

_SWEEP_LOCK = 0x5C_02
_RECONCILE_LOCK = 0x5C_05


@app.task(name="workers.chain.carry_order")
def carry_order(order_id: str) -> None:
    """Carry one order to the registrar as far as it goes."""
    register.carry_all([UUID(order_id)])


@app.task(name="workers.chain.sweep")
def sweep() -> None:
    """Do whatever is due on the chain. Of several sweeps at once one works: they would wait for the same node."""
    with _alone(_SWEEP_LOCK) as alone:
        if alone:
            ballots.carry_due()
            register.carry_due()
            anchors.carry_due()


@app.task(name="workers.chain.reconcile")
def reconcile() -> None:
    """Hold the contract's roll against the table of members."""
    with _alone(_RECONCILE_LOCK) as alone:
        if alone:
            register.reconcile()


@contextmanager
def _alone(lock: int) -> Iterator[bool]:
    """Whether nobody else does the same. The lock is the connection's, so it ends with a killed worker."""
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        alone = bool(connection.scalar(text("select pg_try_advisory_lock(:key)"), {"key": lock}))
        try:
            yield alone
        finally:
            if alone:
                connection.execute(text("select pg_advisory_unlock(:key)"), {"key": lock})
