"""The membership contract: who is a member, who votes for whom, and how the registrar changes either.

Reading for a ballot goes in steps, so that the same roll can be read again by anyone at any time and a process may die
between any two of them: `snapshot_block` chooses a block that is final, `roll_extent` says how far the roll goes,
`roll_page` reads the seats at the end of that block's second, `roll_totals` what they must add up to, and the pure
`add_up` sees whether they do. `roll_at` is all of it at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from eth_typing import ChecksumAddress
from eth_utils.address import to_checksum_address

from streamcoop.adapters.chain import (
    CONTRACTS,
    FINALITY_DEPTH_MAX,
    BlockStamp,
    ChainError,
    CoopContract,
    SignedTransaction,
)
from streamcoop.adapters.typed_data import SIGNATURE_BYTES, Domain, Office, membership_domain

SEATS_MAX = 1_000_000
"""More than any co-op has had members; whoever reads need not take any number from a node."""
SEATS_PER_PAGE = 500
"""Within the gas that nodes give a call: a seat takes about 14,300, and the embedded chain gives 10 million."""
ADDRESSES_PER_QUESTION = 500
BLOCKS_A_SECOND_MAX = 100
"""So many are looked through for one whose second is over."""
APPROVALS = 2
"""Officers who must approve."""


class SnapshotTooFresh(ChainError):
    """The snapshot's second is not over on the chain yet, so it cannot be read: try again after the next block."""


class RollDoesNotAddUp(ChainError):
    """The seats do not add up to what the contract states in other words: one is missing, counted twice or misread."""


class TooManySeats(ChainError):
    """The contract, or the node that tells of it, names more seats than are ever read."""


class MemberClass(IntEnum):
    """`ICoopMembership.Class`."""

    LISTENER = 1
    ARTIST = 2
    WORKER = 3


@dataclass(frozen=True)
class Approval:
    """One officer's signature of an admission, of a change of offices, or of its withdrawal."""

    officer: str
    signature: bytes


@dataclass(frozen=True)
class Seat:
    """A membership as it was at one second: one vote, which its delegate casts unless the member does.

    `since` is when the person became a member, in the chain's seconds; a new address does not change it. The delegate
    may be the member, another member, or somebody who is none any more and cannot cast it.
    """

    token_id: int
    address: str
    member_class: MemberClass
    delegate: str
    since: int


@dataclass(frozen=True)
class RollExtent:
    """Which seats there can be at the end of `block`: tokens 1 to `last_token_id`. `read_at` is a later block."""

    block: BlockStamp
    read_at: BlockStamp
    chain_id: int
    contract: str
    code_hash: str
    last_token_id: int


@dataclass(frozen=True)
class Standing:
    """What an address was: how many votes it had, and, of a member, the class and since when."""

    votes: int
    member_class: MemberClass | None
    since: int


NO_STANDING = Standing(0, None, 0)


@dataclass(frozen=True)
class RollTotals:
    """What the contract states of its roll in other words: the number of seats, of each class, what each address is.

    Addresses that are not told of have no standing.
    """

    total: int
    census: dict[MemberClass, int]
    standings: dict[str, Standing]


@dataclass(frozen=True)
class Roll:
    """Every seat there was at the end of a block's second, by ascending token, and what that was read from.

    The seats add up to what the contract states in other words (`add_up`).
    """

    block: BlockStamp
    chain_id: int
    contract: str
    code_hash: str
    seats: tuple[Seat, ...]
    census: dict[MemberClass, int]


@dataclass(frozen=True)
class AnnouncedChange:
    """A change of offices that two officers announced. It is carried out from `ready_at` on and until `lapses_at`."""

    change: int
    office: Office
    account: str
    holds: bool
    ready_at: int
    lapses_at: int


def add_up(seats: Iterable[Seat], totals: RollTotals) -> None:
    """Raises `RollDoesNotAddUp` unless `seats` are exactly the members that the totals tell of.

    That is their number, how many of each class, each one's class and since when, and how many votes every address
    has; and none stands twice.
    """
    members, tokens, votes = dict[str, Seat](), set[int](), Counter[str]()
    for seat in seats:
        if seat.token_id in tokens or seat.address in members:
            raise RollDoesNotAddUp(f"{seat.address} or token {seat.token_id} stands twice")
        tokens.add(seat.token_id)
        members[seat.address] = seat
        votes[seat.delegate] += 1
    census = Counter(seat.member_class for seat in members.values())
    _same("seats", len(members), totals.total)
    for member_class in MemberClass:
        _same(member_class.name, census[member_class], totals.census.get(member_class, 0))
    for address in members.keys() | votes.keys() | totals.standings.keys():
        member = members.get(address)
        held = (member.member_class, member.since) if member else (None, 0)
        _same(address, Standing(votes[address], *held), totals.standings.get(address, NO_STANDING))


def _same(what: str, read: object, told: object) -> None:
    if read != told:
        raise RollDoesNotAddUp(f"{what}: {read} by the seats, {told} by the contract")


class Membership(CoopContract):
    """One CoopMembership contract. `contracts/src/ICoopMembership.sol` says what it promises."""

    file = CONTRACTS / "CoopMembership.json"

    # --- Reading what is, as of the newest block ---

    def domain(self) -> Domain:
        """What the typed data of this contract is signed for."""
        with self._node_errors():
            return membership_domain(self._check("latest")[0], self.address)

    def is_member(self, address: str) -> bool:
        """Whether `address` is a member."""
        return bool(self._ask("isMember", to_checksum_address(address)))

    def seat_of(self, address: str) -> Seat | None:
        """The seat of `address`; None if it is not a member's."""
        member = to_checksum_address(address)
        with self._node_errors():
            block = self._stamp("latest")
            token_id, seat = self._ask_all(
                [self._contract.functions.tokenOf(member), self._contract.functions.seatOf(member)], block.number
            )
        return _seat(token_id, seat)

    def admissions_of(self, address: str) -> int:
        """How often `address` was given a seat, by admission or by rekey: the nonce of its admission and rekey."""
        return int(self._ask("admissionsOf", to_checksum_address(address)))

    def nonce_of(self, address: str) -> int:
        """The nonce of the next delegation that `address` signs."""
        return int(self._ask("nonces", to_checksum_address(address)))

    def delegation_cap(self) -> int:
        """The most votes a member may come to have by delegation, the own included."""
        return int(self._ask("delegationCap"))

    def registrar(self) -> str:
        """Who admits and removes."""
        return str(self._ask("registrar"))

    def officers(self) -> tuple[str, ...]:
        """Who approves admissions and changes of offices."""
        return tuple(self._ask("officers"))

    def office_delay(self) -> int:
        """Seconds from a change's announcement until it can be carried out."""
        return int(self._ask("officeDelay"))

    def last_change(self) -> int:
        """How many changes of offices were ever announced: the number of the last, and the nonce of the next."""
        return int(self._ask("lastChange"))

    def announced_change(self, change: int) -> AnnouncedChange | None:
        """The change of that number, as long as it is neither carried out nor withdrawn; it may have lapsed."""
        office, account, holds, ready_at, lapses_at = self._ask("announcedChange", change)
        return AnnouncedChange(change, Office(office), account, holds, ready_at, lapses_at) if ready_at else None

    # --- Reading the roll of a past second ---

    def snapshot_block(self, finality_depth: int) -> BlockStamp:
        """The newest block that is final, at least `finality_depth` blocks (0 to 1,000) stand on it, and whose second
        is over: the contract tells of no other.

        A chain that mines on demand is asked for a later block. Raises `SnapshotTooFresh` where the chain is too short,
        or has more than `BLOCKS_A_SECOND_MAX` blocks in its newest second.
        """
        if not 0 <= finality_depth <= FINALITY_DEPTH_MAX:
            raise ValueError(f"finality_depth must be 0 to {FINALITY_DEPTH_MAX}")
        with self._node_errors():
            head = self._stamp("latest")
            newest = head.number - finality_depth
            if newest < 0:
                raise SnapshotTooFresh(
                    f"the chain has {head.number} blocks, {finality_depth} must stand on a final one"
                )
            block = self._stamp(newest) if finality_depth else head
            if head.timestamp <= block.timestamp:
                self._mine()
                head = self._stamp("latest")
            while head.timestamp <= block.timestamp:
                if block.number == 0 or block.number <= newest - BLOCKS_A_SECOND_MAX:
                    raise SnapshotTooFresh(f"block {block.number} is of the newest second")
                block = self._stamp(block.number - 1)
            return block

    def roll_extent(self, block: BlockStamp) -> RollExtent:
        """How far the roll at the end of the second of `block` goes, as of the newest block.

        What the contract says of a past second no later block changes, so a reading that was interrupted may go on with
        a new extent: nodes forget the state of old blocks.

        Raises `SnapshotTooFresh`, `ChainForked`, `TooManySeats`, `WrongChain`, `ContractMissing`, `ContractChanged`.
        """
        with self._node_errors():
            read_at = self._stamp("latest")
            if read_at.timestamp <= block.timestamp:
                raise SnapshotTooFresh(f"block {block.number} is the newest")
            self._check_both_stand(block, read_at)
            chain_id, code_hash = self._check(read_at.number)
            last = self._contract.functions.lastTokenId().call(block_identifier=read_at.number)
            self._check_both_stand(block, read_at)
        if last > SEATS_MAX:
            raise TooManySeats(str(last))
        return RollExtent(block, read_at, chain_id, self.address, code_hash, last)

    def roll_page(self, block: BlockStamp, read_at: BlockStamp, first: int, count: int) -> tuple[Seat, ...]:
        """The seats of tokens `first` to `first + count - 1` that there were at the end of `block`'s second.

        Tokens that were not issued yet or destroyed by then are left out. `count` is 1 to `SEATS_PER_PAGE`.
        Raises `ChainForked` once either block is no longer part of the chain.
        """
        if first < 1 or not 1 <= count <= SEATS_PER_PAGE:
            raise ValueError(f"a page is 1 to {SEATS_PER_PAGE} tokens, from token 1 on")
        with self._node_errors():
            # Before, so that a reorganisation is not taken for a node that makes no sense; and after.
            self._check_both_stand(block, read_at)
            told = self._contract.functions.roll(first, count, block.timestamp).call(block_identifier=read_at.number)
            self._check_both_stand(block, read_at)
        if len(told) != count:
            raise RollDoesNotAddUp(f"{len(told)} seats told of {count}")
        seats = (_seat(token_id, seat) for token_id, seat in enumerate(told, first))
        return tuple(seat for seat in seats if seat is not None)

    def roll_totals(self, block: BlockStamp, read_at: BlockStamp, addresses: Iterable[str]) -> RollTotals:
        """What the contract states of the whole roll, and of `addresses`: all members and delegates (`voters_of`).

        Raises `ChainForked` once either block is no longer part of the chain.
        """
        time, told = block.timestamp, self._contract.functions
        asked = sorted({to_checksum_address(address) for address in addresses})
        with self._node_errors():
            self._check_both_stand(block, read_at)
            total, *census = self._ask_all(
                [told.getPastTotalSupply(time), *(told.census(int(each), time) for each in MemberClass)], read_at.number
            )
            answers: list[Any] = []
            for at in range(0, len(asked), ADDRESSES_PER_QUESTION):
                some = asked[at : at + ADDRESSES_PER_QUESTION]
                answers += told.standings(some, time).call(block_identifier=read_at.number)
            self._check_both_stand(block, read_at)
        if len(answers) != len(asked):
            raise RollDoesNotAddUp(f"{len(answers)} standings told of {len(asked)}")
        standings: dict[str, Standing] = {
            address: Standing(votes, MemberClass(member_class) if member_class else None, since)
            for address, (votes, member_class, since) in zip(asked, answers, strict=True)
        }
        return RollTotals(total, dict(zip(MemberClass, census, strict=True)), standings)

    def roll_at(self, block: BlockStamp) -> Roll:
        """Every seat at the end of the second of `block`, all read at one later block. It adds up or is not returned.

        Raises what `roll_extent` raises, and `RollDoesNotAddUp`.
        """
        extent = self.roll_extent(block)
        seats: list[Seat] = []
        for first in range(1, extent.last_token_id + 1, SEATS_PER_PAGE):
            count = min(SEATS_PER_PAGE, extent.last_token_id + 1 - first)
            seats += self.roll_page(block, extent.read_at, first, count)
        totals = self.roll_totals(block, extent.read_at, voters_of(seats))
        add_up(seats, totals)
        return Roll(block, extent.chain_id, self.address, extent.code_hash, tuple(seats), totals.census)

    def _check_both_stand(self, block: BlockStamp, read_at: BlockStamp) -> None:
        self._check_stands(block)
        self._check_stands(read_at)

    # --- Writing ---
    #
    # Each builds the registrar's signed order, which is not sent yet; `nonce` is `next_nonce()` unless given. All raise
    # `ReadOnly`, `FeeTooHigh` and `CallRefused`, by the name of the contract's error.

    def build_admission(
        self,
        member: str,
        member_class: MemberClass,
        deadline: int,
        approvals: Sequence[Approval],
        nonce: int | None = None,
    ) -> SignedTransaction:
        """Admits `member`, as two different officers approved it (`typed_data.admission`).

        `CallRefused`: AlreadyMember, SignatureExpired, NotOfficer, SameOfficer, InvalidSignature, NotRegistrar ...
        """
        first, second = _pair(approvals)
        call = self._contract.functions.admit(to_checksum_address(member), int(member_class), deadline, first, second)
        return self._build(call, nonce)

    def build_removal(self, member: str, nonce: int | None = None) -> SignedTransaction:
        """Removes `member`. `CallRefused`: NotMember, NotRegistrar."""
        return self._build(self._contract.functions.remove(to_checksum_address(member)), nonce)

    def build_class_change(self, member: str, member_class: MemberClass, nonce: int | None = None) -> SignedTransaction:
        """Puts `member` in another class. `CallRefused`: NotMember, ClassUnchanged, NotRegistrar."""
        return self._build(self._contract.functions.changeClass(to_checksum_address(member), int(member_class)), nonce)

    def build_rekey(
        self,
        old: str,
        new: str,
        deadline: int,
        old_signature: bytes,
        new_signature: bytes,
        nonce: int | None = None,
    ) -> SignedTransaction:
        """Gives the membership of `old` to `new`, as both signed it (`typed_data.rekey`).

        `CallRefused`: NotMember, AlreadyMember, SignatureExpired, InvalidSignature, NotRegistrar.
        """
        call = self._contract.functions.rekey(
            to_checksum_address(old), to_checksum_address(new), deadline, old_signature, new_signature
        )
        return self._build(call, nonce)

    def build_delegation(
        self, delegate: str, signed_nonce: int, expiry: int, signature: bytes, nonce: int | None = None
    ) -> SignedTransaction:
        """Carries a member's signed delegation (`typed_data.delegation`); anybody may, the registrar pays the gas.

        Who delegates is whoever signed; a signature of something else therefore is a stranger's: NotMember. The member
        must sign with a key: ERC-5805 knows no contracts here. `CallRefused`: NotMember, DelegationCapReached,
        VotesExpiredSignature, InvalidAccountNonce. ValueError for what is not 65 bytes.
        """
        if len(signature) != SIGNATURE_BYTES:
            raise ValueError(f"a signature has {SIGNATURE_BYTES} bytes")
        r, s, v = signature[:32], signature[32:64], signature[64]
        call = self._contract.functions.delegateBySig(to_checksum_address(delegate), signed_nonce, expiry, v, r, s)
        return self._build(call, nonce)

    def build_office_change(
        self,
        office: Office,
        account: str,
        *,
        holds: bool,
        deadline: int,
        approvals: Sequence[Approval],
        nonce: int | None = None,
    ) -> SignedTransaction:
        """Announces a change of offices (`typed_data.office_change`); its number is then `last_change()`."""
        first, second = _pair(approvals)
        call = self._contract.functions.announceChange(
            int(office), to_checksum_address(account), holds, deadline, first, second
        )
        return self._build(call, nonce)

    def build_carrying_out(self, change: int, nonce: int | None = None) -> SignedTransaction:
        """Carries out an announced change. `CallRefused`: ChangeUnknown, ChangeNotReady, ChangeLapsed ..."""
        return self._build(self._contract.functions.carryOutChange(change), nonce)

    def build_withdrawal(
        self, change: int, deadline: int, approvals: Sequence[Approval], nonce: int | None = None
    ) -> SignedTransaction:
        """Withdraws an announced change (`typed_data.office_withdrawal`). `CallRefused`: ChangeUnknown ..."""
        first, second = _pair(approvals)
        return self._build(self._contract.functions.withdrawChange(change, deadline, first, second), nonce)


def voters_of(seats: Iterable[Seat]) -> set[str]:
    """Whose votes `roll_totals` has to be asked for: of the members and of their delegates."""
    return {address for seat in seats for address in (seat.address, seat.delegate)}


def _seat(token_id: int, told: Any) -> Seat | None:
    address, member_class, delegate, since = told
    return Seat(token_id, address, MemberClass(member_class), delegate, since) if member_class else None


def _pair(approvals: Sequence[Approval]) -> tuple[tuple[ChecksumAddress, bytes], ...]:
    if len(approvals) != APPROVALS:
        raise ValueError(f"{APPROVALS} approvals, not {len(approvals)}")
    return tuple((to_checksum_address(approval.officer), approval.signature) for approval in approvals)
