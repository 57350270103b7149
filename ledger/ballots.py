"""Votes: what a member signs, who signed it, and how many seats it counts for. Pure.

A vote is typed data (EIP-712) for one ballot, one chain and one membership contract: a number for each of the ballot's
parameters, the vote's own number and a deadline. Of an address's votes the one with the highest number counts. A seat's
vote is its member's own; where she has not voted it is added to that of the member she has delegated to, one hop and no
further.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any
from uuid import UUID

from Crypto.Hash import keccak

from ledger import tally
from ledger.canonical import INTEGER_MAX
from ledger.constitution import CLASSES
from ledger.errors import DomainError

HAS_COINCURVE = find_spec("coincurve") is not None
"""Where there are no wheels of it, eth-keys takes its place."""

DOMAIN_NAME = "StreamCoop Ballot"
DOMAIN_VERSION = "1"
TYPES: dict[str, list[dict[str, str]]] = {
    "EIP712Domain": [
        {"name": "name", "type": "string"},
        {"name": "version", "type": "string"},
        {"name": "chainId", "type": "uint256"},
        {"name": "verifyingContract", "type": "address"},
    ],
    "Vote": [
        {"name": "ballot", "type": "bytes16"},
        {"name": "choices", "type": "Choice[]"},
        {"name": "nonce", "type": "uint64"},
        {"name": "deadline", "type": "uint64"},
    ],
    "Choice": [{"name": "parameter", "type": "string"}, {"name": "value", "type": "uint64"}],
}
"""What wallets show and sign, in the form of `eth_signTypedData_v4`."""

SIGNATURE_BYTES = 65
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}").fullmatch
_CHOICES_KEPT_MAX = 1 << 16
_FORMS_KEPT_MAX = 1 << 10


class VoteRefused(DomainError):
    """This is no vote, or not signed as one."""


@dataclass(frozen=True, slots=True)
class Form:
    """What every vote of a ballot is signed for: the ballot, its parameters in order, the chain and the contract."""

    ballot_id: UUID
    parameters: tuple[str, ...]
    chain_id: int
    contract: str


@dataclass(frozen=True, slots=True)
class Seat:
    """A membership that may vote, as the contract had it at the snapshot: `delegate` is the member's own address where
    she has delegated to nobody.
    """

    address: str
    member_class: str
    delegate: str


@dataclass(frozen=True, slots=True)
class SignedVote:
    """A vote that was cast. `deadline` in POSIX seconds; `is_kept`: the co-op keeps the key that signed it."""

    address: str
    values: tuple[int, ...]
    nonce: int
    deadline: int
    signature: bytes
    is_kept: bool = False


# --- What is signed ---


def keccak_256(data: bytes) -> bytes:
    """Keccak-256 as Ethereum has it: not SHA-3."""
    return keccak.new(data=data, digest_bits=256).digest()


def typed_data(form: Form, values: Sequence[int], nonce: int, deadline: int) -> dict[str, Any]:
    """The vote for a wallet to sign (`eth_signTypedData_v4`): its hash is what `digest` gives. Raises VoteRefused."""
    _require_form(form, values, nonce, deadline)
    return {
        "types": TYPES,
        "primaryType": "Vote",
        "domain": {
            "name": DOMAIN_NAME,
            "version": DOMAIN_VERSION,
            "chainId": form.chain_id,
            "verifyingContract": form.contract,
        },
        "message": {
            "ballot": "0x" + form.ballot_id.hex,
            "choices": [
                {"parameter": parameter, "value": value}
                for parameter, value in zip(form.parameters, values, strict=True)
            ],
            "nonce": nonce,
            "deadline": deadline,
        },
    }


def digest(form: Form, values: Sequence[int], nonce: int, deadline: int) -> bytes:
    """The 32 bytes that are signed for a vote (EIP-712). Raises VoteRefused for what is no vote of this form."""
    _require_form(form, values, nonce, deadline)
    choices = b"".join(map(_choice, form.parameters, values))
    ballot = form.ballot_id.bytes.ljust(32, b"\0")
    told = keccak_256(_VOTE_TYPE + ballot + keccak_256(choices) + _word(nonce) + _word(deadline))
    return keccak_256(b"\x19\x01" + _domain(form.chain_id, form.contract) + told)


def _require_form(form: Form, values: Sequence[int], nonce: int, deadline: int) -> None:
    if len(values) != len(form.parameters) or not all(0 <= value <= INTEGER_MAX for value in values):
        raise VoteRefused(reason="a vote has a whole number for each parameter")
    if not 1 <= nonce <= INTEGER_MAX or not 0 <= deadline <= INTEGER_MAX:
        raise VoteRefused(reason="votes are numbered from 1 on, and have a deadline")


def _word(number: int) -> bytes:
    return number.to_bytes(32, "big")


def _type_of(*names: str) -> bytes:
    """The hash of a type: its fields, and after it those of the types it is made of (EIP-712, encodeType)."""
    told = ""
    for name in names:
        fields = ",".join(f"{field['type']} {field['name']}" for field in TYPES[name])
        told += f"{name}({fields})"
    return keccak_256(told.encode())


_DOMAIN_TYPE, _VOTE_TYPE, _CHOICE_TYPE = _type_of("EIP712Domain"), _type_of("Vote", "Choice"), _type_of("Choice")


@lru_cache(maxsize=_CHOICES_KEPT_MAX)
def _choice(parameter: str, value: int) -> bytes:
    return keccak_256(_CHOICE_TYPE + keccak_256(parameter.encode()) + _word(value))


@lru_cache(maxsize=_FORMS_KEPT_MAX)
def _domain(chain_id: int, contract: str) -> bytes:
    if not _ADDRESS(contract) or not 0 < chain_id <= INTEGER_MAX:
        raise VoteRefused(reason="a vote is for a contract on a chain")
    return keccak_256(
        _DOMAIN_TYPE
        + keccak_256(DOMAIN_NAME.encode())
        + keccak_256(DOMAIN_VERSION.encode())
        + _word(chain_id)
        + _word(int(contract, 16))
    )


def signer(digest: bytes, signature: bytes) -> str:
    """The address that signed, in lower case. Raises VoteRefused unless it is the one form a signature has.

    That is r ‖ s ‖ v with s in the lower half of the group's order and v 27 or 28: nobody can make a second out of it.
    """
    if len(signature) != SIGNATURE_BYTES or signature[64] not in (27, 28):
        raise VoteRefused(reason="a signature is r, s and v (27 or 28) in 65 bytes")
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    if not 0 < r < _ORDER or not 0 < s <= _ORDER // 2:
        raise VoteRefused(reason="a signature's s is in the lower half")
    try:
        key = _public_key(digest, signature[:64] + bytes([signature[64] - 27]))
    except Exception as unsigned:  # neither library has a class of its own for it
        raise VoteRefused(reason="a signature that nobody can have made") from unsigned
    return "0x" + keccak_256(key)[12:].hex()


def _public_key(digest: bytes, signature: bytes) -> bytes:
    """The 64 bytes of the key that signed; `signature` is r ‖ s ‖ 0 or 1."""
    if HAS_COINCURVE:
        from coincurve import PublicKey

        return PublicKey.from_signature_and_message(signature, digest, hasher=None).format(compressed=False)[1:]
    from eth_keys.datatypes import Signature

    return Signature(signature).recover_public_key_from_msg_hash(digest).to_bytes()


def number_of(address: str) -> int:
    """An address as the number it is: by these the log orders them. The case of its letters is a checksum."""
    return int(address, 16)


# --- Whom it counts for ---


@dataclass(frozen=True, slots=True)
class Weighed:
    """A vote that counts, its own seat, and the seats of those who had delegated to its member and did not vote."""

    vote: SignedVote
    seat: Seat
    delegators: tuple[Seat, ...] = ()

    def counted(self) -> tally.Vote:
        """The vote as it is tallied."""
        weight = {self.seat.member_class: 1}
        for seat in self.delegators:
            weight[seat.member_class] = weight.get(seat.member_class, 0) + 1
        return tally.Vote(self.vote.values, weight)

    @property
    def weight(self) -> int:
        """How many seats it counts for."""
        return 1 + len(self.delegators)


def weighed(seats: Iterable[Seat], votes: Iterable[SignedVote]) -> list[Weighed]:
    """The votes that count, by address in ascending order, with the seats each counts for.

    `seats` are all that may vote and no other. Of several votes of an address the one with the highest nonce counts;
    one of an address without a seat does not. A delegate without a seat that may vote counts for nobody.
    """
    seat_at = {number_of(seat.address): seat for seat in seats}
    counting: dict[int, SignedVote] = {}
    for vote in votes:
        at = number_of(vote.address)
        if at in seat_at and (at not in counting or counting[at].nonce < vote.nonce):
            counting[at] = vote
    delegators: dict[int, list[Seat]] = {}
    for at, seat in seat_at.items():
        if at not in counting and seat.delegate != seat.address:
            to = number_of(seat.delegate)
            if to in counting:
                delegators.setdefault(to, []).append(seat)
    return [Weighed(counting[at], seat_at[at], _in_order(delegators.get(at, []))) for at in sorted(counting)]


def _in_order(seats: list[Seat]) -> tuple[Seat, ...]:
    return tuple(sorted(seats, key=lambda seat: number_of(seat.address)) if len(seats) > 1 else seats)


def census(seats: Iterable[Seat]) -> dict[str, int]:
    """How many of these seats there are of each class."""
    found = dict.fromkeys(CLASSES, 0)
    for seat in seats:
        found[seat.member_class] += 1
    return found
