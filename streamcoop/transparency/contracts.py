"""What the founding note tells of the chain: which one, where the contracts are, and what their code is."""

from __future__ import annotations

from streamcoop.adapters.anchors import Anchors
from streamcoop.adapters.chain import ChainUnavailable, CoopContract
from streamcoop.adapters.members import Membership
from streamcoop.adapters.rate_registry import RateRegistry
from streamcoop.settings import Settings


def chain_facts(settings: Settings) -> tuple[list[tuple[str, str]], list[str]]:
    """The facts by name, and the contracts the chain did not answer for; of those only the address is told.

    Raises WrongChain, ContractMissing, and ValueError for an address that is none.
    """
    contracts: dict[str, tuple[str | None, type[CoopContract]]] = {
        "membership": (settings.membership_contract, Membership),
        "anchor": (settings.anchor_contract, Anchors),
        "rate_registry": (settings.rate_registry, RateRegistry),
    }
    facts: dict[str, str] = {} if settings.chain_id is None else {"chain_id": str(settings.chain_id)}
    unanswered: list[str] = []
    for name, (address, kind) in contracts.items():
        if address is None:
            continue
        facts[name] = address
        try:
            chain_id, code_hash = kind.connect(settings.chain_rpc_url, address, chain_id=settings.chain_id).check()
        except ChainUnavailable:
            unanswered.append(name)
            continue
        facts["chain_id"], facts[f"{name}_code_hash"] = str(chain_id), code_hash
    return sorted(facts.items()), unanswered
