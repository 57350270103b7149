"""What the contracts are made with: who the officers are, and the constitution's numbers that the chain enforces."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from eth_utils.address import is_address, to_checksum_address

OFFICERS_MIN = 2
PARAMETERS = (
    "artist_share_bp",
    "community_cut_bp",
    "reserve_cut_bp",
    "first_price_micro",
    "plays",
    "payout_minimum_minor",
    "listen_ms_max",
)
"""What members vote on, in the order of `IRateRegistry.Rates`."""

CONSTITUTION: dict[str, Any] = {
    "delegation_cap": 10,
    "office_delay_seconds": 2 * 86_400,
    "timelock_seconds": 2 * 86_400,
    "parameters": {
        "artist_share_bp": {"lowest": 5_000, "highest": 9_000, "step_max": 500},
        "community_cut_bp": {"lowest": 0, "highest": 5_000, "step_max": 500},
        "reserve_cut_bp": {"lowest": 1_000, "highest": 9_000, "step_max": 500},
        "first_price_micro": {"lowest": 1_000, "highest": 16_000, "step_max": 2_000},
        "plays": {"lowest": 5, "highest": 12, "step_max": 1},
        "payout_minimum_minor": {"lowest": 100, "highest": 10_000, "step_max": 1_000},
        "listen_ms_max": {"lowest": 10_000, "highest": 60_000, "step_max": 15_000},
    },
    "rates": {
        "artist_share_bp": 7_000,
        "community_cut_bp": 1_000,
        "reserve_cut_bp": 3_000,
        "first_price_micro": 2_000,
        "plays": 9,
        "payout_minimum_minor": 1_000,
        "listen_ms_max": 45_000,
    },
}
"""Where nothing else is said."""

Arguments = tuple[Any, ...]


class FoundingInvalid(Exception):
    """The constitution or the officers given are not what a co-op can be founded with."""


@dataclass(frozen=True)
class Founding:
    """The arguments of the contracts' constructors, but for the addresses of who writes to them and the log's origin.

    Numbers stand in the order of `PARAMETERS`.
    """

    officers: tuple[str, ...]
    delegation_cap: int
    office_delay_s: int
    timelock_s: int
    lowest: tuple[int, ...]
    highest: tuple[int, ...]
    step_max: tuple[int, ...]
    rates: tuple[int, ...]

    def membership(self, registrar: str) -> Arguments:
        """Of CoopMembership."""
        return registrar, list(self.officers), self.delegation_cap, self.office_delay_s

    def rate_registry(self, administrator: str, recorder: str) -> Arguments:
        """Of RateRegistry."""
        return administrator, recorder, self.timelock_s, self.lowest, self.highest, self.step_max, self.rates


def epoch_anchor(administrator: str, anchorer: str, log_origin: str) -> Arguments:
    """The arguments of EpochAnchor's constructor."""
    return administrator, anchorer, sha256(log_origin.encode()).digest()


def founding(officers: Sequence[str], constitution: Mapping[str, Any] = CONSTITUTION) -> Founding:
    """From the officers' addresses and the constitution as JSON has it; what else that tells is not the chain's.

    Raises `FoundingInvalid`.
    """
    if not all(map(is_address, officers)) or len(set(map(to_checksum_address, officers))) < OFFICERS_MIN:
        raise FoundingInvalid(f"{OFFICERS_MIN} different officers or more")
    try:
        bounds: Mapping[str, Mapping[str, int]] = constitution["parameters"]
        lowest, highest, step_max = (
            tuple(int(bounds[name][kind]) for name in PARAMETERS) for kind in ("lowest", "highest", "step_max")
        )
        return Founding(
            officers=tuple(map(to_checksum_address, officers)),
            delegation_cap=int(constitution["delegation_cap"]),
            office_delay_s=int(constitution["office_delay_seconds"]),
            timelock_s=int(constitution["timelock_seconds"]),
            lowest=lowest,
            highest=highest,
            step_max=step_max,
            rates=tuple(int(constitution["rates"][name]) for name in PARAMETERS),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FoundingInvalid(f"{type(error).__name__}: {error}") from error


def read_constitution(text: str) -> Mapping[str, Any]:
    """The constitution in a file. Raises `FoundingInvalid` for what is no JSON object."""
    try:
        constitution = json.loads(text)
    except json.JSONDecodeError as error:
        raise FoundingInvalid(str(error)) from error
    if not isinstance(constitution, dict):
        raise FoundingInvalid("not an object")
    return constitution
