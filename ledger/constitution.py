"""The constitution: what members can vote on and how far, and the rules of voting. Fixed when the co-op is founded.

It stands in the log's founding entry, and the founding note holds its SHA-256. Nothing changes it afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any

from ledger import canonical
from ledger.errors import DomainError
from ledger.money import BASIS_POINTS, PRICE_QUANTUM_MICRO
from ledger.rates import NET, NetFactors, Rates
from ledger.rules import Rules
from ledger.tariff import Tariff

TARIFF, RATES, RULES = "tariff", "rates", "rules"
KINDS: Mapping[str, tuple[str, ...]] = {
    RATES: ("artist_share_bp", "community_cut_bp", "reserve_cut_bp"),
    TARIFF: ("first_price_micro", "plays"),
    RULES: ("payout_minimum_minor", "listen_ms_max"),
}
"""The kinds of terms that members vote on, and the open parameters of each."""
PARAMETERS = tuple(name for names in KINDS.values() for name in names)
"""The open parameters, in the order of `IRateRegistry.Rates`."""
FUNDS = ("community_cut_bp", "reserve_cut_bp")
"""The funds' cut points, the lower one first: always voted on together."""
MOTION = "motion"
"""The parameter of a ballot that asks for a yes (1) or a no (0)."""
CLASSES = ("listener", "artist", "worker")
"""The classes of members."""

DAY = 86_400


class UnsuitableConstitution(DomainError):
    """No co-op can be founded with this constitution."""


class CeilingTooHigh(DomainError):
    """At the highest artists' share nothing would be left to the co-op after tax, fees and licensing."""


class OutsideConstitution(DomainError):
    """The constitution does not permit this number."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a ballot can decide: whole multiples of `quantum` from `lowest` to `highest`, at most `step_max` away from
    what held before.
    """

    lowest: int
    highest: int
    step_max: int
    quantum: int = 1

    def __post_init__(self) -> None:
        numbers = (self.lowest, self.highest, self.step_max)
        is_sound = 0 <= self.lowest <= self.highest <= canonical.INTEGER_MAX and self.quantum > 0 < self.step_max
        if not is_sound or any(number % self.quantum for number in numbers):
            raise UnsuitableConstitution(bound=self)

    def permits(self, value: int) -> bool:
        """Whether this may be voted for."""
        return self.lowest <= value <= self.highest and value % self.quantum == 0

    def nearest(self, value: int) -> int:
        """The nearest number that may be voted for, the lower one where it lies between two."""
        return max(self.lowest, min(self.highest, value - value % self.quantum))

    def clip(self, value: int, status_quo: int) -> int:
        """The nearest number that can be decided while `status_quo` holds."""
        stepped = max(status_quo - self.step_max, min(status_quo + self.step_max, value))
        return max(self.lowest, min(self.highest, stepped))


MOTION_BOUND = Bound(0, 1, 1)


def _parameters() -> dict[str, Bound]:
    return {
        "artist_share_bp": Bound(5_000, 9_000, 500),
        "community_cut_bp": Bound(0, 5_000, 500),
        "reserve_cut_bp": Bound(1_000, 9_000, 500),
        "first_price_micro": Bound(1_000, 16_000, 2_000, PRICE_QUANTUM_MICRO),
        "plays": Bound(5, 12, 1),
        "payout_minimum_minor": Bound(100, 10_000, 1_000),
        "listen_ms_max": Bound(10_000, 60_000, 15_000),
    }


def _no_class_quorums() -> dict[str, int]:
    return dict.fromkeys(CLASSES, 0)


@dataclass(frozen=True)
class Constitution:
    """What members can decide, and how. Times are in seconds. Raises UnsuitableConstitution.

    `quorum_bp`: of the weight of all who may vote, and `class_quorum_bp` of each class's; what is missing to either
    votes for the status quo. `waiting_seconds`: how long one is a member before a snapshot to vote in its ballot.
    `delegation_cap`: the votes a member has at the most, with her own. A proposal needs `supporters_min` members, is
    discussed for `discussion_seconds`, and voted on for a time between the two `ballot_seconds`; a vote within
    `quiet_seconds` of the close puts it off, by `extension_seconds_max` in all. What is decided waits for
    `timelock_seconds`, a change of officers for `office_delay_seconds`. A member's share is `share_minor` in minor
    units of the currency, and is paid back `share_refund_seconds` after she has left.
    """

    parameters: Mapping[str, Bound] = field(default_factory=_parameters)
    quorum_bp: int = 2_000
    class_quorum_bp: Mapping[str, int] = field(default_factory=_no_class_quorums)
    waiting_seconds: int = 30 * DAY
    delegation_cap: int = 10
    supporters_min: int = 3
    discussion_seconds: int = 7 * DAY
    ballot_seconds_min: int = 3 * DAY
    ballot_seconds_max: int = 90 * DAY
    quiet_seconds: int = 6 * 3_600
    extension_seconds_max: int = 2 * DAY
    timelock_seconds: int = 2 * DAY
    office_delay_seconds: int = 2 * DAY
    share_minor: int = 1_000
    share_refund_seconds: int = 180 * DAY

    def __post_init__(self) -> None:
        if self.parameters.keys() != set(PARAMETERS) or self.class_quorum_bp.keys() != set(CLASSES):
            raise UnsuitableConstitution(reason="other parameters or classes than there are")
        if not all(0 <= part <= BASIS_POINTS for part in (self.quorum_bp, *self.class_quorum_bp.values())):
            raise UnsuitableConstitution(reason="a quorum is a part of the whole")
        rest = [getattr(self, name) for name in NUMBERS]
        if not all(0 <= number <= canonical.INTEGER_MAX for number in rest):
            raise UnsuitableConstitution(reason="no number is below nothing")
        if min(self.delegation_cap, self.supporters_min) < 1 or not (
            0 < self.ballot_seconds_min <= self.ballot_seconds_max
        ):
            raise UnsuitableConstitution(reason="a ballot has a supporter, a voter and a time")
        community, reserve = (self.parameters[name] for name in FUNDS)
        if (
            community.lowest > reserve.lowest
            or community.highest > reserve.highest
            or (community.step_max, community.quantum) != (reserve.step_max, reserve.quantum)
        ):
            raise UnsuitableConstitution(reason="the funds' bounds would let one cut point pass the other")
        if self.parameters["first_price_micro"].quantum % PRICE_QUANTUM_MICRO:
            raise UnsuitableConstitution(reason="prices are whole thousandths of a credit")
        try:
            for end in ("lowest", "highest"):
                terms_of({name: getattr(bound, end) for name, bound in self.parameters.items()})
        except (ValueError, DomainError) as unsuitable:
            raise UnsuitableConstitution(reason="bounds beyond what is possible") from unsuitable

    def bound(self, parameter: str) -> Bound:
        """The bounds of an open parameter or of a motion."""
        return MOTION_BOUND if parameter == MOTION else self.parameters[parameter]

    def require(self, numbers: Mapping[str, int]) -> None:
        """Raise OutsideConstitution unless each of these numbers, by parameter, may be in force."""
        for name, number in numbers.items():
            if not self.parameters[name].permits(number):
                raise OutsideConstitution(parameter=name, number=number, bound=self.parameters[name])

    def require_covered(self, factors: NetFactors) -> None:
        """Raise CeilingTooHigh unless the co-op keeps a ten-thousandth of the gross even at the artists' highest share.

        Then no vote can make its funds pay for more than was taken in.
        """
        weights = factors.weights()
        left = weights[NET] * (BASIS_POINTS - self.parameters["artist_share_bp"].highest)
        if left < sum(weights.values()):
            raise CeilingTooHigh(artist_share_bp=self.parameters["artist_share_bp"].highest, net_factors=factors)

    def as_json(self) -> dict[str, Any]:
        """The constitution as the founding entry holds it: integers only, by field."""
        return asdict(self)

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> Constitution:
        """The constitution that a founding entry tells, of the form `ledger.entries` has. Raises as the class does."""
        if told.keys() != cls.__dataclass_fields__.keys():
            raise UnsuitableConstitution(reason="other fields than a constitution has")
        parameters = {name: Bound(**bound) for name, bound in told["parameters"].items()}
        return cls(**{**told, "parameters": parameters})

    @property
    def hash(self) -> str:
        """SHA-256 of its canonical JSON, in hexadecimal: what the founding note holds."""
        return sha256(canonical.encode(self.as_json())).hexdigest()


NUMBERS = tuple(
    name for name in Constitution.__dataclass_fields__ if name not in ("parameters", "quorum_bp", "class_quorum_bp")
)
"""Those of its fields that are whole numbers and no parts of a whole."""


def numbers_of(tariff: Tariff, rates: Rates, rules: Rules) -> dict[str, int]:
    """The open parameters as they are in these terms."""
    kinds = {RATES: rates, TARIFF: tariff, RULES: rules}
    return {name: getattr(kinds[kind], name) for kind, names in KINDS.items() for name in names}


def terms_of(numbers: Mapping[str, int]) -> tuple[Tariff, Rates, Rules]:
    """The terms of these open parameters, all seven. Raises UnsuitableTariff, SharesDoNotAddUp and UnsuitableRules."""
    tariff, rates, rules = ({name: numbers[name] for name in KINDS[kind]} for kind in (TARIFF, RATES, RULES))
    return Tariff(**tariff), Rates(**rates), Rules(**rules)
