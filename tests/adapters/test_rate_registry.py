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


def test_rates__are_the_registrys_in_order() -> None:
    assert tuple(Rates.__dataclass_fields__) == PARAMETERS


def test_nothing_decided__the_foundings(registry: RateRegistry) -> None:
    assert registry.rates_at(2**48 - 1) == FOUNDING
    assert registry.decision_of(uuid4()) is None
    assert registry.decisions() == []
    bounds = registry.bounds()
    for name in PARAMETERS:
        told = {kind: getattr(getattr(bounds, kind), name) for kind in ("lowest", "highest", "step_max")}
        assert told == QUICK["parameters"][name]


def test_decision__is_read_back(registry: RateRegistry) -> None:
    first, second = uuid4(), uuid4()
    rates = replace(FOUNDING, artist_share_bp=7_500, plays=8)
    carry(registry, registry.build_decision(first, RESULT, rates))
    at = registry._stamp("latest").timestamp
    decided = Decision(first, RESULT, rates, at, at + DELAY_S)
    assert registry.decision_of(first) == decided
    carry(registry, registry.build_decision(second, RESULT, rates))
    assert [each.ballot_id for each in registry.decisions()] == [first, second]
    assert registry.decisions()[0] == decided
    assert registry.rates_at(decided.effective_at - 1) == FOUNDING
    assert registry.rates_at(decided.effective_at) == rates
    # Sent again after an answer that was lost.
    carry(registry, registry.build_decision(first, RESULT, rates))
    assert len(registry.decisions()) == 2


def test_build__refused_by_the_contract(registry: RateRegistry, site: Site) -> None:
    ballot = uuid4()
    carry(registry, registry.build_decision(ballot, RESULT, FOUNDING))
    refusals = {
        "DecidedOtherwise": (ballot, b"\x08" * 32, FOUNDING),
        "ResultMissing": (uuid4(), bytes(32), FOUNDING),
        "OutOfBounds": (uuid4(), RESULT, replace(FOUNDING, plays=13)),
        "StepTooLarge": (uuid4(), RESULT, replace(FOUNDING, plays=11)),
    }
    for name, arguments in refusals.items():
        with pytest.raises(chain.CallRefused, match=name):
            registry.build_decision(*arguments)
    stranger = site.registry(registrar_key=f"0x{Account.create().key.hex()}", contract=registry.address)
    with pytest.raises(chain.CallRefused, match="AccessControlUnauthorizedAccount"):
        stranger.build_decision(uuid4(), RESULT, FOUNDING)
    with pytest.raises(chain.ReadOnly):
        site.registry(registrar_key=None).build_decision(uuid4(), RESULT, FOUNDING)


def test_read__a_number_without_bounds__refused(registry: RateRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    carry(registry, registry.build_decision(uuid4(), RESULT, FOUNDING))
    monkeypatch.setattr(rate_registry, "DECISIONS_MAX", 0)
    with pytest.raises(rate_registry.TooManyDecisions):
        registry.decisions()


@anvil.needed
def test_decision__that_is_reorganised_away__is_no_more_and_is_made_again(own_anvil: Web3) -> None:
    registry = anvil_site(own_anvil).registry()
    ballot = uuid4()
    kept = anvil.ask(own_anvil, "evm_snapshot")
    built = registry.build_decision(ballot, RESULT, FOUNDING)
    carry(registry, built)
    assert registry.decision_of(ballot) is not None
    anvil.ask(own_anvil, "evm_revert", kept)
    assert registry.receipt(built.hash) is None
    assert registry.decision_of(ballot) is None
    carry(registry, built)
    assert registry.decision_of(ballot) is not None
