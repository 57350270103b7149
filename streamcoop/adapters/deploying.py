"""Putting the co-op's contracts on a chain: signed and recorded once, sent as often as need be, read back.

What is signed stands in a file before anything is sent. A contract's address follows from its deployer and nonce, so
whoever is interrupted begins again with that file and gets the same contracts at the same addresses, each once.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_typing import ChecksumAddress
from eth_utils.address import to_checksum_address
from web3 import Web3
from web3.types import Nonce, TxParams, Wei
from web3.utils import get_create_address

from ledger.errors import DomainError
from streamcoop.adapters.anchors import Anchors
from streamcoop.adapters.chain import RPC_TIMEOUT_S, CoopContract, WrongChain, fees, node
from streamcoop.adapters.members import Membership
from streamcoop.adapters.rate_registry import RateRegistry
from streamcoop.embedded.chain.founding import Founding, epoch_anchor
from streamcoop.settings import PREFIX

GAS_MAX = 8_000_000
MINED_S_MAX = 600.0
MINED_POLL_S = 1.0

Constructors = Mapping[str, tuple[type[CoopContract], tuple[Any, ...]]]
"""By the setting that tells its address: which contract, and what it is made with."""


class DeployerWithoutFunds(DomainError):
    """The key that deploys has less money on this chain than deploying can cost: send it some, then deploy again."""


class RecordedOtherwise(DomainError):
    """This record is of another chain, deployer or constitution: give it what it was made for, or take another file."""


class DeploymentFailed(DomainError):
    """The chain did not take a contract. Nothing depends on it yet: mend the cause and begin with a new record."""


class NotMined(DomainError):
    """The chain has not mined a contract's transaction yet: deploy again with the same record, it goes on there."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One contract: the setting that tells it, where it will be, and the signed transaction that makes it."""

    setting: str
    address: str
    transaction: str
    raw: str


@dataclass(frozen=True, slots=True)
class Deployed:
    """One contract as it stands on the chain."""

    setting: str
    address: str
    code_hash: str


def deploy(
    rpc_url: str, key: str, constructors: Constructors, record: Path, chain_id: int | None = None
) -> list[Deployed]:
    """The contracts, each once, from the key's account; those that stand already are not made again.

    Raises the adapter's ChainErrors, DeployerWithoutFunds, RecordedOtherwise, DeploymentFailed and NotMined.
    """
    web3 = node(rpc_url, RPC_TIMEOUT_S)
    deployer = Account.from_key(key).address
    found = web3.eth.chain_id
    if chain_id is not None and found != chain_id:
        raise WrongChain(f"chain {found}, expected {chain_id}")
    initial = {setting: _initial_code(web3, *made) for setting, made in constructors.items()}
    about = {"chain_id": found, "deployer": deployer, "made_with": _fingerprint(initial)}
    deployments = _recorded(record, about)
    if deployments is None:
        deployments = list(_signed(web3, key, found, initial))
        _write(record, {**about, "deployments": [asdict(each) for each in deployments]})
    return [_carried(web3, found, constructors[each.setting][0], each) for each in deployments]


def account_of(key: str) -> str:
    """The address that a key, 32 bytes in hexadecimal, signs as."""
    return str(Account.from_key(key).address)


def _initial_code(web3: Web3, kind: type[CoopContract], arguments: tuple[Any, ...]) -> str:
    artifact = json.loads(kind.file.read_text(encoding="utf-8"))
    contract = web3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
    return str(contract.constructor(*arguments).data_in_transaction)


def _fingerprint(initial: Mapping[str, str]) -> str:
    return sha256("\n".join(f"{setting} {code}" for setting, code in initial.items()).encode()).hexdigest()


def _signed(web3: Web3, key: str, chain_id: int, initial: Mapping[str, str]) -> Iterator[Deployment]:
    account = Account.from_key(key)
    paid = fees(web3)
    gas = {setting: _gas(web3, account.address, code) for setting, code in initial.items()}
    cost, has = sum(gas.values()) * int(paid["maxFeePerGas"]), web3.eth.get_balance(account.address)
    if has < cost:
        raise DeployerWithoutFunds(deployer=account.address, has_wei=has, needs_wei=cost)
    first = web3.eth.get_transaction_count(account.address, "pending")
    for nonce, (setting, code) in enumerate(initial.items(), first):
        transaction: TxParams = {
            "chainId": chain_id,
            "nonce": Nonce(nonce),
            "value": Wei(0),
            "gas": gas[setting],
            **paid,
            "data": code,  # type: ignore[typeddict-item]
        }
        signed = account.sign_transaction(transaction)
        address = get_create_address(account.address, Nonce(nonce))
        yield Deployment(setting, address, signed.hash.to_0x_hex(), signed.raw_transaction.to_0x_hex())


def _gas(web3: Web3, deployer: ChecksumAddress, code: str) -> int:
    needed = web3.eth.estimate_gas({"from": deployer, "data": code})  # type: ignore[typeddict-item]
    return min(needed + needed // 5, GAS_MAX)


def constructors(founded: Founding, administrator: str, registrar: str, log_origin: str) -> Constructors:
    """What each contract is made with, by the setting that will tell its address."""
    return {
        f"{PREFIX}MEMBERSHIP_CONTRACT": (Membership, founded.membership(registrar)),
        f"{PREFIX}RATE_REGISTRY": (RateRegistry, founded.rate_registry(administrator, registrar)),
        f"{PREFIX}ANCHOR_CONTRACT": (Anchors, epoch_anchor(administrator, registrar, log_origin)),
    }


# --- The record ---


def _recorded(record: Path, about: Mapping[str, Any]) -> list[Deployment] | None:
    if not record.exists():
        return None
    told = json.loads(record.read_text(encoding="utf-8"))
    if {name: told[name] for name in about} != about:
        raise RecordedOtherwise(record=str(record))
    return [Deployment(**each) for each in told["deployments"]]


def _write(record: Path, told: Mapping[str, Any]) -> None:
    fresh = record.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(told, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(record)


# --- On the chain ---


def _carried(web3: Web3, chain_id: int, kind: type[CoopContract], planned: Deployment) -> Deployed:
    contract = kind(web3, to_checksum_address(planned.address), chain_id, None, None)
    until = time.monotonic() + MINED_S_MAX
    while (receipt := contract.receipt(planned.transaction)) is None:
        contract.broadcast(bytes.fromhex(planned.raw[2:]))
        if time.monotonic() > until:
            raise NotMined(setting=planned.setting, transaction=planned.transaction)
        time.sleep(MINED_POLL_S)
    if not receipt.succeeded:
        raise DeploymentFailed(setting=planned.setting, transaction=planned.transaction)
    _, code_hash = contract.check()
    return Deployed(planned.setting, planned.address, code_hash)
