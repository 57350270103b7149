"""Receipts: what is built is parsed and holds, and nothing that only looks like one does."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ledger import canonical, receipts
from ledger.errors import DomainError, NoteRefused, ProofRefused
from ledger.note import parse_note
from ledger.receipts import Promise, Proof
from tests.ledger import log_factory as factory
from tests.ledger.log_factory import EPOCH, KEYS, VERIFIERS, publish, story

# Of C2SP tlog-proof: the lines before the checkpoint.
EXAMPLE = """c2sp.org/tlog-proof@v1
extra YWdl
index 73894
gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=
B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=

"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A receipt of each kind."""
    told = story()
    published = publish(tmp_path_factory.mktemp("log"), told.entries)
    return {
        "play": factory.play_receipt(told.maker, published, told.maker.plays[0]),
        "wallet": factory.wallet_receipt(told.maker, published, told.ann, EPOCH),
        "payee": factory.payee_receipt(published, told.maker.splits[told.song][0], 1),
    }


def test_the_specifications_example_is_parsed(written: dict[str, str]) -> None:
    checkpoint = written["play"].partition("\n\n")[2]
    proof = receipts.parse((EXAMPLE + checkpoint).encode())
    assert (proof.extra, proof.index, len(proof.path)) == (b"age", 73_894, 2)
    assert proof.checkpoint == parse_note(checkpoint.encode())
    assert receipts.build(proof.extra, proof.index, proof.path, checkpoint) == EXAMPLE + checkpoint
    bare = EXAMPLE.replace("extra YWdl\n", "") + checkpoint
    assert receipts.build(b"", 73_894, proof.path, checkpoint) == bare
    assert receipts.parse(bare.encode()).extra == b""


@pytest.mark.parametrize("kind", ["play", "wallet", "payee"])
def test_a_receipt_of_any_kind_holds(written: dict[str, str], kind: str) -> None:
    proof = receipts.parse(written[kind].encode())
    shown = receipts.verify(proof, VERIFIERS)
    assert shown.at == proof.index
    with pytest.raises(NoteRefused, match="no signature by a known key"):
        receipts.verify(proof, [])


@pytest.mark.parametrize(
    "change",
    [
        ("@v1", "@v2"),
        ("\nextra ", "\nextra  "),
        ("\nindex ", "\nindex 0"),
        ("\nindex ", "\nindex -"),
        ("\nindex ", "\nnumber "),
        ("\n\n", "\n"),
        ("\n", "\r\n"),
        ("\n\n", "\n\n\n"),
        ("index", "extra YQ==\nindex"),
        ("\n\n", "\n" + "A" * 40 + "\n\n"),
        ("\n\n", "\n" + ("A" * 43 + "=\n") * 64 + "\n"),
        ("c2sp", "é"),
    ],
)
def test_what_is_no_proof_is_refused(written: dict[str, str], change: tuple[str, str]) -> None:
    with pytest.raises(NoteRefused):
        receipts.parse(written["play"].replace(*change, 1).encode())


def test_what_is_too_long_is_refused() -> None:
    with pytest.raises(NoteRefused, match="too long"):
        receipts.parse(b"x" * (receipts.RECEIPT_BYTES_MAX + 1))


def _told(proof: Proof) -> dict[str, Any]:
    told = canonical.decode(proof.extra)
    assert isinstance(told, dict)
    return told


CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("play", {"index": 1}),
    ("play", {"index": -1}),
    ("play", {"index": "0"}),
    ("play", {"path": []}),
    ("play", {"path": [[1, [2_000], "ab" * 32]] * 2}),
    ("play", {"path": [[1, [2**53 - 1], "ab" * 32]]}),
    ("play", {"path": [[1, [-1], "ab" * 32]]}),
    ("play", {"path": [[1, [1, 2], "ab" * 32]]}),
    ("play", {"path": [[1, [True], "ab" * 32]]}),
    ("play", {"path": [[1, [1], "AB" * 32]]}),
    ("play", {"path": [1]}),
    ("play", {"path": [[1, [1], "ab" * 32]] * 10_000}),
    ("play", {"path": "none"}),
    ("play", {"salt": "00" * 32}),
    ("play", {"salt": "00"}),
    ("play", {"entry": "e30="}),
    ("play", {"entry": "!"}),
    ("play", {"entry": 1}),
    ("play", {"opening": {}}),
    ("play", {"opening": None}),
    ("play", {"type": "wallet"}),
    ("play", {"type": "gift"}),
    ("play", {"type": None}),
    ("play", {"note": ""}),
    ("wallet", {"amounts": [0, 5_000_000, 0, 5_000_000]}),
    ("wallet", {"amounts": [0, 5_000_000, 1, 5_000_000]}),
    ("wallet", {"amounts": [0, 0, 0]}),
    ("wallet", {"amounts": None}),
    ("wallet", {"opening": {"listener": "x", "epoch": EPOCH}}),
    ("wallet", {"type": "play"}),
    ("payee", {"salt": "00" * 32}),
    ("payee", {"opening": {"payee": "x", "split": "y"}}),
    ("payee", {"type": "play"}),
]


@pytest.mark.parametrize(("kind", "change"), CHANGES)
def test_a_receipt_that_tells_something_else_is_refused(
    written: dict[str, str], kind: str, change: dict[str, Any]
) -> None:
    proof = receipts.parse(written[kind].encode())
    with pytest.raises(DomainError):
        receipts.verify(replace(proof, extra=canonical.encode(_told(proof) | change)), VERIFIERS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("play", "00000000-0000-0000-0000-000000000000"),
        ("listener", "00000000-0000-0000-0000-00000000000G"),
        ("track", "00000000-0000-0000-0000-000000000000"),
        ("epoch", EPOCH + 1),
        ("ordinal", 2),
        ("ordinal", 0),
        ("ordinal", 70_000),
        ("kind", "buyout"),
        ("kind", "gift"),
        ("kind", []),
        ("price_micro", 1_999),
        ("price_micro", -1),
        ("price_micro", True),
    ],
)
def test_a_play_is_not_another_one(written: dict[str, str], name: str, value: object) -> None:
    proof = receipts.parse(written["play"].encode())
    told = _told(proof)
    opening = told["opening"] | {name: value}
    with pytest.raises(ProofRefused):
        receipts.verify_play(replace(proof, extra=canonical.encode(told | {"opening": opening})), VERIFIERS)


def test_a_proof_of_another_place_or_path_is_refused(written: dict[str, str]) -> None:
    proof = receipts.parse(written["play"].encode())
    for other in (
        replace(proof, index=proof.index + 1),
        replace(proof, index=2**62),
        replace(proof, path=proof.path[1:]),
        replace(proof, path=(*proof.path, bytes(32))),
        replace(proof, extra=b""),
        replace(proof, extra=b"[]"),
        replace(proof, extra=proof.extra + b" "),
    ):
        with pytest.raises(DomainError):
            receipts.verify_play(other, VERIFIERS)


def test_no_byte_changed_in_a_receipt_makes_it_show_something_else(written: dict[str, str]) -> None:
    data = written["wallet"].encode()
    shown = receipts.verify(receipts.parse(data), VERIFIERS)
    # One of two signatures may be made an unknown key's: those are passed over.
    unsigned = data.index(b"\n\n") + 1
    for place in range(0, len(data), 37):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        try:
            found = receipts.verify(receipts.parse(changed), VERIFIERS)
        except DomainError:
            continue
        assert found == shown
        assert place > unsigned


# --- Promises ---

PROMISE = Promise(factory.ORIGIN, bytes(range(32)), 2_000, 1_790_000_000)


def test_a_promise_is_read_as_it_was_signed() -> None:
    written = receipts.promise(PROMISE, KEYS)
    assert receipts.verify_promise(written.encode(), VERIFIERS) == PROMISE
    assert str(PROMISE).splitlines() == [
        "streamcoop promise v1",
        "coop.example/log",
        bytes(range(32)).hex(),
        "2000",
        "1790000000",
    ]


@pytest.mark.parametrize(
    "change", [("2000", "1000"), ("promise v1", "promise v2"), ("1790000000\n", "1790000000\n1\n"), ("00", "0g")]
)
def test_what_is_no_promise_is_refused(change: tuple[str, str]) -> None:
    with pytest.raises(NoteRefused):
        receipts.verify_promise(receipts.promise(PROMISE, KEYS).replace(*change, 1).encode(), VERIFIERS)


def test_a_head_is_no_promise_and_a_promise_no_head(tmp_path: Path) -> None:
    published = publish(tmp_path, story().entries)
    with pytest.raises(NoteRefused):
        receipts.verify_promise(published.checkpoint.encode(), VERIFIERS)
    proof = receipts.build(b"", 0, [], receipts.promise(PROMISE, KEYS))
    with pytest.raises(NoteRefused, match="extension lines"):
        receipts.parse(proof.encode())


def test_base64_of_the_extra_data_is_the_only_way_to_write_it(written: dict[str, str]) -> None:
    extra = base64.b64encode(receipts.parse(written["play"].encode()).extra).decode()
    with pytest.raises(NoteRefused):
        receipts.parse(written["play"].replace(extra, extra.rstrip("=") + "====", 1).encode())
