"""The membership contract: who may vote with which weight, and how members are admitted.

Reading for a ballot goes in two steps, so that the same weights can be read again by anyone at any time:
`snapshot_block` chooses a block that is final, `weights_at` reads the weights at the end of that block's second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from eth_typing import ChecksumAddress
from eth_utils.address import to_checksum_address
from web3.types import RPCEndpoint

from streamcoop.adapters.chain import (
    CONTRACTS,
    FINALITY_DEPTH_MAX,
    BlockStamp,
    ChainError,
    CoopContract,
    SignedTransaction,
)

ADDRESSES_MAX = 1_000_000


class SnapshotTooFresh(ChainError):
    """No block follows the snapshot yet, so its weights cannot be read: try again after the next block."""


class WeightsDoNotAddUp(ChainError):
    """The members' weights do not add up to the total the contract states: somebody is missing or counted twice."""


class MemberClass(IntEnum):
    """`ICoopMembership.Class`."""

    LISTENER = 1
    ARTIST = 2
    WORKER = 3


@dataclass(frozen=True)
class MemberWeight:
    """The votes an address had."""

    address: str
    weight: int


@dataclass(frozen=True)
class Weights:
    """Who had how many votes at the end of a block's second, and what that was read from.

    `members` stand in the order they were asked for, and their weights add up to `total`, the contract's supply.
    """

    block: BlockStamp
    chain_id: int
    contract: str
    code_hash: str
    members: tuple[MemberWeight, ...]
    total: int


class Membership(CoopContract):
    """One CoopMembership contract. `contracts/src/ICoopMembership.sol` says what it promises."""

    file = CONTRACTS / "CoopMembership.json"

    def is_member(self, address: str) -> bool:
        """Whether `address` is a member as of the newest block."""
        with self._node_errors():
            return bool(self._contract.functions.isMember(to_checksum_address(address)).call())

    # --- Reading weights ---

    def snapshot_block(self, finality_depth: int) -> BlockStamp:
        """The newest block that is final: at least `finality_depth` blocks (0 to 1,000) stand on it.

        The contract tells of a second only once it is over, so a block of a later second must exist. A chain that mines
        on demand is asked for one. Raises `SnapshotTooFresh` where there is none.
        """
        if not 0 <= finality_depth <= FINALITY_DEPTH_MAX:
            raise ValueError(f"finality_depth must be 0 to {FINALITY_DEPTH_MAX}")
        with self._node_errors():
            head = self._stamp("latest")
            if head.number < finality_depth:
                raise SnapshotTooFresh(
                    f"the chain has {head.number} blocks, {finality_depth} must stand on a final one"
                )
            block = self._stamp(head.number - finality_depth) if finality_depth else head
            if head.timestamp <= block.timestamp:
                self._mine()
                head = self._stamp("latest")
            if head.timestamp <= block.timestamp:
                raise SnapshotTooFresh(f"block {block.number} is the newest")
            return block

    def weights_at(self, block: BlockStamp, addresses: Sequence[str]) -> Weights:
        """The votes of `addresses` at the end of the second of `block`, all read at one later block.

        `addresses` are all who may have been members then, each once. Nothing is returned that does not add up.

        Raises `SnapshotTooFresh`, `ChainForked`, `WeightsDoNotAddUp`, `WrongChain`, `ContractMissing`,
        `ContractChanged`, and ValueError for more than `ADDRESSES_MAX`.
        """
        if len(addresses) > ADDRESSES_MAX:
            raise ValueError(f"more than {ADDRESSES_MAX} addresses")
        voters = [to_checksum_address(address) for address in addresses]
        with self._node_errors():
            read_at = self._stamp("latest")
            if read_at.timestamp <= block.timestamp:
                raise SnapshotTooFresh(f"block {block.number} is the newest")
            self._check_stands(block)
            chain_id, code_hash = self._check(read_at.number)
            total = self._contract.functions.getPastTotalSupply(block.timestamp).call(block_identifier=read_at.number)
            weights = self._past_votes(voters, block.timestamp, read_at.number)
            self._check_stands(block)
            self._check_stands(read_at)
        if sum(weights) != total:
            raise WeightsDoNotAddUp(f"the members have {sum(weights)}, the contract says {total}")
        members = tuple(MemberWeight(voter, weight) for voter, weight in zip(voters, weights, strict=True))
        return Weights(block, chain_id, self.address, code_hash, members, total)

    def _past_votes(self, voters: list[ChecksumAddress], timestamp: int, read_at: int) -> list[int]:
        return self._ask_all((self._contract.functions.getPastVotes(voter, timestamp) for voter in voters), read_at)

    def _mine(self) -> None:
        """Has a chain for development add a block; any other chain does not know the method, and nothing happens."""
        self._web3.provider.make_request(RPCEndpoint("evm_mine"), [])

    # --- Writing ---

    def build_admission(self, member: str, member_class: MemberClass, nonce: int | None = None) -> SignedTransaction:
        """The registrar's signed order to admit `member`, not sent yet. `nonce` is `next_nonce()` unless given.

        Raises `ReadOnly`, `CallRefused` (by its name: AlreadyMember, NotRegistrar ...) and `FeeTooHigh`.
        """
        return self._build(self._contract.functions.admit(to_checksum_address(member), int(member_class)), nonce)

    def build_removal(self, member: str, nonce: int | None = None) -> SignedTransaction:
        """The registrar's signed order to remove `member`, as `build_admission`."""
        return self._build(self._contract.functions.remove(to_checksum_address(member)), nonce)
