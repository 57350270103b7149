"""Whether the registry of decided rates says what the service says: asked of the chain itself, past the service."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from uuid import UUID

from streamcoop.adapters.rate_registry import RateRegistry
from streamcoop.demo.client import Json


@dataclass(frozen=True, slots=True)
class Registry:
    """Where the registry is reached."""

    rpc_url: str
    address: str

    def agrees(self, ballot: Json, rates: Json) -> bool:
        """Whether it has this ballot's result by its hash, and the rates in force number by number."""
        written = RateRegistry.connect(self.rpc_url, self.address).decision_of(UUID(ballot["id"]))
        if written is None or written.result_hash.hex() != ballot["tally"]["result_hash"]:
            return False
        return all(rates[name] == number for name, number in asdict(written.rates).items())
