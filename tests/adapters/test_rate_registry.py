"""The rate registry through its adapter, on the embedded chain and on anvil."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest
from eth_account import Account
from web3 import Web3

from streamcoop.adapters import chain, rate_registry
from streamcoop.adapters.rate_registry import Decision, RateRegistry, Rates
from streamcoop.embedded.chain.founding import PARAMETERS
from tests import anvil
from tests.adapters.contracts import DELAY_S, QUICK, Site, anvil_site, carry, fresh
from tests.adapters.contracts import own_anvil as own_anvil
from tests.adapters.contracts import site as site

FOUNDING = Rates(**QUICK["rates"])
RESULT = b"\x07" * 32


@pytest.fixture
def registry(site: Site) -> RateRegistry:
    """Nothing decided."""
    return fresh(site).registry()


def soon(registry: RateRegistry) -> int:
    """An effect that a decision in one of the next blocks may have."""
    return registry._stamp("latest").timestamp + DELAY_S + 60


def test_rates__are_the_registrys_in_order() -> None:
    assert tuple(Rates.__dataclass_fields__) == PARAMETERS


def test_nothing_decided__the_foundings(registry: RateRegistry) -> None:
    assert registry.rates_at(soon(registry)) == FOUNDING
    assert registry.timelock() == DELAY_S
    assert registry.decision_of(uuid4()) is None
    assert registry.decisions() == []
    bounds = registry.bounds()
    for name in PARAMETERS:
        told = {kind: getattr(getattr(bounds, kind), name) for kind in ("lowest", "highest", "step_max")}
        assert told == QUICK["parameters"][name]


def test_decision__is_read_back(registry: RateRegistry) -> None:
    first, second = uuid4(), uuid4()
    effective_at, rates = soon(registry), replace(FOUNDING, artist_share_bp=7_500, plays=8)
    carry(registry, registry.build_decision(first, RESULT, rates, effective_at))
    at = registry._stamp("latest").timestamp
    decided = registry.decision_of(first)
    assert decided == Decision(first, RESULT, rates, at, effective_at)
    carry(registry, registry.build_decision(second, RESULT, rates, effective_at + 1))
    assert [each.ballot_id for each in registry.decisions()] == [first, second]
    assert registry.decisions()[0] == decided
    assert registry.rates_at(effective_at - 1) == FOUNDING
    assert registry.rates_at(effective_at) == rates
    # Sent again after an answer that was lost.
    carry(registry, registry.build_decision(first, RESULT, rates, effective_at))
    assert len(registry.decisions()) == 2


def test_build__refused_by_the_contract(registry: RateRegistry, site: Site) -> None:
    ballot, effective_at = uuid4(), soon(registry)
    carry(registry, registry.build_decision(ballot, RESULT, FOUNDING, effective_at))
    refusals = {
        "DecidedOtherwise": (ballot, RESULT, FOUNDING, effective_at + 1),
        "ResultMissing": (uuid4(), bytes(32), FOUNDING, effective_at),
        "TimelockTooShort": (uuid4(), RESULT, FOUNDING, 1),
        "EffectNotAscending": (uuid4(), RESULT, FOUNDING, effective_at - 1),
        "OutOfBounds": (uuid4(), RESULT, replace(FOUNDING, plays=13), effective_at),
        "StepTooLarge": (uuid4(), RESULT, replace(FOUNDING, plays=11), effective_at),
    }
    for name, arguments in refusals.items():
        with pytest.raises(chain.CallRefused, match=name):
            registry.build_decision(*arguments)
    stranger = site.registry(registrar_key=f"0x{Account.create().key.hex()}", contract=registry.address)
    with pytest.raises(chain.CallRefused, match="AccessControlUnauthorizedAccount"):
        stranger.build_decision(uuid4(), RESULT, FOUNDING, effective_at)
    with pytest.raises(chain.ReadOnly):
        site.registry(registrar_key=None).build_decision(uuid4(), RESULT, FOUNDING, effective_at)


def test_read__a_number_without_bounds__refused(registry: RateRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    carry(registry, registry.build_decision(uuid4(), RESULT, FOUNDING, soon(registry)))
    monkeypatch.setattr(rate_registry, "DECISIONS_MAX", 0)
    with pytest.raises(rate_registry.TooManyDecisions):
        registry.decisions()


@anvil.needed
def test_decision__that_is_reorganised_away__is_no_more_and_is_made_again(own_anvil: Web3) -> None:
    registry = anvil_site(own_anvil).registry()
    ballot, effective_at = uuid4(), soon(registry)
    kept = anvil.ask(own_anvil, "evm_snapshot")
    built = registry.build_decision(ballot, RESULT, FOUNDING, effective_at)
    carry(registry, built)
    assert registry.decision_of(ballot) is not None
    anvil.ask(own_anvil, "evm_revert", kept)
    assert registry.receipt(built.hash) is None
    assert registry.decision_of(ballot) is None
    carry(registry, built)
    assert registry.decision_of(ballot) is not None
