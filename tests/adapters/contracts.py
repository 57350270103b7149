"""All contracts on a node, and the adapters on them: for tests that run on the embedded chain and on anvil."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3 import HTTPProvider, Web3

from streamcoop.adapters import typed_data
from streamcoop.adapters.members import MemberClass, Membership
from streamcoop.adapters.rate_registry import RateRegistry
from streamcoop.embedded.chain.founding import CONSTITUTION, Founding
from tests import anvil
from tests.embedded.chain_process import running_chain, write_key
from tests.officers import approved, founded_with, signature

DELAY_S = 3
QUICK: dict[str, Any] = {**CONSTITUTION, "office_delay_seconds": DELAY_S, "timelock_seconds": DELAY_S}


@dataclass(frozen=True)
class Site:
    """A node with the contracts of a co-op on it."""

    rpc_url: str
    registrar: LocalAccount
    membership_contract: str
    rate_registry: str

    @property
    def web3(self) -> Web3:
        return Web3(HTTPProvider(self.rpc_url))

    @property
    def key(self) -> str:
        return f"0x{self.registrar.key.hex()}"

    def membership(self, **overrides: Any) -> Membership:
        arguments = {"rpc_url": self.rpc_url, "contract": self.membership_contract, "registrar_key": self.key}
        return Membership.connect(**(arguments | overrides))

    def registry(self, **overrides: Any) -> RateRegistry:
        arguments = {"rpc_url": self.rpc_url, "contract": self.rate_registry, "registrar_key": self.key}
        return RateRegistry.connect(**(arguments | overrides))


def deployed(web3: Web3, file: Path, registrar: LocalAccount, *arguments: Any) -> str:
    """The address of a new contract."""
    artifact = json.loads(file.read_text(encoding="utf-8"))
    new = web3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"]).constructor(*arguments)
    nonce = web3.eth.get_transaction_count(registrar.address)
    fields: Any = {"from": registrar.address, "nonce": nonce}
    sent = registrar.sign_transaction(new.build_transaction(fields))  # type: ignore[arg-type]
    receipt = web3.eth.wait_for_transaction_receipt(web3.eth.send_raw_transaction(sent.raw_transaction))
    return str(receipt["contractAddress"])


def deployed_on(web3: Web3, rpc_url: str, by: LocalAccount, founding: Founding, registrar: str | None = None) -> Site:
    """New contracts on a node where `by` has money; `by` is the registrar unless there is another."""
    membership = deployed(web3, Membership.file, by, *founding.membership(registrar or by.address))
    arguments = founding.rate_registry(by.address, registrar or by.address)
    return Site(rpc_url, by, membership, deployed(web3, RateRegistry.file, by, *arguments))


@pytest.fixture(scope="module")
def own_anvil() -> Iterator[Web3]:
    with anvil.running_anvil() as web3:
        yield web3


def anvil_site(web3: Web3, founding: Founding | None = None, registrar: str | None = None) -> Site:
    by: LocalAccount = Account.create()
    anvil.ask(web3, "anvil_setBalance", by.address, hex(10**24))
    provider = web3.provider
    assert isinstance(provider, HTTPProvider)
    return deployed_on(web3, str(provider.endpoint_uri), by, founding or founded_with(QUICK), registrar)


@pytest.fixture(scope="module", params=["embedded", pytest.param("anvil", marks=anvil.needed)])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The contracts of one module's tests."""
    if request.param == "anvil":
        yield anvil_site(request.getfixturevalue("own_anvil"))
        return
    folder = tmp_path_factory.mktemp("chain")
    registrar = write_key(folder / "key")
    with running_chain(folder / "data", folder / "key", constitution=QUICK) as process:
        yield Site(process.rpc_url, registrar, process.membership_contract, process.rate_registry)


def fresh(site: Site) -> Site:
    """New contracts on the same node."""
    return deployed_on(site.web3, site.rpc_url, site.registrar, founded_with(QUICK))


def admit(membership: Membership, member_class: MemberClass = MemberClass.LISTENER) -> LocalAccount:
    """A new member whose key the test has."""
    member: LocalAccount = Account.create()
    carry(membership, approved(membership, member.address, member_class))
    return member


def carry(contract: Any, built: Any) -> None:
    """Sent, and mined with success."""
    contract.broadcast(built.raw)
    contract._web3.eth.wait_for_transaction_receipt(built.hash)
    receipt = contract.receipt(built.hash)
    assert receipt is not None
    assert receipt.succeeded


def delegate(membership: Membership, member: LocalAccount, to: str) -> None:
    nonce = membership.nonce_of(member.address)
    data = typed_data.delegation(membership.domain(), to, nonce, 2**40)
    carry(membership, membership.build_delegation(to, nonce, 2**40, signature(data, member)))
