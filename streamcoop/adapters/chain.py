"""The chain: a contract of the co-op's behind any Ethereum JSON-RPC node, as `members` and `anchors` share it.

Writing goes in three steps, so that a process may die between any two of them: build and sign, store what was signed,
`broadcast` it, as often as need be, and ask for its `receipt`.

Addresses are checksummed (EIP-55), hashes are `0x` and 64 lower-case digits, times are the chain's own seconds: nothing
may compare them with the clock on the wall.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Self

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
from streamcoop.adapters.typed_data import signer_of

CONTRACTS = Path(__file__).resolve().parents[2] / "contracts" / "abi"

RPC_TIMEOUT_S = 10.0
"""For connecting, and for each answer."""
RPC_TRIES_MAX = 3
RPC_BACKOFF_S = 0.1
"""Before the second try; doubled before each further one."""

QUESTIONS_PER_REQUEST = 100
FINALITY_DEPTH_MAX = 1_000

TRANSACTION_GAS_MAX = 2_000_000
TRANSACTION_GAS_MIN = 700_000
"""More than any of ours takes; what is not used is not paid. Nodes that estimate in the newest block's second find it
cheap to write again to what that block wrote: a removal right after the admission takes three times as much.
"""
FEE_PER_GAS_WEI_MAX = 1_000 * 10**9
"""A node that names a higher fee is mistaken or wants the registrar's money."""

_VALID_SIGNATURE = keccak(text="isValidSignature(bytes32,bytes)")[:4]
_WALLET_ABI = [
    {
        "type": "function",
        "name": "isValidSignature",
        "stateMutability": "view",
        "inputs": [{"name": "hash", "type": "bytes32"}, {"name": "signature", "type": "bytes"}],
        "outputs": [{"name": "magic", "type": "bytes4"}],
    }
]


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
    """There is no contract at the configured address."""


class ContractChanged(ChainError):
    """The code of the contract is not the code the co-op was founded with."""


class ChainForked(ChainError):
    """A block that was relied on is no longer part of the chain: take a new snapshot."""


class ReadOnly(ChainError):
    """No registrar's key is configured: the chain can be read, and not written to."""


class CallRefused(ChainError):
    """The contract refuses the call: it would change nothing and is not sent."""


class FeeTooHigh(ChainError):
    """The node asks for more gas or for a higher fee than a transaction of ours may cost."""


class NonceTaken(ChainError):
    """Another transaction of the registrar was mined with this nonce: this one never will be, build it anew."""


class TransactionRefused(ChainError):
    """The node does not take the transaction."""


@dataclass(frozen=True)
class BlockStamp:
    """One block of one history: the number alone does not tell forks apart."""

    number: int
    hash: str
    timestamp: int


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


def node(rpc_url: str, timeout_s: float) -> Web3:
    """The node at an address, asked a few times where it does not answer."""
    retries = ExceptionRetryConfiguration(
        errors=(requests.ConnectionError, requests.HTTPError, requests.Timeout),
        retries=RPC_TRIES_MAX,
        backoff_factor=RPC_BACKOFF_S,
    )
    provider = HTTPProvider(rpc_url, request_kwargs={"timeout": timeout_s}, exception_retry_configuration=retries)
    web3 = Web3(provider)
    # Proof-of-authority chains put signatures where Ethereum allows 32 bytes; web3 refuses their blocks otherwise.
    web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
    return web3


def fees(web3: Web3) -> TxParams:
    """What a transaction pays for gas, by the newest block. Raises `FeeTooHigh`."""
    priority = web3.eth.max_priority_fee
    base = web3.eth.get_block("latest")["baseFeePerGas"]
    # Twice the base fee outlasts six full blocks of its steepest rise (EIP-1559).
    fee = 2 * base + priority
    if fee > FEE_PER_GAS_WEI_MAX:
        raise FeeTooHigh(f"{fee} wei per gas")
    return {"maxFeePerGas": Wei(fee), "maxPriorityFeePerGas": priority}


class CoopContract:
    """One contract, and the registrar's key where it may be written to.

    Every method raises `ChainUnavailable` when the node does not answer.
    """

    file: ClassVar[Path]
    """Its ABI and bytecode."""

    def __init__(
        self,
        web3: Web3,
        address: ChecksumAddress,
        chain_id: int | None,
        code_hash: str | None,
        registrar_key: str | None,
    ) -> None:
        abi = json.loads(self.file.read_text(encoding="utf-8"))["abi"]
        self.address = address
        self._web3 = web3
        self._contract: Contract = web3.eth.contract(address, abi=abi)
        self._chain_id = chain_id
        self._code_hash = code_hash
        self._registrar: LocalAccount | None = Account.from_key(registrar_key) if registrar_key else None
        self._errors = {
            keccak(text=abi_to_signature(error))[:4].hex(): error["name"] for error in filter_abi_by_type("error", abi)
        }

    @classmethod
    def connect(
        cls,
        rpc_url: str,
        contract: str,
        *,
        chain_id: int | None = None,
        code_hash: str | None = None,
        registrar_key: str | None = None,
        timeout_s: float = RPC_TIMEOUT_S,
    ) -> Self:
        """The contract at the address `contract`, through the node at `rpc_url`.

        With `chain_id` and `code_hash` (keccak-256 of the deployed code) given, any other is refused, now and whenever
        something is built or read for good. Without `registrar_key` (32 bytes, hexadecimal) the result is read only.

        Connect in the process that uses the result: connections do not survive a fork. Threads may share it.

        Raises `ChainUnavailable`, `WrongChain`, `ContractMissing`, `ContractChanged`, and ValueError for an address or
        a key that is none.
        """
        connected = cls(node(rpc_url, timeout_s), to_checksum_address(contract), chain_id, code_hash, registrar_key)
        connected.check()
        return connected

    def check(self) -> tuple[int, str]:
        """Chain id and code hash, as they are and as they were expected.

        Raises `WrongChain`, `ContractMissing` and `ContractChanged`.
        """
        with self._node_errors():
            return self._check("latest")

    # --- Reading ---

    def is_signed(self, address: str, digest: bytes, signature: bytes) -> bool:
        """Whether `address` signed the digest: by its key, or, where a contract stands there, as that says (ERC-1271).

        A contract may say otherwise later: keep what you conclude from it, not only the signature.
        """
        signer = to_checksum_address(address)
        with self._node_errors():
            if not self._web3.eth.get_code(signer):
                return signer_of(digest, signature) == signer
            wallet = self._web3.eth.contract(signer, abi=_WALLET_ABI)
            try:
                told = wallet.functions.isValidSignature(digest, signature).call()
            except (ContractLogicError, BadFunctionCallOutput):
                return False
        return bytes(told) == _VALID_SIGNATURE

    def newest_block(self) -> BlockStamp:
        """The newest block the node knows: its timestamp is what time it is on the chain."""
        with self._node_errors():
            return self._stamp("latest")

    def _ask(self, question: str, *arguments: Any) -> Any:
        """The contract's answer as of the newest block."""
        with self._node_errors():
            return self._contract.functions[question](*arguments).call()

    def _ask_all(self, questions: Iterable[ContractFunction], block_number: int) -> list[Any]:
        """The contract's answers as of one block, in the order of the questions."""
        told: list[Any] = []
        remaining = iter(questions)
        while chunk := list(islice(remaining, QUESTIONS_PER_REQUEST)):
            with self._web3.batch_requests() as batch:
                for question in chunk:
                    batch.add(question.call(block_identifier=block_number))
                answers: list[Any] = batch.execute()
            if len(answers) != len(chunk):
                raise ChainUnavailable(f"{len(answers)} answers to {len(chunk)} questions")
            told += answers
        return told

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

    def final_block(self, finality_depth: int, not_before: int) -> BlockStamp | None:
        """The newest block with at least `finality_depth` blocks on it, once its time is `not_before` (chain seconds).

        None until then. A chain that mines on demand is asked to go on.
        """
        with self._node_errors():
            head = self._stamp("latest")
            if head.number < finality_depth:
                return None
            block = self._stamp(head.number - finality_depth) if finality_depth else head
            if block.timestamp >= not_before:
                return block
            self._mine()
            return None

    def _mine(self) -> None:
        """Has a chain for development add a block; any other chain does not know the method, and nothing happens."""
        self._web3.provider.make_request(RPCEndpoint("evm_mine"), [])

    # --- Writing ---

    def next_nonce(self) -> int:
        """The registrar's next nonce, after what the node has taken but not mined. Raises `ReadOnly`."""
        with self._node_errors():
            return self._web3.eth.get_transaction_count(self._signer().address, "pending")

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
                **fees(self._web3),
                "gas": self._gas(call, signer),
            }
            complete = call.build_transaction(transaction)
        signed = signer.sign_transaction(complete)  # type: ignore[arg-type]
        return SignedTransaction(bytes(signed.raw_transaction), signed.hash.to_0x_hex(), nonce)

    def _gas(self, call: ContractFunction, signer: LocalAccount) -> int:
        needed = call.estimate_gas({"from": signer.address})
        # What is written next to it in the meantime may make a call dearer.
        gas = max(needed + needed // 2, TRANSACTION_GAS_MIN)
        if gas > TRANSACTION_GAS_MAX:
            raise FeeTooHigh(f"{gas} gas")
        return gas

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
