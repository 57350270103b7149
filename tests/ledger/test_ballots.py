"""Votes: signed as wallets sign, to the byte; signatures in one form only; and how many seats a vote counts for."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_keys import keys
from hypothesis import given
from hypothesis import strategies as st

from ledger import ballots
from ledger.ballots import Form, Seat, SignedVote, VoteRefused, weighed
from ledger.canonical import INTEGER_MAX
from ledger.constitution import MOTION, PARAMETERS

CONTRACT = "0xAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAb"
FORM = Form(UUID("018f3a6c-0000-7000-8000-00000000002a"), ("artist_share_bp", "plays"), 31_337, CONTRACT)
VOTE = (7_400, 9), 3, 1_772_323_200
KEY = keys.PrivateKey(bytes(range(1, 33)))
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

forms = st.builds(
    Form,
    st.uuids(),
    st.lists(st.sampled_from([*PARAMETERS, MOTION]), min_size=1, max_size=8, unique=True).map(tuple),
    st.integers(1, INTEGER_MAX),
    st.integers(0, (1 << 160) - 1).map(lambda number: f"0x{number:040x}"),
)
whole = st.integers(0, INTEGER_MAX)


def signed(digest: bytes, key: keys.PrivateKey = KEY) -> bytes:
    signature = key.sign_msg_hash(digest).to_bytes()
    return signature[:64] + bytes([27 + signature[64]])


# --- What is signed ---


def test_the_digest_of_a_vote_is_this_one_for_ever() -> None:
    assert ballots.digest(FORM, *VOTE).hex() == "53a6ee2d9763273478327c8e5c941737c9c4488ae7ac54f14049400305e3003f"
    motion = Form(UUID(int=7), (MOTION,), 1, "0x" + "00" * 19 + "01")
    assert (
        ballots.digest(motion, [1], 1, INTEGER_MAX).hex()
        == "b60d0ca14e0475596c6efbac52c28f1ee521e5f1bed8f40abaa5c56d0a7765c4"
    )
    assert ballots.keccak_256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


@given(forms, st.data(), st.integers(1, INTEGER_MAX), whole)
def test_it_is_what_wallets_sign_for_the_typed_data(form: Form, data: st.DataObject, nonce: int, deadline: int) -> None:
    values = data.draw(st.lists(whole, min_size=len(form.parameters), max_size=len(form.parameters)))
    told = encode_typed_data(full_message=ballots.typed_data(form, values, nonce, deadline))
    digest = ballots.keccak_256(b"\x19" + told.version + told.header + told.body)
    assert ballots.digest(form, values, nonce, deadline) == digest


def test_what_a_wallet_signed_is_its_addresss_vote() -> None:
    account = Account.from_key(KEY.to_bytes())
    typed = ballots.typed_data(FORM, *VOTE)
    wallet = account.sign_typed_data(full_message=typed)
    assert ballots.signer(ballots.digest(FORM, *VOTE), bytes(wallet.signature)) == account.address.lower()


@pytest.mark.parametrize(
    "change",
    [
        {"ballot_id": UUID(int=1)},
        {"parameters": ("plays", "artist_share_bp")},
        {"parameters": ("artist_share_bp", "reserve_cut_bp")},
        {"chain_id": 1},
        {"contract": "0x" + "cd" * 20},
    ],
)
def test_a_signature_holds_for_one_ballot_one_chain_and_one_contract(change: dict[str, Any]) -> None:
    other = ballots.digest(replace(FORM, **change), *VOTE)
    signature = signed(ballots.digest(FORM, *VOTE))
    with suppress(VoteRefused):
        assert ballots.signer(other, signature) != KEY.public_key.to_address()


@pytest.mark.parametrize(
    ("values", "nonce", "deadline"),
    [
        ((7_400,), 1, 1),
        ((7_400, 9, 9), 1, 1),
        ((-1, 9), 1, 1),
        ((INTEGER_MAX + 1, 9), 1, 1),
        ((7_400, 9), 0, 1),
        ((7_400, 9), INTEGER_MAX + 1, 1),
        ((7_400, 9), 1, -1),
        ((7_400, 9), 1, INTEGER_MAX + 1),
    ],
)
def test_what_is_no_vote_has_no_digest(values: tuple[int, ...], nonce: int, deadline: int) -> None:
    for made in (ballots.digest, ballots.typed_data):
        with pytest.raises(VoteRefused):
            made(FORM, values, nonce, deadline)


@pytest.mark.parametrize("change", [{"contract": "0x12"}, {"contract": ""}, {"chain_id": 0}])
def test_a_vote_for_no_contract_has_no_digest(change: dict[str, Any]) -> None:
    with pytest.raises(VoteRefused):
        ballots.digest(replace(FORM, **change), *VOTE)


# --- Signatures ---


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32).filter(any))
def test_whoever_signed_is_found(digest: bytes, seed: bytes) -> None:
    key = keys.PrivateKey((1 + int.from_bytes(seed, "big") % (ORDER - 1)).to_bytes(32, "big"))
    assert ballots.signer(digest, signed(digest, key)) == key.public_key.to_address()


def test_a_signature_has_one_form_only() -> None:
    digest = ballots.digest(FORM, *VOTE)
    good = signed(digest)
    r, s, v = good[:32], int.from_bytes(good[32:64], "big"), good[64]
    mirrored = r + (ORDER - s).to_bytes(32, "big") + bytes([55 - v])
    others = [
        mirrored,
        good[:64],
        good + b"\0",
        good[:64] + bytes([v - 27]),
        good[:64] + bytes([v + 8]),
        bytes(32) + good[32:],
        good[:32] + bytes(32) + good[64:],
        ORDER.to_bytes(32, "big") + good[32:],
        good[:32] + ORDER.to_bytes(32, "big") + good[64:],
        b"",
    ]
    assert ballots.signer(digest, good) == KEY.public_key.to_address()
    for signature in others:
        with pytest.raises(VoteRefused):
            ballots.signer(digest, signature)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64), st.sampled_from([27, 28]))
def test_any_65_bytes_are_somebodys_or_refused(digest: bytes, numbers: bytes, v: int) -> None:
    with suppress(VoteRefused):
        assert len(ballots.signer(digest, numbers + bytes([v]))) == 42


def test_without_the_fast_library_the_same_signatures_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = ballots.digest(FORM, *VOTE)
    monkeypatch.setattr(ballots, "HAS_COINCURVE", False)
    monkeypatch.setenv("ECC_BACKEND_CLASS", "eth_keys.backends.NativeECCBackend")
    assert ballots.signer(digest, signed(digest)) == KEY.public_key.to_address()
    with pytest.raises(VoteRefused):
        ballots.signer(digest, (5).to_bytes(32, "big") + (1).to_bytes(32, "big") + b"\x1b")


# --- Whom it counts for ---


def _address(number: int) -> str:
    return f"0x{number:040x}"


def seats(**delegates: int) -> list[Seat]:
    """Seats 1 to 5; by `delegates` (`_2=1`) one has delegated to another."""
    to = {int(name[1:]): delegate for name, delegate in delegates.items()}
    return [Seat(_address(n), "artist" if n > 3 else "listener", _address(to.get(n, n))) for n in range(1, 6)]


def cast(*numbers: int, nonce: int = 1) -> list[SignedVote]:
    return [SignedVote(_address(number), (number,), nonce, 1, b"") for number in numbers]


def counted(seats: list[Seat], votes: list[SignedVote]) -> dict[int, list[int]]:
    """Of each vote that counts, by its seat, the seats that count with it."""
    return {
        ballots.number_of(each.seat.address): [ballots.number_of(seat.address) for seat in each.delegators]
        for each in weighed(seats, votes)
    }


def test_a_seat_counts_with_its_delegates_vote_unless_its_member_votes_herself() -> None:
    assert counted(seats(_2=1, _4=1), cast(1)) == {1: [2, 4]}
    assert counted(seats(_2=1, _4=1), cast(4, 1)) == {1: [2], 4: []}
    assert counted(seats(_2=1), cast(2)) == {2: []}


def test_a_delegation_goes_one_hop_and_no_further() -> None:
    assert counted(seats(_3=2, _2=1), cast(1)) == {1: [2]}


def test_delegates_in_a_circle_count_for_themselves() -> None:
    assert counted(seats(_1=2, _2=1), cast(1, 2)) == {1: [], 2: []}
    assert counted(seats(_1=2, _2=1), cast(1)) == {1: [2]}


def test_whoever_has_no_seat_counts_neither_for_herself_nor_for_others() -> None:
    assert counted(seats(_2=9), cast(9, 1)) == {1: []}


def test_of_several_votes_the_one_with_the_highest_number_counts() -> None:
    votes = [*cast(1, nonce=2), replace(cast(1)[0], values=(7,), nonce=3), *cast(1)]
    (found,) = weighed(seats(), votes)
    assert found.vote.values == (7,)


def test_addresses_are_numbers_whatever_the_case_of_their_letters() -> None:
    one = Seat("0x" + "aB" * 20, "worker", "0x" + "AB" * 20)
    (found,) = weighed([one], [SignedVote("0x" + "Ab" * 20, (1,), 1, 1, b"")])
    assert found.seat is one


@given(
    st.lists(st.integers(1, 12), min_size=12, max_size=12),
    st.sets(st.integers(1, 14)),
)
def test_every_seat_counts_once_at_the_most_and_each_class_for_itself(delegates: list[int], voters: set[int]) -> None:
    classes = ("listener", "artist", "worker")
    held = [Seat(_address(n + 1), classes[n % 3], _address(delegate)) for n, delegate in enumerate(delegates)]
    found = weighed(held, cast(*voters))
    counting = [seat for each in found for seat in (each.seat, *each.delegators)]
    assert len({seat.address for seat in counting}) == len(counting)
    for each in found:
        assert sum(each.counted().weight.values()) == each.weight
        assert all(seat.delegate == each.seat.address for seat in each.delegators)
    silent = {seat.address for seat in held} - {seat.address for seat in counting}
    assert all(ballots.number_of(address) not in voters for address in silent)
    assert [ballots.number_of(each.seat.address) for each in found] == sorted(voters & set(range(1, 13)))
