"""Anchors as an auditor asks for them: from a node of her own choice, with nothing of the service's settings."""

from __future__ import annotations

from ledger.verify.anchors import Anchored, NoAnchors


def read_anchors(
    rpc_url: str, contract: str, *, origin: str, chain_id: int | None, code_hash: str | None
) -> list[Anchored]:
    """Every anchor of the contract, of this log and no other, on this chain. Raises NoAnchors."""
    from streamcoop.adapters import anchors  # an audit without a chain need not wait for web3
    from streamcoop.adapters.chain import ChainError

    try:
        records = anchors.read_anchors(rpc_url, contract, origin=origin, chain_id=chain_id, code_hash=code_hash)
    except (ChainError, ValueError) as failed:
        raise NoAnchors(reason=f"{type(failed).__name__}: {failed}") from failed
    return [Anchored(one.epoch, one.size, one.root, one.gross_micro, one.royalties_micro) for one in records]
