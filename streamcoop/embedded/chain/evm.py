"""The blocks and their state: py-evm on the chain file, founded with the registrar's money and the contracts."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rlp  # type: ignore[import-untyped]
from eth.abc import BlockAPI, BlockHeaderAPI, ComputationAPI, SignedTransactionAPI
from eth.chains.base import MiningChain
from eth.consensus.applier import ConsensusApplier
from eth.consensus.noproof import NoProofConsensus
from eth.db.atomic import AtomicDB
from eth.exceptions import PyEVMError, VMError
from eth.typing import AccountDetails, HeaderParams
from eth.vm.forks.cancun import CancunVM
from eth.vm.spoof import SpoofTransaction
from eth_abi.abi import encode
from eth_abi.exceptions import EncodingError
from eth_keys.datatypes import PrivateKey
from eth_typing import Address, BlockNumber, Hash32
from eth_utils.abi import get_abi_input_types
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError
from eth_utils.hexadecimal import decode_hex

from streamcoop.embedded.chain.file import ChainFile
from streamcoop.embedded.chain.founding import Arguments, Founding, epoch_anchor

CHAIN_ID = 31_337
"""The number that development chains use by custom, and that wallets know as such."""

_ARTIFACTS = Path(__file__).resolve().parents[3] / "contracts" / "abi"
CONTRACT_FILE = _ARTIFACTS / "CoopMembership.json"
ANCHOR_FILE = _ARTIFACTS / "EpochAnchor.json"
REGISTRY_FILE = _ARTIFACTS / "RateRegistry.json"

REGISTRAR_BALANCE_WEI = 1_000_000 * 10**18
BLOCK_GAS_MAX = 30_000_000
DEPLOYMENT_GAS_MAX = 10_000_000
GAS_PRICE_WEI_MIN = 10 * 10**9
"""Of a deployment; above the first block's base fee, which is 1 gwei."""

DYNAMIC_FEE_TYPE = 2


class RegistrarChanged(Exception):
    """The chain was founded with another registrar's key than the one given now."""


class FoundingRefused(Exception):
    """A contract refuses to be made with what the co-op is founded with."""


class _Blocks(MiningChain):
    chain_id = CHAIN_ID
    vm_configuration = ConsensusApplier(NoProofConsensus).amend_vm_configuration(((BlockNumber(0), CancunVM),))

    def create_header_from_parent(self, parent_header: BlockHeaderAPI, **header_params: Any) -> BlockHeaderAPI:
        # py-evm would let the gas limit drift towards a target of its own.
        return super().create_header_from_parent(
            parent_header, **{**header_params, "gas_limit": parent_header.gas_limit}
        )


@dataclass(frozen=True)
class Account:
    """An address at the end of a block."""

    balance_wei: int
    nonce: int
    code: bytes


@dataclass(frozen=True)
class Call:
    """A message to the chain that nobody signed. `to` is empty for a contract's creation."""

    sender: bytes
    to: bytes
    value: int
    data: bytes
    gas: int


def _spoofed(call: Call, state: Any) -> Any:
    unsigned = CancunVM.create_unsigned_transaction(
        nonce=state.get_nonce(call.sender),
        gas_price=0,
        gas=call.gas,
        to=Address(call.to),
        value=call.value,
        data=call.data,
    )
    return SpoofTransaction(unsigned, from_=call.sender)


def transaction_type(transaction: SignedTransactionAPI) -> int:
    """The EIP-2718 type: 0 is legacy, 1 has an access list, 2 a dynamic fee; this chain carries no others."""
    return int(getattr(transaction, "type_id", None) or 0)


def created_address(transaction: SignedTransactionAPI) -> bytes:
    """Where a contract that `transaction` creates comes to stand."""
    return keccak(rlp.encode([transaction.sender, transaction.nonce]))[12:]


def _deploy(blocks: _Blocks, key: PrivateKey, file: Path, arguments: Arguments) -> bytes:
    """Mines a contract's creation and returns where it stands."""
    artifact = json.loads(file.read_text(encoding="utf-8"))
    (constructor,) = (entry for entry in artifact["abi"] if entry["type"] == "constructor")
    head: Any = blocks.get_canonical_head()
    unsigned = blocks.create_unsigned_transaction(
        nonce=blocks.get_vm(head).state.get_nonce(Address(key.public_key.to_canonical_address())),
        gas_price=max(GAS_PRICE_WEI_MIN, 2 * head.base_fee_per_gas),
        gas=DEPLOYMENT_GAS_MAX,
        to=Address(b""),
        value=0,
        data=decode_hex(artifact["bytecode"]) + encode(get_abi_input_types(constructor), arguments),
    )
    deployment = unsigned.as_signed_transaction(key, chain_id=CHAIN_ID)
    _, _, (computation,) = blocks.mine_all([deployment], parent_header=head)
    computation.raise_if_error()
    return created_address(deployment)


class LocalChain:
    """The blocks and their state. Every public method may be called from any thread; one at a time is served."""

    def __init__(self, path: Path, registrar_key: PrivateKey, log_origin: str, founding: Founding) -> None:
        """Opens the chain kept at `path`, or founds it with the registrar's money and the contracts.

        `founding` counts at the first opening only. The anchors of each log have a contract of their own, deployed
        where it is missing. Raises `RegistrarChanged`, `FoundingRefused`, `ChainFileInUse` and `ChainFileUnknown`.
        """
        self._lock = threading.Lock()
        self._file = ChainFile(path)
        self._db = AtomicDB(self._file)
        try:
            if self._file.is_empty():
                with self._file.transaction():
                    self._found(registrar_key, founding)
            self._blocks = _Blocks(self._db)
            first = self._blocks.get_canonical_block_by_number(BlockNumber(1)).transactions[0]
            if first.sender != Address(registrar_key.public_key.to_canonical_address()):
                raise RegistrarChanged(f"the chain's registrar is {to_checksum_address(first.sender)}")
            self.anchor_contract = self._anchors(registrar_key, log_origin)
            self.membership_contract = self._kept(CONTRACT_FILE)
            self.rate_registry = self._kept(REGISTRY_FILE)
        except BaseException:
            self._file.close()
            raise

    def _found(self, registrar_key: PrivateKey, founding: Founding) -> None:
        account: AccountDetails = {"balance": REGISTRAR_BALANCE_WEI, "nonce": 0, "code": b"", "storage": {}}
        header: dict[str, HeaderParams] = {"difficulty": 0, "gas_limit": BLOCK_GAS_MAX, "timestamp": int(time.time())}
        _Blocks.from_genesis(self._db, header, {Address(registrar_key.public_key.to_canonical_address()): account})
        registrar = registrar_key.public_key.to_checksum_address()
        arguments = {
            CONTRACT_FILE: founding.membership(registrar),
            REGISTRY_FILE: founding.rate_registry(registrar, registrar),
        }
        for file, given in arguments.items():
            try:
                address = _deploy(_Blocks(self._db), registrar_key, file, given)
            except (VMError, EncodingError) as error:
                raise FoundingRefused(f"{file.stem}: {error}") from error
            self._file.keep_contract(file.stem, address)

    def _kept(self, file: Path) -> str:
        address = self._file.contract(file.stem)
        assert address is not None  # since the founding, in the same transaction
        return to_checksum_address(address)

    def _anchors(self, registrar_key: PrivateKey, log_origin: str) -> str:
        """Where the anchors of a log stand; the registrar is administrator and anchorer."""
        registrar = registrar_key.public_key.to_checksum_address()
        arguments = epoch_anchor(registrar, registrar, log_origin)
        name = f"{ANCHOR_FILE.stem} {arguments[-1].hex()}"
        address = self._file.contract(name)
        if address is None:
            with self._file.transaction():
                address = _deploy(self._blocks, registrar_key, ANCHOR_FILE, arguments)
                self._file.keep_contract(name, address)
        return to_checksum_address(address)

    def close(self) -> None:
        """Waits for the call under way and lets go of the file."""
        with self._lock:
            self._file.close()

    def mine(self, transactions: tuple[SignedTransactionAPI, ...] = ()) -> None:
        """Adds one block, on disk when this returns. Raises eth_utils' ValidationError and adds none."""
        with self._lock:
            try:
                with self._file.transaction():
                    self._blocks.mine_all(transactions, parent_header=self._blocks.get_canonical_head())
            except BaseException:
                # What the chain object remembers of a block that was rolled back must go too.
                self._blocks = _Blocks(self._db)
                raise

    def decode(self, raw: bytes) -> SignedTransactionAPI:
        """The signed transaction in `raw`. Raises eth_utils' ValidationError."""
        try:
            transaction = CancunVM.get_transaction_builder().decode(raw)
        except (rlp.exceptions.RLPException, PyEVMError, ValueError, TypeError, IndexError) as error:
            raise ValidationError(f"not a transaction: {error}") from error
        if transaction.chain_id != CHAIN_ID:
            raise ValidationError(f"signed for chain {transaction.chain_id}, this is chain {CHAIN_ID}")
        if transaction_type(transaction) > DYNAMIC_FEE_TYPE:
            raise ValidationError(f"transactions of type {transaction_type(transaction)} are not carried")
        if transaction.max_fee_per_gas < transaction.max_priority_fee_per_gas:
            raise ValidationError("max priority fee per gas is higher than max fee per gas")
        return transaction

    def header(self, number: int | None) -> BlockHeaderAPI:
        """The header of block `number`, or of the newest. Raises py-evm's HeaderNotFound."""
        with self._lock:
            if number is None:
                return self._blocks.get_canonical_head()
            return self._blocks.get_canonical_block_header_by_number(BlockNumber(number))

    def header_by_hash(self, block_hash: bytes) -> BlockHeaderAPI:
        """Raises py-evm's HeaderNotFound."""
        with self._lock:
            return self._blocks.get_block_header_by_hash(Hash32(block_hash))

    def block(self, header: BlockHeaderAPI) -> BlockAPI:
        with self._lock:
            return self._blocks.get_block_by_header(header)

    def block_of(self, transaction_hash: bytes) -> BlockAPI:
        """The block whose only transaction has this hash. Raises py-evm's TransactionNotFound."""
        with self._lock:
            number, _ = self._blocks.get_canonical_transaction_index(Hash32(transaction_hash))
            return self._blocks.get_canonical_block_by_number(number)

    def receipt(self, block: BlockAPI) -> Any:
        """The receipt of the block's only transaction."""
        with self._lock:
            return block.get_receipts(self._blocks.chaindb)[0]

    def account(self, address: bytes, header: BlockHeaderAPI) -> Account:
        """What stands at `address` at the end of the block."""
        with self._lock:
            state = self._blocks.get_vm(header).state
            key = Address(address)
            return Account(state.get_balance(key), state.get_nonce(key), state.get_code(key))

    def call(self, call: Call, header: BlockHeaderAPI) -> ComputationAPI:
        """What `call` does on the state and at the time of the block, for nothing. Changes nothing."""
        with self._lock:
            state = self._free_state(header)
            computation: ComputationAPI = state.costless_execute_transaction(_spoofed(call, state))
            return computation

    def estimate_gas(self, call: Call) -> int:
        """Gas that `call` needs in the next block. Raises py-evm's VMError when it fails with any amount."""
        with self._lock:
            # In the next block, not in the newest: writing to the same second twice is cheaper than it will be.
            state = self._free_state(self._blocks.create_header_from_parent(self._blocks.get_canonical_head()))
            return self._blocks.gas_estimator(state, _spoofed(call, state))

    def _free_state(self, header: BlockHeaderAPI) -> Any:
        return self._blocks.get_vm(header.copy(base_fee_per_gas=0)).state
