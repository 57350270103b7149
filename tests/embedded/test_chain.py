"""The embedded chain as its users see it: a process that answers JSON-RPC over HTTP and survives `kill -9`."""

from __future__ import annotations

import hashlib
import http.client
import itertools
import json
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3 import HTTPProvider, Web3
from web3.contract import Contract
from web3.exceptions import BlockNotFound, ContractCustomError, TransactionNotFound, Web3RPCError

from streamcoop.adapters import typed_data
from streamcoop.adapters.typed_data import membership_domain
from streamcoop.embedded.chain.__main__ import CHAIN_FILE
from streamcoop.embedded.chain.errors import INTERNAL_ERROR, METHOD_NOT_FOUND, REVERTED
from streamcoop.embedded.chain.evm import ANCHOR_FILE, CONTRACT_FILE, REGISTRY_FILE
from streamcoop.embedded.chain.founding import CONSTITUTION, PARAMETERS
from streamcoop.embedded.chain.rpc import BATCH_CALLS_MAX
from streamcoop.embedded.chain.server import BODY_BYTES_MAX
from tests.embedded.chain_process import LOG_ORIGIN, ChainProcess, running_chain, spawn, write_key
from tests.officers import FAR_OFF, OFFICERS, approvals

HTTP_S_MAX = 10
CHILD_S_MAX = 30
ABI = json.loads(CONTRACT_FILE.read_text(encoding="utf-8"))["abi"]


class Node:
    """A running chain, web3.py on it, and its registrar."""

    def __init__(self, chain: ChainProcess, registrar: LocalAccount) -> None:
        self.chain = chain
        self.registrar = registrar
        self.web3 = Web3(HTTPProvider(chain.rpc_url, exception_retry_configuration=None))
        self.contract: Contract = self.web3.eth.contract(
            self.web3.to_checksum_address(chain.membership_contract), abi=ABI
        )

    def admission(self, member: str, **overrides: Any) -> Any:
        domain = membership_domain(self.chain.chain_id, self.contract.address)
        given = approvals(typed_data.admission(domain, member, 1, 0, FAR_OFF))
        pairs = [(approval.officer, approval.signature) for approval in given]
        call = self.contract.functions.admit(member, 1, FAR_OFF, *pairs)
        fields = {"from": self.registrar.address, "gas": 600_000, "nonce": self.nonce(), **overrides}
        return self.registrar.sign_transaction(call.build_transaction(fields))

    def nonce(self) -> int:
        return self.web3.eth.get_transaction_count(self.registrar.address)

    def admit(self, member: str) -> Any:
        return self.web3.eth.get_transaction_receipt(
            self.web3.eth.send_raw_transaction(self.admission(member).raw_transaction)
        )

    def rpc(self, method: str, *params: Any) -> Any:
        return post(self.chain.rpc_url, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})

    def blocks(self) -> list[Any]:
        return [
            self.rpc("eth_getBlockByNumber", hex(number), True)["result"]
            for number in range(self.web3.eth.block_number + 1)
        ]


def post(url: str, body: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=HTTP_S_MAX) as response:
        return json.load(response)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("chain")
    registrar = write_key(folder / "key")
    with running_chain(folder / "data", folder / "key") as chain:
        yield Node(chain, registrar)


@pytest.fixture
def member() -> str:
    address: str = Account.create().address
    return address


def test_ready__the_contract_stands_and_has_the_registrar(node: Node) -> None:
    assert node.web3.is_connected()
    assert node.web3.eth.chain_id == node.chain.chain_id == int(node.web3.net.version)
    assert node.contract.functions.registrar().call() == node.registrar.address
    assert node.web3.eth.get_balance(node.registrar.address) > 10**18


def test_ready__the_anchors_stand_and_have_the_registrar(node: Node) -> None:
    abi = json.loads(ANCHOR_FILE.read_text(encoding="utf-8"))["abi"]
    address = node.web3.to_checksum_address(node.chain.anchor_contract)
    anchors = node.web3.eth.contract(address, abi=abi).functions
    for role in (anchors.ANCHORER_ROLE().call(), anchors.DEFAULT_ADMIN_ROLE().call()):
        assert anchors.hasRole(role, node.registrar.address).call()
    assert anchors.originHash().call() == hashlib.sha256(LOG_ORIGIN.encode()).digest()


def test_ready__the_contracts_are_made_as_the_constitution_says(node: Node) -> None:
    told = node.contract.functions
    assert set(told.officers().call()) == {officer.address for officer in OFFICERS}
    assert told.delegationCap().call() == CONSTITUTION["delegation_cap"]
    assert told.officeDelay().call() == CONSTITUTION["office_delay_seconds"]
    abi = json.loads(REGISTRY_FILE.read_text(encoding="utf-8"))["abi"]
    registry = node.web3.eth.contract(node.web3.to_checksum_address(node.chain.rate_registry), abi=abi).functions
    for role in (registry.RECORDER_ROLE().call(), registry.DEFAULT_ADMIN_ROLE().call()):
        assert registry.hasRole(role, node.registrar.address).call()
    assert registry.timelock().call() == CONSTITUTION["timelock_seconds"]
    assert list(registry.ratesAt(0).call()) == [CONSTITUTION["rates"][name] for name in PARAMETERS]
    for numbers, kind in zip(registry.bounds().call(), ("lowest", "highest", "step_max"), strict=True):
        assert list(numbers) == [CONSTITUTION["parameters"][name][kind] for name in PARAMETERS]


def test_transaction__is_found_by_every_name(node: Node, member: str) -> None:
    receipt = node.admit(member)
    block = node.web3.eth.get_block("latest", full_transactions=True)
    transaction = node.web3.eth.get_transaction(receipt["transactionHash"])

    assert receipt["status"] == 1
    assert receipt["blockHash"] == block["hash"] == transaction["blockHash"]
    assert block["transactions"] == [transaction]
    assert transaction["from"] == node.registrar.address
    assert node.web3.eth.get_block(block["hash"]) == node.web3.eth.get_block(block["number"])
    for tag in ("pending", "safe", "finalized"):
        assert node.web3.eth.get_block(tag)["number"] == block["number"]
    assert node.web3.eth.get_block("earliest")["number"] == 0
    (admitted,) = node.contract.events.MemberAdmitted().get_logs(from_block=block["number"])
    assert admitted["args"]["member"] == member


def test_what_is_not_there(node: Node) -> None:
    unknown = "0x" + "ab" * 32
    with pytest.raises(BlockNotFound):
        node.web3.eth.get_block(10**9)
    with pytest.raises(BlockNotFound):
        node.web3.eth.get_block(unknown)
    with pytest.raises(TransactionNotFound):
        node.web3.eth.get_transaction(unknown)
    with pytest.raises(TransactionNotFound):
        node.web3.eth.get_transaction_receipt(unknown)
    assert node.rpc("eth_sign")["error"]["code"] == METHOD_NOT_FOUND


def test_logs__by_topic(node: Node, member: str) -> None:
    node.admit(member)
    mine = node.contract.events.MemberAdmitted().get_logs(from_block=0, argument_filters={"member": member})
    everybody = node.contract.events.MemberAdmitted().get_logs(from_block=0)
    assert [entry["args"]["member"] for entry in mine] == [member]
    assert mine[0] in everybody
    assert node.rpc("eth_getLogs", {"fromBlock": "0x0", "address": member})["result"] == []


def test_custom_error__reaches_the_caller(node: Node) -> None:
    with pytest.raises(ContractCustomError):
        node.contract.functions.remove(node.registrar.address).call({"from": node.registrar.address})
    with pytest.raises(ContractCustomError):
        node.contract.functions.remove(node.registrar.address).estimate_gas({"from": node.registrar.address})
    call = {"to": node.contract.address, "data": node.contract.encode_abi("remove", [node.registrar.address])}
    error = node.rpc("eth_call", call)["error"]
    assert error["code"] == REVERTED
    assert error["data"].startswith("0x")


def test_reverted_transaction__stands_in_a_block(node: Node) -> None:
    data = node.contract.encode_abi("remove", [node.contract.address])
    fields = {"to": node.contract.address, "data": data, "gas": 100_000, "gasPrice": node.web3.eth.gas_price}
    signed = node.registrar.sign_transaction({**fields, "nonce": node.nonce(), "chainId": node.chain.chain_id})
    sent = node.web3.eth.send_raw_transaction(signed.raw_transaction)
    assert node.web3.eth.get_transaction_receipt(sent)["status"] == 0


def test_weights__at_a_pinned_block__after_later_changes(node: Node, member: str) -> None:
    node.admit(member)
    pinned = node.web3.eth.get_block("latest")
    supply = node.contract.functions.totalSupply().call()
    with pytest.raises(ContractCustomError):
        node.contract.functions.getPastVotes(member, pinned["timestamp"]).call(block_identifier=pinned["number"])
    for _ in range(2):
        node.admit(Account.create().address)

    assert node.contract.functions.getPastVotes(member, pinned["timestamp"]).call() == 1
    assert node.contract.functions.getPastTotalSupply(pinned["timestamp"]).call() == supply
    assert node.contract.functions.totalSupply().call() == supply + 2
    assert node.contract.functions.totalSupply().call(block_identifier=pinned["number"]) == supply


def test_refused_transactions__leave_no_trace(node: Node, member: str) -> None:
    sent = node.admission(member)
    node.web3.eth.send_raw_transaction(sent.raw_transaction)
    head = node.web3.eth.get_block("latest")["hash"]

    refused = {
        "nonce too low": sent.raw_transaction,
        "nonce": node.admission(member, nonce=node.nonce() + 1).raw_transaction,
        "signed for chain": node.admission(member, chainId=1).raw_transaction,
        "funds": node.admission(member, maxFeePerGas=10**30, maxPriorityFeePerGas=1).raw_transaction,
        "not a transaction": b"\x02\xff\xff",
    }
    for reason, raw in refused.items():
        with pytest.raises(Web3RPCError, match=reason):
            node.web3.eth.send_raw_transaction(raw)
    assert node.web3.eth.get_block("latest")["hash"] == head
    assert node.admit(Account.create().address)["status"] == 1


def test_mine__one_second_later_at_least(node: Node) -> None:
    before = node.web3.eth.get_block("latest")
    node.rpc("evm_mine")
    after = node.web3.eth.get_block("latest")
    assert after["parentHash"] == before["hash"]
    assert after["timestamp"] > before["timestamp"]


def test_fee_history(node: Node) -> None:
    history = node.web3.eth.fee_history(3, "latest", [50])
    assert len(history["gasUsedRatio"]) == len(history["reward"]) == len(history["baseFeePerGas"]) - 1


def test_batch__answers_each_by_its_id(node: Node) -> None:
    calls = [{"jsonrpc": "2.0", "id": number, "method": "eth_chainId", "params": []} for number in range(3)]
    answers = post(node.chain.rpc_url, [*calls, 7])
    assert [answer["id"] for answer in answers] == [0, 1, 2, None]
    assert "error" in answers[3]
    assert "error" in post(node.chain.rpc_url, [])
    assert "error" in post(node.chain.rpc_url, calls * BATCH_CALLS_MAX)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("eth_getBalance", ["0x12"]),
        ("eth_getBalance", [None]),
        ("eth_getBalance", []),
        ("eth_getBalance", {"address": "0x12"}),
        ("eth_call", ["0x"]),
        ("eth_call", [{"value": "0x" + "f" * 60}]),
        ("eth_call", [{"gas": "0x1"}]),
        ("eth_estimateGas", [{"value": "0x" + "f" * 60}]),
        ("eth_sendRawTransaction", ["0x02"]),
        ("eth_sendRawTransaction", ["0xc0"]),
        ("eth_sendRawTransaction", ["0x"]),
        ("eth_getBlockByNumber", ["nonsense"]),
        ("eth_getBlockByNumber", [{}]),
        ("eth_getLogs", [[]]),
        ("eth_getLogs", [{"topics": 7}]),
        ("eth_feeHistory", ["0x1", "latest", 7]),
        (7, []),
    ],
)
def test_nonsense__is_answered_with_an_error(node: Node, method: Any, params: Any) -> None:
    answer = post(node.chain.rpc_url, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    assert answer["id"] == 1
    assert answer["error"]["code"] not in (INTERNAL_ERROR, REVERTED)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/json", "Content-Length": str(BODY_BYTES_MAX + 1)}, 413),
        ({"Content-Type": "application/json", "Content-Length": "-1"}, 411),
        ({"Content-Type": "text/plain", "Content-Length": "2"}, 415),
    ],
)
def test_http__refuses_what_it_will_not_read(node: Node, headers: dict[str, str], status: int) -> None:
    connection = http.client.HTTPConnection(urlsplit(node.chain.rpc_url).netloc, timeout=HTTP_S_MAX)
    connection.putrequest("POST", "/")
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == status
    connection.close()


def test_several_processes__share_one_chain(node: Node) -> None:
    blocks_each = 5
    script = f"""
import json, urllib.request
body = json.dumps({{"jsonrpc": "2.0", "id": 1, "method": "evm_mine", "params": []}}).encode()
for _ in range({blocks_each}):
    request = urllib.request.Request({node.chain.rpc_url!r}, body, {{"Content-Type": "application/json"}})
    assert "result" in json.load(urllib.request.urlopen(request, timeout={HTTP_S_MAX}))
"""
    before = node.web3.eth.block_number
    children = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(3)]
    assert [child.wait(CHILD_S_MAX) for child in children] == [0, 0, 0]
    assert node.web3.eth.block_number == before + 3 * blocks_each
    blocks = node.blocks()
    assert all(child["parentHash"] == parent["hash"] for parent, child in itertools.pairwise(blocks))


def test_kill_9__loses_nothing_that_was_answered(tmp_path: Path) -> None:
    registrar = write_key(tmp_path / "key")
    answered: list[Any] = []
    enough = threading.Event()

    def admit_for_ever(node: Node) -> None:
        nonce = node.nonce()
        try:
            while True:
                signed = node.admission(Account.create().address, nonce=nonce + len(answered))
                answered.append(node.web3.eth.send_raw_transaction(signed.raw_transaction))
                if len(answered) == 10:
                    enough.set()
        except Exception:
            return  # the chain was killed under us

    with running_chain(tmp_path / "data", tmp_path / "key") as chain:
        node = Node(chain, registrar)
        contract, founding = chain.membership_contract, node.blocks()
        sender = threading.Thread(target=admit_for_ever, args=(node,))
        sender.start()
        assert enough.wait(CHILD_S_MAX)
        chain.kill()
        sender.join(CHILD_S_MAX)

    with running_chain(tmp_path / "data", tmp_path / "key") as chain:
        node = Node(chain, registrar)
        blocks = node.blocks()
        assert chain.membership_contract == contract
        assert blocks[: len(founding)] == founding
        # The last one may have been written and not yet answered.
        assert len(answered) <= len(blocks) - len(founding) <= len(answered) + 1
        for transaction in answered:
            assert node.web3.eth.get_transaction_receipt(transaction)["status"] == 1
        assert node.contract.functions.totalSupply().call() == len(blocks) - len(founding)
        chain.kill()

    with running_chain(tmp_path / "data", tmp_path / "key") as chain:
        node = Node(chain, registrar)
        assert node.blocks() == blocks
        assert node.admit(Account.create().address)["status"] == 1


def refusal(child: subprocess.Popen[str]) -> str:
    """What a chain that does not come up says."""
    _, errors = child.communicate(timeout=CHILD_S_MAX)
    assert child.returncode == 1
    return errors


def test_chain_of_an_earlier_version__is_refused_in_a_clear_sentence(tmp_path: Path) -> None:
    write_key(tmp_path / "key")
    (tmp_path / "data").mkdir()
    with closing(sqlite3.connect(tmp_path / "data" / CHAIN_FILE, isolation_level=None)) as file:
        file.execute("PRAGMA user_version = 1")
    with spawn(tmp_path / "data", tmp_path / "key", errors=subprocess.PIPE) as chain:
        said = refusal(chain)
    assert "written by another version" in said
    assert "begin with a new data folder" in said


@pytest.mark.parametrize(
    ("otherwise", "said"),
    [
        ({"parameters": {}}, "artist_share_bp"),
        ({"delegation_cap": 0}, "CoopMembership"),
        ({"rates": {**CONSTITUTION["rates"], "plays": 13}}, "RateRegistry"),
        ({"rates": {**CONSTITUTION["rates"], "plays": -1}}, "RateRegistry"),
    ],
)
def test_constitution__no_contract_can_be_made_with__is_refused(
    tmp_path: Path, otherwise: dict[str, Any], said: str
) -> None:
    write_key(tmp_path / "key")
    wrong = {**CONSTITUTION, **otherwise}
    with spawn(tmp_path / "data", tmp_path / "key", constitution=wrong, errors=subprocess.PIPE) as chain:
        assert said in refusal(chain)
    # Nothing is left of it.
    with running_chain(tmp_path / "data", tmp_path / "key") as chain_process:
        assert chain_process.rate_registry


def test_constitution__counts_at_the_founding_only(tmp_path: Path) -> None:
    registrar = write_key(tmp_path / "key")
    for cap in (3, 4):
        with running_chain(
            tmp_path / "data", tmp_path / "key", constitution={**CONSTITUTION, "delegation_cap": cap}
        ) as chain:
            assert Node(chain, registrar).contract.functions.delegationCap().call() == 3


def test_log_of_another_origin__has_anchors_of_its_own(tmp_path: Path) -> None:
    write_key(tmp_path / "key")
    addresses = []
    for origin in (LOG_ORIGIN, "log.example/other", LOG_ORIGIN):
        with running_chain(tmp_path / "data", tmp_path / "key", origin) as chain:
            addresses.append(chain.anchor_contract)
    assert addresses[0] == addresses[2] != addresses[1]


def test_end__prompt_and_clean_with_a_connection_open(tmp_path: Path) -> None:
    write_key(tmp_path / "key")
    with running_chain(tmp_path / "data", tmp_path / "key") as chain:
        connection = http.client.HTTPConnection(urlsplit(chain.rpc_url).netloc, timeout=HTTP_S_MAX)
        connection.request("POST", "/", b"{}", {"Content-Type": "application/json"})
        connection.getresponse().read()
        assert chain.end() == 0
        connection.close()


def test_second_process_and_other_registrar__are_refused(tmp_path: Path) -> None:
    write_key(tmp_path / "key")
    write_key(tmp_path / "other")
    with running_chain(tmp_path / "data", tmp_path / "key"), spawn(tmp_path / "data", tmp_path / "key") as second:
        assert second.wait(CHILD_S_MAX) == 1
    with spawn(tmp_path / "data", tmp_path / "other") as stranger:
        assert stranger.wait(CHILD_S_MAX) == 1
    (tmp_path / "key").write_text("not a key", encoding="ascii")
    with spawn(tmp_path / "data", tmp_path / "key") as keyless:
        assert keyless.wait(CHILD_S_MAX) == 1
