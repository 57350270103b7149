"""What touches the chain: a sweep of all that is due there, and what is asked for at once. The rooms do the work.

No step holds a database transaction while it waits for a node. Whatever a step finds done already, by itself before it
was killed or by another worker at the same time, it leaves as it is.
"""

from __future__ import annotations

from uuid import UUID

from workers import anchors, ballots, register
from workers.alone import alone
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
    with alone(_SWEEP_LOCK) as is_alone:
        if is_alone:
            ballots.carry_due()
            register.carry_due()
            anchors.carry_due()


@app.task(name="workers.chain.reconcile")
def reconcile() -> None:
    """Hold the contract's roll against the table of members."""
    with alone(_RECONCILE_LOCK) as is_alone:
        if is_alone:
            register.reconcile()
