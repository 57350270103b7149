"""A count as the log tells it: the bytes whose hash the registry has, and entries that stay within their length."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import counting, entries
from ledger.ballots import Form, Seat, SignedVote, number_of
from ledger.canonical import INTEGER_MAX
from ledger.constitution import CLASSES, MOTION, PARAMETERS, Bound, Constitution
from ledger.errors import EntryRefused
from ledger.tiles import ENTRY_BYTES_MAX

CONTRACT = "0x" + "Ab" * 20
FORM = Form(UUID("018f3a6c-0000-7000-8000-00000000002a"), ("artist_share_bp", "plays"), 31_337, CONTRACT)
BALLOT = counting.Ballot(
    FORM,
    text="Nine plays are too many\nEight are enough.",
    opened_at=1_772_323_200,
    closed_at=1_772_582_400,
    block_number=12,
    block_hash="0x" + "1f" * 32,
    block_timestamp=1_772_323_140,
    status_quo={"artist_share_bp": 7_000, "plays": 9},
)


def address(number: int) -> str:
    return f"0x{number:040x}"


def vote(number: int, *values: int, is_kept: bool = False) -> SignedVote:
    return SignedVote(address(number), values, 1, 1_772_582_400, bytes(64) + b"\x1b", is_kept)


SEATS = [
    Seat(address(3), "artist", address(1)),
    Seat(address(1), "listener", address(1)),
    Seat(address(2), "worker", address(2)),
]


def test_the_registrys_hash_is_of_these_bytes_for_ever() -> None:
    found = counting.counted(BALLOT, SEATS, [vote(2, 7_200, 8, is_kept=True), vote(1, 7_600, 8)], Constitution())
    kinds = [entries.encode(*told) for told in found.entries()]
    assert kinds[0] == (
        b'{"ballot":"018f3a6c-0000-7000-8000-00000000002a",'
        b'"block_hash":"0x1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f","block_number":12,'
        b'"block_timestamp":1772323140,"cast":{"artist":1,"listener":1,"worker":1},'
        b'"census":{"artist":1,"listener":1,"worker":1},"chain_id":31337,"closed_at":1772582400,'
        b'"contract":"0xAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAbAb","kept_key_weight":1,"opened_at":1772323200,'
        b'"parameters":[{"median":7600,"parameter":"artist_share_bp","result":7500,"status_quo":7000},'
        b'{"median":8,"parameter":"plays","result":8,"status_quo":9}],"phantom_weight":0,'
        b'"text_sha256":"c7839d3f2e63d744851a7c65c133da1417ae95db172e4dc60b22d7e453e1e6c3","type":"ballot","v":1}'
    )
    assert found.result_hash.hex() == "fa8c5d247c0644ff99266fa8825e3d9d5f02887d6985c6e91972ac908b1358d3"
    assert kinds[1] == (
        b'{"ballot":"018f3a6c-0000-7000-8000-00000000002a","type":"votes","v":1,"votes":['
        b'{"address":"0x0000000000000000000000000000000000000001","deadline":1772582400,"kept_key":false,'
        b'"member_class":"listener","nonce":1,"signature":"0x' + b"00" * 64 + b'1b","values":[7600,8]},'
        b'{"address":"0x0000000000000000000000000000000000000002","deadline":1772582400,"kept_key":true,'
        b'"member_class":"worker","nonce":1,"signature":"0x' + b"00" * 64 + b'1b","values":[7200,8]}]}'
    )
    assert kinds[2] == (
        b'{"ballot":"018f3a6c-0000-7000-8000-00000000002a","delegations":['
        b'{"address":"0x0000000000000000000000000000000000000003",'
        b'"delegate":"0x0000000000000000000000000000000000000001","member_class":"artist"}],'
        b'"type":"delegations","v":1}'
    )
    rules = {"version": 2, "effective_epoch": 24_315, "decided_by": "ballot:1", "payout_minimum_minor": 1_000}
    assert entries.encode(entries.RULES, {**rules, "listen_ms_max": 30_000}) == (
        b'{"decided_by":"ballot:1","effective_epoch":24315,"listen_ms_max":30000,"payout_minimum_minor":1000,'
        b'"type":"rules","v":1,"version":2}'
    )


def test_the_longest_votes_and_delegations_fit_into_their_entries() -> None:
    """Of a ballot on all parameters, with the largest numbers there are."""
    wide = Constitution({**Constitution().parameters, "payout_minimum_minor": Bound(1, INTEGER_MAX, 1)})
    last = (1 << 160) - 1
    longest = [9_000, 5_000, 9_000, 16_000, 12, INTEGER_MAX, 60_000]
    members = entries.VOTES_AN_ENTRY_MAX + 1
    voters = [Seat(address(last - n), "listener", address(last - n)) for n in range(members)]
    others = [Seat(address(n), "listener", address(last)) for n in range(1, entries.DELEGATIONS_AN_ENTRY_MAX + 2)]
    votes = [
        SignedVote(seat.address, tuple(longest), INTEGER_MAX, INTEGER_MAX, b"\xff" * 64 + b"\x1c") for seat in voters
    ]
    status_quo = dict(zip(PARAMETERS, longest, strict=True))
    ballot = replace(BALLOT, form=replace(FORM, parameters=PARAMETERS, chain_id=INTEGER_MAX), status_quo=status_quo)
    told = list(counting.counted(ballot, [*voters, *others], votes, wide).entries())
    assert [kind for kind, _ in told] == [
        entries.BALLOT,
        *[entries.VOTES] * 2,
        *[entries.DELEGATIONS] * 2,
    ]
    assert [len(entry["votes"]) for kind, entry in told if kind == entries.VOTES] == [members - 1, 1]
    assert max(len(entries.encode(*each)) for each in told) <= ENTRY_BYTES_MAX


@given(st.lists(st.tuples(st.integers(1, 40), st.sampled_from([0, 1]), st.booleans()), max_size=30))
def test_what_is_told_adds_up_and_stands_in_order(cast: list[tuple[int, int, bool]]) -> None:
    seats = [Seat(address(n), CLASSES[n % 3], address(n % 7 + 1)) for n in range(1, 41)]
    ballot = replace(BALLOT, form=replace(FORM, parameters=(MOTION,)), status_quo={MOTION: 0})
    votes = [replace(vote(n, value, is_kept=kept), nonce=at + 1) for at, (n, value, kept) in enumerate(cast)]
    found = counting.counted(ballot, seats, votes, Constitution())
    told = list(found.entries())
    for _, entry in told:
        for name in entry.keys() & {"votes", "delegations"}:
            places = [number_of(each["address"]) for each in entry[name]]
            assert places == sorted(set(places))
    counted = [each for _, entry in told for name in ("votes", "delegations") for each in entry.get(name, [])]
    assert len(counted) == sum(found.entry["cast"].values()) == found.tally.cast_weight
    kept = {each["address"] for each in counted if each.get("kept_key")}
    assert found.kept_key_weight == sum(each["address"] in kept or each.get("delegate") in kept for each in counted)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (entries.BALLOT, {"block_hash": "1f" * 32}),
        (entries.BALLOT, {"census": {"listener": 1}}),
        (entries.BALLOT, {"parameters": []}),
        (entries.BALLOT, {"chain_id": 0}),
        (entries.VOTES, {"votes": []}),
        (
            entries.DELEGATIONS,
            {"delegations": [{"address": address(1), "member_class": "king", "delegate": address(2)}]},
        ),
    ],
)
def test_entries_of_another_form_are_refused(kind: str, change: dict[str, object]) -> None:
    told = dict(counting.counted(BALLOT, SEATS, [vote(1, 7_600, 8)], Constitution()).entries())
    with pytest.raises(EntryRefused):
        entries.encode(kind, {**told[kind], **change})


@pytest.mark.parametrize(
    "change",
    [
        {"signature": "0x" + "AA" * 65},
        {"signature": "00" * 65},
        {"kept_key": 1},
        {"nonce": 0},
        {"values": []},
        {"member_class": "member"},
        {"address": "0x12"},
    ],
)
def test_votes_of_another_form_are_refused(change: dict[str, object]) -> None:
    told = dict(counting.counted(BALLOT, SEATS, [vote(1, 7_600, 8)], Constitution()).entries())[entries.VOTES]
    with pytest.raises(EntryRefused):
        entries.encode(entries.VOTES, {**told, "votes": [{**told["votes"][0], **change}]})
