"""The anchor contract: what of the public log was written down at each epoch's close.

The service writes (`Anchors`); whoever does not trust it reads, from a node of their own (`read_anchors`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from streamcoop.adapters.chain import (
    CONTRACTS,
    FINALITY_DEPTH_MAX,
    ChainError,
    ChainUnavailable,
    CoopContract,
    SignedTransaction,
)

ANCHORS_MAX = 100_000
"""More than a co-op of the shortest epochs makes in years; whoever reads need not take any number from a node."""


class AnchorsOfAnotherLog(ChainError):
    """The contract anchors a log of another origin."""


class TooManyAnchors(ChainError):
    """The contract, or the node that tells of it, names more anchors than are ever read."""


@dataclass(frozen=True)
class AnchorRecord:
    """The log had `size` entries under `root` when `epoch` was closed, with these totals; written `anchored_at`."""

    epoch: int
    size: int
    root: bytes
    gross_micro: int
    royalties_micro: int
    anchored_at: int


def origin_hash(origin: str) -> bytes:
    """What the contract of this log's anchors is constructed with."""
    return hashlib.sha256(origin.encode()).digest()


def read_anchors(
    rpc_url: str,
    contract: str,
    *,
    origin: str | None = None,
    chain_id: int | None = None,
    code_hash: str | None = None,
    finality_depth: int = 0,
) -> list[AnchorRecord]:
    """Every anchor of the contract as of its newest final block, in ascending order of epochs, all read at that block.

    With `origin`, `chain_id` and `code_hash` given, as the founding note tells them, any others are refused.

    Raises `AnchorsOfAnotherLog`, `TooManyAnchors`, `ChainUnavailable`, `ChainForked`, `WrongChain`, `ContractMissing`,
    `ContractChanged`, and ValueError for an address that is none.
    """
    anchors = Anchors.connect(rpc_url, contract, chain_id=chain_id, code_hash=code_hash)
    if origin is not None:
        anchors.require_origin(origin)
    return anchors.records(finality_depth)


class Anchors(CoopContract):
    """One EpochAnchor contract. `contracts/src/IEpochAnchor.sol` says what it promises."""

    file = CONTRACTS / "EpochAnchor.json"

    def require_origin(self, origin: str) -> None:
        """Raises `AnchorsOfAnotherLog` unless the contract anchors the log of this origin."""
        with self._node_errors():
            told = bytes(self._contract.functions.originHash().call())
        if told != origin_hash(origin):
            raise AnchorsOfAnotherLog(f"0x{told.hex()} is not the hash of {origin}")

    def anchor_of(self, epoch: int) -> AnchorRecord | None:
        """The anchor of `epoch` as of the newest block; None if it has none."""
        with self._node_errors():
            return _record(epoch, self._contract.functions.anchorOf(epoch).call())

    def records(self, finality_depth: int = 0) -> list[AnchorRecord]:
        """Every anchor, all read at the newest block with `finality_depth` (0 to 1,000) on it, as `read_anchors`."""
        if not 0 <= finality_depth <= FINALITY_DEPTH_MAX:
            raise ValueError(f"finality_depth must be 0 to {FINALITY_DEPTH_MAX}")
        told = self._contract.functions
        with self._node_errors():
            head = self._stamp("latest")
            block = self._stamp(max(head.number - finality_depth, 0)) if finality_depth else head
            self._check(block.number)
            count = told.count().call(block_identifier=block.number)
            if count > ANCHORS_MAX:
                raise TooManyAnchors(str(count))
            epochs = self._ask_all((told.epochAt(index) for index in range(count)), block.number)
            anchors = self._ask_all((told.anchorOf(epoch) for epoch in epochs), block.number)
            self._check_stands(block)
        records = [_record(epoch, anchor) for epoch, anchor in zip(epochs, anchors, strict=True)]
        found = [record for record in records if record is not None]
        if len(found) != count:
            raise ChainUnavailable(f"{len(found)} anchors of {count}")
        return found

    def build_anchor(
        self,
        epoch: int,
        size: int,
        root: bytes,
        gross_micro: int,
        royalties_micro: int,
        nonce: int | None = None,
    ) -> SignedTransaction:
        """The registrar's signed order to anchor `epoch`, not sent yet. `nonce` is `next_nonce()` unless given.

        Raises `ReadOnly`, `CallRefused` (by its name: AnchoredOtherwise, EpochNotAscending ...) and `FeeTooHigh`.
        """
        return self._build(self._contract.functions.anchor(epoch, size, root, gross_micro, royalties_micro), nonce)


def _record(epoch: int, told: Any) -> AnchorRecord | None:
    size, gross_micro, royalties_micro, anchored_at, root = told
    if not anchored_at:
        return None
    return AnchorRecord(epoch, size, bytes(root), gross_micro, royalties_micro, anchored_at)
