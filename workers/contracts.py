"""The co-op's contracts, held to what they were when they were first met: chain, address and code."""

from __future__ import annotations

from typing import TypeVar

from streamcoop.adapters import chain as adapter
from streamcoop.adapters.chain import CoopContract
from streamcoop.clock import now
from streamcoop.database import transaction
from streamcoop.governance import electorate
from streamcoop.settings import settings
from workers.transactions import NODE_TIMEOUT_S

Contract = TypeVar("Contract", bound=CoopContract)


def pinned(kind: type[Contract], name: str, address: str, registrar_key: str | None = None) -> Contract:
    """The contract that is known by `name`; with the registrar's key it can be written to.

    Raises the adapter's ChainErrors, and ContractChanged for another than the first that had this name.
    """
    with transaction() as session:
        pin = electorate.pin(session, name)
    connected = kind.connect(
        settings().chain_rpc_url,
        address,
        chain_id=settings().chain_id or (None if pin is None else pin.chain_id),
        code_hash=None if pin is None else pin.code_hash,
        registrar_key=registrar_key,
        timeout_s=NODE_TIMEOUT_S,
    )
    if pin is not None and pin.address != connected.address:
        raise adapter.ContractChanged(f"{connected.address}, founded with {pin.address}")
    chain_id, code_hash = connected.check()
    with transaction() as session:
        electorate.keep_pin(session, name, chain_id, connected.address, code_hash, now())
    return connected
