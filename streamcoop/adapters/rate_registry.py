"""The rate registry: what members decided, written down where nobody can unwrite it, and from when on it holds."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any
from uuid import UUID

from streamcoop.adapters.chain import CONTRACTS, ChainError, ChainUnavailable, CoopContract, SignedTransaction

DECISIONS_MAX = 100_000
"""More than a co-op decides in centuries; whoever reads need not take any number from a node."""


class TooManyDecisions(ChainError):
    """The registry, or the node that tells of it, names more decisions than are ever read."""


@dataclass(frozen=True)
class Rates:
    """The seven numbers members vote on. Its fields are `IRateRegistry.Rates` in order, in the units of their names."""

    artist_share_bp: int
    community_cut_bp: int
    reserve_cut_bp: int
    first_price_micro: int
    plays: int
    payout_minimum_minor: int
    listen_ms_max: int


@dataclass(frozen=True)
class RateBounds:
    """Within what every decision stays, each number by itself; fixed when the registry was made."""

    lowest: Rates
    highest: Rates
    step_max: Rates


@dataclass(frozen=True)
class Decision:
    """`rates` hold from `effective_at` on, by the ballot whose BALLOT entry has `result_hash`.

    Both times are the chain's own seconds.
    """

    ballot_id: UUID
    result_hash: bytes
    rates: Rates
    decided_at: int
    effective_at: int


class RateRegistry(CoopContract):
    """One RateRegistry contract. `contracts/src/IRateRegistry.sol` says what it promises."""

    file = CONTRACTS / "RateRegistry.json"

    def bounds(self) -> RateBounds:
        """Within what every decision stays."""
        return RateBounds(*(Rates(*numbers) for numbers in self._ask("bounds")))

    def rates_at(self, time: int) -> Rates:
        """The rates in force at `time` (chain seconds), those of the founding before any decision.

        For a time less than the timelock ahead of the newest block the answer is final.
        """
        return Rates(*self._ask("ratesAt", time))

    def decision_of(self, ballot_id: UUID) -> Decision | None:
        """What was decided by a ballot, as of the newest block; None if nothing is written of it."""
        return _decision(self._ask("decisionOf", ballot_id.bytes))

    def decisions(self) -> list[Decision]:
        """Every decision, in the order of writing, all read at one block.

        Raises `TooManyDecisions`, `ChainForked`, `WrongChain`, `ContractMissing` and `ContractChanged`.
        """
        told = self._contract.functions
        with self._node_errors():
            block = self._stamp("latest")
            self._check(block.number)
            count = told.count().call(block_identifier=block.number)
            if count > DECISIONS_MAX:
                raise TooManyDecisions(str(count))
            answers = self._ask_all((told.decisionAt(index) for index in range(count)), block.number)
            self._check_stands(block)
        found = [decision for decision in map(_decision, answers) if decision is not None]
        if len(found) != count:
            raise ChainUnavailable(f"{len(found)} decisions of {count}")
        return found

    def build_decision(
        self, ballot_id: UUID, result_hash: bytes, rates: Rates, nonce: int | None = None
    ) -> SignedTransaction:
        """The registrar's signed order to write a decision, not sent yet. `nonce` is `next_nonce()` unless given.

        It takes effect the timelock after the block that has it. To repeat a decision with the same content changes
        nothing.

        Raises `ReadOnly`, `FeeTooHigh` and `CallRefused`, by name: DecidedOtherwise, OutOfBounds, StepTooLarge,
        CutsNotOrdered, AccessControlUnauthorizedAccount.
        """
        call = self._contract.functions.decide(ballot_id.bytes, result_hash, astuple(rates))
        return self._build(call, nonce)


def _decision(told: Any) -> Decision | None:
    ballot, decided_at, effective_at, result_hash, rates = told
    if not decided_at:
        return None
    return Decision(UUID(bytes=bytes(ballot)), bytes(result_hash), Rates(*rates), decided_at, effective_at)
