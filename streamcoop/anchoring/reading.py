"""The chain as an auditor asks for it: from a node of her own choice, with nothing of the service's settings."""

from __future__ import annotations

from dataclasses import asdict

from ledger.verify.anchors import Anchored, NoAnchors
from ledger.verify.registry import BlockGone, ChainUnread, Decision, RollSeat, Snapshot


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


def read_decisions(rpc_url: str, contract: str, *, chain_id: int | None, code_hash: str | None) -> list[Decision]:
    """Every decision of the rate registry, in its order. Raises ChainUnread."""
    from streamcoop.adapters.chain import ChainError
    from streamcoop.adapters.rate_registry import RateRegistry

    try:
        registry = RateRegistry.connect(rpc_url, contract, chain_id=chain_id, code_hash=code_hash)
        found = registry.decisions()
    except (ChainError, ValueError) as failed:
        raise ChainUnread(reason=f"{type(failed).__name__}: {failed}") from failed
    return [Decision(str(one.ballot_id), one.result_hash.hex(), asdict(one.rates)) for one in found]


def read_roll(
    rpc_url: str, contract: str, snapshot: Snapshot, *, chain_id: int | None, code_hash: str | None
) -> list[RollSeat]:
    """Every seat at the end of the snapshot's second; they add up to what the contract says of them in other words.

    Raises ChainUnread, and BlockGone where the chain has another block in its place.
    """
    from streamcoop.adapters.chain import BlockStamp, ChainError, ChainForked
    from streamcoop.adapters.members import Membership

    try:
        members = Membership.connect(rpc_url, contract, chain_id=chain_id, code_hash=code_hash)
        roll = members.roll_at(BlockStamp(snapshot.number, snapshot.hash, snapshot.timestamp))
    except ChainForked as forked:
        raise BlockGone(reason=str(forked)) from forked
    except (ChainError, ValueError) as failed:
        raise ChainUnread(reason=f"{type(failed).__name__}: {failed}") from failed
    return [RollSeat(seat.address, seat.member_class.name.lower(), seat.delegate, seat.since) for seat in roll.seats]
