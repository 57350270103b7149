"""Contracts put on a chain: each once, however often one has to begin again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3 import Web3

from streamcoop.adapters import deploying
from streamcoop.adapters.anchors import Anchors
from streamcoop.adapters.chain import ChainUnavailable, CoopContract, WrongChain
from streamcoop.adapters.deploying import Deployed, DeployerWithoutFunds, RecordedOtherwise, constructors, deploy
from streamcoop.adapters.members import Membership
from streamcoop.adapters.rate_registry import RateRegistry
from streamcoop.embedded.chain.founding import Founding, FoundingInvalid, founding
from tests.anvil import needed, running_anvil

pytestmark = needed

KEY = "0x" + "5c" * 32
DEPLOYER: LocalAccount = Account.from_key(KEY)
OFFICERS = [Account.from_key("0x" + f"{n:02x}" * 32).address for n in (17, 18)]
ADMINISTRATOR = Account.from_key("0x" + "19" * 32).address
ORIGIN = "coop.example/log"
MEMBERSHIP, REGISTRY, ANCHORS = (
    f"STREAMCOOP_{name}" for name in ("MEMBERSHIP_CONTRACT", "RATE_REGISTRY", "ANCHOR_CONTRACT")
)


@dataclass
class Site:
    web3: Web3
    rpc_url: str
    record: Path

    def deploy(self, founded: Founding | None = None, chain_id: int | None = None) -> list[Deployed]:
        made = constructors(founded or founding(OFFICERS), ADMINISTRATOR, DEPLOYER.address, ORIGIN)
        return deploy(self.rpc_url, KEY, made, self.record, chain_id)

    def fund(self) -> None:
        given = {"from": self.web3.eth.accounts[0], "to": DEPLOYER.address, "value": 10**18}
        self.web3.eth.wait_for_transaction_receipt(self.web3.eth.send_transaction(given))

    @property
    def sent(self) -> int:
        """How many transactions of the deployer stand in blocks."""
        return self.web3.eth.get_transaction_count(DEPLOYER.address)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with running_anvil() as web3:
        found = Site(web3, web3.provider.endpoint_uri, tmp_path / "contracts.json")
        found.fund()
        yield found


def test_the_contracts_stand_as_the_constitution_has_them(site: Site) -> None:
    deployed = {each.setting: each for each in site.deploy()}
    assert deployed.keys() == {MEMBERSHIP, REGISTRY, ANCHORS}
    membership = Membership.connect(site.rpc_url, deployed[MEMBERSHIP].address)
    assert sorted(membership.officers()) == sorted(OFFICERS)
    registry = RateRegistry.connect(site.rpc_url, deployed[REGISTRY].address, code_hash=deployed[REGISTRY].code_hash)
    assert registry.rates_at(0).artist_share_bp == 7_000
    assert Anchors.connect(site.rpc_url, deployed[ANCHORS].address).check()[1] == deployed[ANCHORS].code_hash
    assert site.record.stat().st_mode & 0o777 == 0o600


def test_to_deploy_again_makes_nothing_again(site: Site) -> None:
    first = site.deploy()
    assert site.deploy() == first
    assert site.sent == 3


@pytest.mark.parametrize("killed_at", range(6))
def test_who_is_interrupted_anywhere_gets_the_same_contracts_each_once(
    site: Site, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    steps = iter(range(100))

    def killed_before(method: str) -> None:
        usual = getattr(CoopContract, method)

        def perhaps(*args: object) -> object:
            if next(steps) == killed_at:
                raise KeyboardInterrupt
            return usual(*args)

        monkeypatch.setattr(CoopContract, method, perhaps)

    killed_before("broadcast")
    killed_before("receipt")
    with pytest.raises(KeyboardInterrupt):
        site.deploy()
    planned = [each["address"] for each in json.loads(site.record.read_text(encoding="utf-8"))["deployments"]]
    monkeypatch.undo()
    assert [each.address for each in site.deploy()] == planned
    assert site.sent == 3


def test_what_was_signed_is_recorded_before_anything_is_sent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(deploying, "_write", never)
    with pytest.raises(OSError, match="disk full"):
        site.deploy()
    assert site.sent == 0


def test_a_record_of_something_else_is_not_gone_on_with(site: Site) -> None:
    site.deploy()
    with pytest.raises(RecordedOtherwise):
        site.deploy(founding(OFFICERS[::-1]))
    assert site.sent == 3


def test_without_funds_nothing_is_signed(tmp_path: Path) -> None:
    with running_anvil() as web3:
        poor = Site(web3, web3.provider.endpoint_uri, tmp_path / "contracts.json")
        with pytest.raises(DeployerWithoutFunds):
            poor.deploy()
        assert not poor.record.exists()


def test_another_chain_than_the_one_that_is_meant_is_refused(site: Site) -> None:
    with pytest.raises(WrongChain):
        site.deploy(chain_id=1)
    assert not site.record.exists()


def test_a_node_that_goes_away_in_the_middle_is_gone_on_with(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, failures = CoopContract.broadcast, iter([True, False, False, False])

    def away_once(self: CoopContract, raw: bytes) -> str:
        if next(failures):
            raise ChainUnavailable
        return usual(self, raw)

    monkeypatch.setattr(CoopContract, "broadcast", away_once)
    with pytest.raises(ChainUnavailable):
        site.deploy()
    assert len(site.deploy()) == 3
    assert site.sent == 3


@pytest.mark.parametrize("officers", [[], OFFICERS[:1], [OFFICERS[0], OFFICERS[0].lower()], [*OFFICERS, "0x12"]])
def test_fewer_than_two_officers_found_nothing(officers: list[str]) -> None:
    with pytest.raises(FoundingInvalid):
        founding(officers)
