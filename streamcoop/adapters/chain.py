"""The chain, as the service and its workers see it: who may vote with which weight, and how members are admitted.

`connect` gives a `Membership`, the typed face of one CoopMembership contract behind any Ethereum JSON-RPC node.

Reading for a ballot goes in two steps, so that the same weights can be read again by anyone at any time:
`snapshot_block` chooses a block that is final, `weights_at` reads the weights at the end of that block's second.

Writing goes in three, so that a process may die between any two of them: build and sign (`build_admission`), store
what was signed, `broadcast` it, as often as need be, and ask for its `receipt`.

Addresses are checksummed (EIP-55), hashes are `0x` and 64 lower-case digits, times are the chain's own seconds: nothing
may compare them with the clock on the wall.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from pathlib import Path
from typing import Any

import requests
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_typing import ChecksumAddress
from eth_utils.abi import abi_to_signature, filter_abi_by_type
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from hexbytes import HexBytes
from web3 import HTTPProvider, Web3
from web3.contract import Contract
from web3.contract.contract import ContractFunction
from web3.exceptions import (
    BadFunctionCallOutput,
    BadResponseFormat,
    BlockNotFound,
    ContractLogicError,
    TransactionNotFound,
    Web3RPCError,
    Web3ValueError,
)
from web3.middleware import ExtraDataToPOAMiddleware
from web3.providers.rpc.utils import ExceptionRetryConfiguration
from web3.types import BlockIdentifier, RPCEndpoint, TxParams, Wei

from streamcoop import tracing

CONTRACT_FILE = Path(__file__).resolve().parents[2] / "contracts" / "abi" / "CoopMembership.json"

RPC_TIMEOUT_S = 10.0
"""For connecting, and for each answer."""
RPC_TRIES_MAX = 3
RPC_BACKOFF_S = 0.1
"""Before the second try; doubled before each further one."""

WEIGHTS_PER_REQUEST = 100
ADDRESSES_MAX = 1_000_000
FINALITY_DEPTH_MAX = 1_000

TRANSACTION_GAS_MAX = 2_000_000
FEE_PER_GAS_WEI_MAX = 1_000 * 10**9
"""A node that names a higher fee is mistaken or wants the registrar's money."""


class ChainError(Exception):
    """The chain did not do what was asked of it."""

    def __init__(self, detail: str = "") -> None:
        reason = inspect.cleandoc(type(self).__doc__ or "")
        super().__init__(f"{reason} ({detail})" if detail else reason)


class ChainUnavailable(ChainError):
    """The node does not answer, or not with sense: try again later."""


class WrongChain(ChainError):
    """The node serves another chain than the one the co-op was founded on."""


class ContractMissing(ChainError):
    """There is no membership contract at the configured address."""


class ContractChanged(ChainError):
    """The code of the membership contract is not the code the co-op was founded with."""


class ChainForked(ChainError):
    """A block that was relied on is no longer part of the chain: take a new snapshot."""


class SnapshotTooFresh(ChainError):
    """No block follows the snapshot yet, so its weights cannot be read: try again after the next block."""


class WeightsDoNotAddUp(ChainError):
    """The members' weights do not add up to the total the contract states: somebody is missing or counted twice."""


class ReadOnly(ChainError):
    """No registrar's key is configured: the chain can be read, members cannot be admitted."""


class CallRefused(ChainError):
    """The contract refuses the call: it would change nothing and is not sent."""


class FeeTooHigh(ChainError):
    """The node asks for more gas or for a higher fee than a transaction of ours may cost."""


class NonceTaken(ChainError):
    """Another transaction of the registrar was mined with this nonce: this one never will be, build it anew."""


class TransactionRefused(ChainError):
    """The node does not take the transaction."""


class MemberClass(IntEnum):
    """`ICoopMembership.Class`."""

    LISTENER = 1
    ARTIST = 2
    WORKER = 3


@dataclass(frozen=True)
class BlockStamp:
    """One block of one history: the number alone does not tell forks apart."""

    number: int
    hash: str
    timestamp: int


@dataclass(frozen=True)
class MemberWeight:
    """The votes an address had."""

    address: str
    weight: int


@dataclass(frozen=True)
class Weights:
    """Who had how many votes at the end of a block's second, and what that was read from.

    `members` stand in the order they were asked for, and their weights add up to `total`, the contract's supply.
    """

    block: BlockStamp
    chain_id: int
    contract: str
    code_hash: str
    members: tuple[MemberWeight, ...]
    total: int


@dataclass(frozen=True)
class SignedTransaction:
    """A complete transaction: whoever has `raw` can send it, and to send it twice does what sending it once does."""

    raw: bytes
    hash: str
    nonce: int


@dataclass(frozen=True)
class Receipt:
    """A transaction that stands in a block. If it did not succeed it changed nothing but the nonce."""

    hash: str
    block_number: int
    block_hash: str
    succeeded: bool


def connect(
    rpc_url: str,
    contract: str,
    *,
    chain_id: int | None = None,
    code_hash: str | None = None,
    registrar_key: str | None = None,
    timeout_s: float = RPC_TIMEOUT_S,
) -> Membership:
    """The membership contract at `contract`, through the node at `rpc_url`.

    With `chain_id` and `code_hash` (keccak-256 of the deployed code) given, any other is refused, now and at each later
    reading of weights. Without `registrar_key` (32 bytes, hexadecimal) the result is read only.

    Connect in the process that uses the result: connections do not survive a fork. Threads may share it.

    Raises `ChainUnavailable`, `WrongChain`, `ContractMissing`, `ContractChanged`, and ValueError for an address or a
    key that is none.
    """
    retries = ExceptionRetryConfiguration(
        errors=(requests.ConnectionError, requests.HTTPError, requests.Timeout),
        retries=RPC_TRIES_MAX,
        backoff_factor=RPC_BACKOFF_S,
    )
    provider = HTTPProvider(rpc_url, request_kwargs={"timeout": timeout_s}, exception_retry_configuration=retries)
    web3 = Web3(provider)
    # Proof-of-authority chains put signatures where Ethereum allows 32 bytes; web3 refuses their blocks otherwise.
    web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
    membership = Membership(web3, to_checksum_address(contract), chain_id, code_hash, registrar_key)
    membership.check()
    return membership


class Membership:
    """One CoopMembership contract. `contracts/src/ICoopMembership.sol` says what it promises.

    Every method raises `ChainUnavailable` when the node does not answer.
    """

    def __init__(
        self,
        web3: Web3,
        address: ChecksumAddress,
        chain_id: int | None,
        code_hash: str | None,
        registrar_key: str | None,
    ) -> None:
        abi = json.loads(CONTRACT_FILE.read_text(encoding="utf-8"))["abi"]
        self.address = address
        self._web3 = web3
        self._contract: Contract = web3.eth.contract(address, abi=abi)
        self._chain_id = chain_id
        self._code_hash = code_hash
        self._registrar: LocalAccount | None = Account.from_key(registrar_key) if registrar_key else None
        self._errors = {
            keccak(text=abi_to_signature(error))[:4].hex(): error["name"] for error in filter_abi_by_type("error", abi)
        }

    def check(self) -> tuple[int, str]:
        """Chain id and code hash, as they are and as they were expected.

        Raises `WrongChain`, `ContractMissing` and `ContractChanged`.
        """
        with self._node_errors():
            return self._check("latest")

    def is_member(self, address: str) -> bool:
        """Whether `address` is a member as of the newest block."""
        with self._node_errors():
            return bool(self._contract.functions.isMember(to_checksum_address(address)).call())

    # --- Reading weights ---

    def snapshot_block(self, finality_depth: int) -> BlockStamp:
        """The newest block that is final: at least `finality_depth` blocks (0 to 1,000) stand on it.

        The contract tells of a second only once it is over, so a block of a later second must exist. A chain that mines
        on demand is asked for one. Raises `SnapshotTooFresh` where there is none.
        """
        if not 0 <= finality_depth <= FINALITY_DEPTH_MAX:
            raise ValueError(f"finality_depth must be 0 to {FINALITY_DEPTH_MAX}")
        with self._node_errors():
            head = self._stamp("latest")
            if head.number < finality_depth:
                raise SnapshotTooFresh(
                    f"the chain has {head.number} blocks, {finality_depth} must stand on a final one"
                )
            block = self._stamp(head.number - finality_depth) if finality_depth else head
            if head.timestamp <= block.timestamp:
                self._mine()
                head = self._stamp("latest")
            if head.timestamp <= block.timestamp:
                raise SnapshotTooFresh(f"block {block.number} is the newest")
            return block

    def weights_at(self, block: BlockStamp, addresses: Sequence[str]) -> Weights:
        """The votes of `addresses` at the end of the second of `block`, all read at one later block.

        `addresses` are all who may have been members then, each once. Nothing is returned that does not add up.

        Raises `SnapshotTooFresh`, `ChainForked`, `WeightsDoNotAddUp`, `WrongChain`, `ContractMissing`,
        `ContractChanged`, and ValueError for more than `ADDRESSES_MAX`.
        """
        if len(addresses) > ADDRESSES_MAX:
            raise ValueError(f"more than {ADDRESSES_MAX} addresses")
        voters = [to_checksum_address(address) for address in addresses]
        with self._node_errors():
            read_at = self._stamp("latest")
            if read_at.timestamp <= block.timestamp:
                raise SnapshotTooFresh(f"block {block.number} is the newest")
            self._check_stands(block)
            chain_id, code_hash = self._check(read_at.number)
            total = self._contract.functions.getPastTotalSupply(block.timestamp).call(block_identifier=read_at.number)
            weights = self._past_votes(voters, block.timestamp, read_at.number)
            self._check_stands(block)
            self._check_stands(read_at)
        if sum(weights) != total:
            raise WeightsDoNotAddUp(f"the members have {sum(weights)}, the contract says {total}")
        members = tuple(MemberWeight(voter, weight) for voter, weight in zip(voters, weights, strict=True))
        return Weights(block, chain_id, self.address, code_hash, members, total)

    def _past_votes(self, voters: list[ChecksumAddress], timestamp: int, read_at: int) -> list[int]:
        votes: list[int] = []
        remaining = iter(voters)
        while chunk := list(islice(remaining, WEIGHTS_PER_REQUEST)):
            with self._web3.batch_requests() as batch:
                for voter in chunk:
                    batch.add(self._contract.functions.getPastVotes(voter, timestamp).call(block_identifier=read_at))
                answers: list[Any] = batch.execute()
            if len(answers) != len(chunk):
                raise ChainUnavailable(f"{len(answers)} answers to {len(chunk)} questions")
            votes += answers
        return votes

    def _check(self, block: BlockIdentifier) -> tuple[int, str]:
        chain_id = self._web3.eth.chain_id
        if self._chain_id is not None and chain_id != self._chain_id:
            raise WrongChain(f"chain {chain_id}, expected {self._chain_id}")
        code = self._web3.eth.get_code(self.address, block)
        if not code:
            raise ContractMissing(self.address)
        code_hash = f"0x{keccak(code).hex()}"
        if self._code_hash is not None and code_hash != self._code_hash.lower():
            raise ContractChanged(f"{code_hash}, expected {self._code_hash.lower()}")
        return chain_id, code_hash

    def _stamp(self, block: BlockIdentifier) -> BlockStamp:
        found = self._web3.eth.get_block(block)
        return BlockStamp(found["number"], found["hash"].to_0x_hex(), found["timestamp"])

    def _check_stands(self, block: BlockStamp) -> None:
        try:
            now = self._stamp(block.number)
        except BlockNotFound:
            raise ChainForked(f"block {block.number} is gone") from None
        if now != block:
            raise ChainForked(f"block {block.number} was {block.hash} and is {now.hash}")

    def _mine(self) -> None:
        """Has a chain for development add a block; any other chain does not know the method, and nothing happens."""
        self._web3.provider.make_request(RPCEndpoint("evm_mine"), [])

    # --- Writing ---

    def next_nonce(self) -> int:
        """The registrar's next nonce, after what the node has taken but not mined. Raises `ReadOnly`."""
        with self._node_errors():
            return self._web3.eth.get_transaction_count(self._signer().address, "pending")

    def build_admission(self, member: str, member_class: MemberClass, nonce: int | None = None) -> SignedTransaction:
        """The registrar's signed order to admit `member`, not sent yet. `nonce` is `next_nonce()` unless given.

        Raises `ReadOnly`, `CallRefused` (by its name: AlreadyMember, NotRegistrar ...) and `FeeTooHigh`.
        """
        return self._build(self._contract.functions.admit(to_checksum_address(member), int(member_class)), nonce)

    def build_removal(self, member: str, nonce: int | None = None) -> SignedTransaction:
        """The registrar's signed order to remove `member`, as `build_admission`."""
        return self._build(self._contract.functions.remove(to_checksum_address(member)), nonce)

    def broadcast(self, raw: bytes) -> str:
        """Gives a signed transaction to the node and returns its hash. To give it again changes nothing.

        After `ChainUnavailable` it may or may not have arrived: give it again. Raises `NonceTaken` and
        `TransactionRefused`.
        """
        transaction_hash = f"0x{keccak(raw).hex()}"
        with self._node_errors():
            try:
                self._web3.eth.send_raw_transaction(raw)
            except (Web3RPCError, Web3ValueError, ContractLogicError) as error:
                # Nodes differ in what they call a transaction they have already; whether they have it, they all know.
                if not self._is_known(transaction_hash):
                    raise self._refusal(raw, error) from error
        return transaction_hash

    def receipt(self, transaction_hash: str, finality_depth: int = 0) -> Receipt | None:
        """Where the transaction stands, once at least `finality_depth` blocks stand on its block; None until then."""
        with self._node_errors():
            try:
                found = self._web3.eth.get_transaction_receipt(transaction_hash)  # type: ignore[arg-type]
            except TransactionNotFound:
                return None
            number = found["blockNumber"]
            if self._web3.eth.block_number - number < finality_depth:
                return None
            return Receipt(transaction_hash, number, found["blockHash"].to_0x_hex(), found["status"] == 1)

    def _build(self, call: ContractFunction, nonce: int | None) -> SignedTransaction:
        signer = self._signer()
        with self._node_errors():
            chain_id, _ = self._check("latest")
            nonce = self.next_nonce() if nonce is None else nonce
            transaction: TxParams = {
                "chainId": chain_id,
                "nonce": nonce,  # type: ignore[typeddict-item]
                "value": Wei(0),
                **self._fees(),
                "gas": self._gas(call, signer),
            }
            complete = call.build_transaction(transaction)
        signed = signer.sign_transaction(complete)  # type: ignore[arg-type]
        return SignedTransaction(bytes(signed.raw_transaction), signed.hash.to_0x_hex(), nonce)

    def _gas(self, call: ContractFunction, signer: LocalAccount) -> int:
        needed = call.estimate_gas({"from": signer.address})
        # Half as much again: what is written next to it in the meantime may make a call dearer.
        gas = needed + needed // 2
        if gas > TRANSACTION_GAS_MAX:
            raise FeeTooHigh(f"{gas} gas")
        return gas

    def _fees(self) -> TxParams:
        priority = self._web3.eth.max_priority_fee
        base = self._web3.eth.get_block("latest")["baseFeePerGas"]
        # Twice the base fee outlasts six full blocks of its steepest rise (EIP-1559).
        fee = 2 * base + priority
        if fee > FEE_PER_GAS_WEI_MAX:
            raise FeeTooHigh(f"{fee} wei per gas")
        return {"maxFeePerGas": Wei(fee), "maxPriorityFeePerGas": priority}

    def _signer(self) -> LocalAccount:
        if self._registrar is None:
            raise ReadOnly
        return self._registrar

    def _is_known(self, transaction_hash: str) -> bool:
        try:
            self._web3.eth.get_transaction(transaction_hash)  # type: ignore[arg-type]
        except TransactionNotFound:
            return False
        return True

    def _refusal(self, raw: bytes, error: Exception) -> ChainError:
        nonce = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()["nonce"]
        mined = self._web3.eth.get_transaction_count(Account.recover_transaction(raw), "latest")
        if nonce < mined:
            return NonceTaken(f"nonce {nonce}, the next is {mined}")
        return TransactionRefused(str(getattr(error, "message", error)))

    @contextmanager
    def _node_errors(self) -> Iterator[None]:
        """web3's and requests' errors as this module's."""
        try:
            with tracing.span("ask the chain"):
                yield
        except BadFunctionCallOutput as error:
            raise ContractMissing(self.address) from error
        except ContractLogicError as error:
            selector = str(error.data).removeprefix("0x")[:8]
            raise CallRefused(self._errors.get(selector, str(error.message))) from error
        except (
            requests.RequestException,
            Web3RPCError,
            Web3ValueError,
            BadResponseFormat,
            json.JSONDecodeError,
        ) as error:
            raise ChainUnavailable(f"{type(error).__name__}: {error}") from error
