"""The browser's verifier against the core's: what holds there holds here, and what is refused there is refused here."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest

from ledger import canonical, entries, founding, receipts, sumtree
from ledger.errors import DomainError, ProofRefused
from ledger.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from ledger.note import NOTE_BYTES_MAX, KeyType, SigningKey, parse_note, signed, verified
from ledger.receipts import Receipt
from ledger.sumtree import AMOUNT_MAX, Kind, Leaf, Node, SumTree
from tests.ledger import log_factory as factory
from tests.ledger.log_factory import CHAIN_ID, EPOCH, FOUNDERS, KEYS, NOTE, ORIGIN, VERIFIERS, WITNESSES, Story, story
from tests.web.proof_in_node import MODULES, Outcome, run

SEED = 1844
MUTATIONS = 1_500
ED25519 = [key for key in VERIFIERS if key.type is KeyType.ED25519]
"""The keys whose signatures a browser can verify."""
PINNED: dict[str, Any] = {
    "v": 1,
    "origin": ORIGIN,
    "eras": [{"from": 0, "keys": [str(key) for key in VERIFIERS]}],
    "founding": None,
    "how": "given",
    "witnesses": [],
    "witnesses_needed": 0,
    "before": [],
    "head": "",
}


@dataclass(frozen=True)
class Written:
    """A story's log, and receipts under its head."""

    story: Story
    published: factory.Published
    receipts: dict[str, str]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    told = story()
    published = factory.publish(tmp_path_factory.mktemp("log"), told.entries)
    kept = {f"play {n}": factory.play_receipt(told.maker, published, play) for n, play in enumerate(told.maker.plays)}
    for name, listener in (("ann", told.ann), ("ben", told.ben)):
        for epoch in (EPOCH, EPOCH + 1):
            kept[f"wallet {name} {epoch}"] = factory.wallet_receipt(told.maker, published, listener, epoch)
    for track, splits in told.maker.splits.items():
        for split in splits:
            for place in range(len(split.payees)):
                kept[f"payee {track} {split.split} {place}"] = factory.payee_receipt(published, split, place)
    return Written(told, published, kept)


def b64(data: bytes | str) -> str:
    return b64encode(data.encode() if isinstance(data, str) else data).decode()


def receipt_job(data: bytes | str, pinned: dict[str, Any] = PINNED, **expect: Any) -> dict[str, Any]:
    return {"op": "receipt", "data": b64(data), "pinned": pinned, "expect": expect}


def by_the_core(data: bytes) -> Receipt | None:
    """What the core finds with the keys that a browser can use; None if it refuses."""
    try:
        proof = receipts.parse(data)
        shown = receipts.verify(proof, ED25519)
    except DomainError:
        return None
    return shown if proof.head.origin == ORIGIN else None


def require_same(shown: Receipt, outcome: Outcome) -> None:
    """The browser shows what the core does, field by field."""
    held = outcome["held"]
    for field in shown.__dataclass_fields__:
        value = getattr(shown, field)
        if field == "entry":
            found = canonical.encode(held["entry"])
        elif isinstance(value, bytes):
            found = bytes.fromhex(held[field])
        elif isinstance(value, int):
            found = held[field]
        else:
            found, value = held[field], str(value)
        assert found == value, field


def test_every_code_is_documented_and_nothing_else() -> None:
    page = (MODULES.parents[3] / "docs" / "proof-in-the-browser.md").read_text(encoding="utf-8")
    refused, unknown = page.split("| `ProofRefused` |")[1].split("| `NoVerdict` |")
    source = "".join(file.read_text(encoding="utf-8") for file in MODULES.glob("*.js"))
    raised = set(re.findall(r'(?:new ProofRefused\(|\brefuse\(|refusedWith\(place, )"([a-z-]+)"', source))
    assert raised == set(re.findall(r"^\| `([a-z-]+)` \|", refused, re.MULTILINE))
    given_up = set(re.findall(r'new NoVerdict\("([a-z-]+)"', source))
    assert given_up == set(re.findall(r"^\| `([a-z-]+)` \|", unknown, re.MULTILINE))


# --- Receipts ---


def test_every_receipt_that_holds_shows_the_same(written: Written) -> None:
    kinds = {name.split()[0] for name in written.receipts}
    assert kinds == {"play", "wallet", "payee"}
    outcomes = run(*[receipt_job(data) for data in written.receipts.values()])
    for (name, data), outcome in zip(written.receipts.items(), outcomes, strict=True):
        shown = by_the_core(data.encode())
        assert shown is not None
        assert "held" in outcome, (name, outcome)
        require_same(shown, outcome)
        assert outcome["held"]["type"] == name.split()[0]
        head = outcome["held"]["head"]
        assert (head["origin"], head["size"]) == (ORIGIN, len(written.published.data))
        assert head["note"] == written.published.checkpoint


def test_a_receipt_as_text_is_the_same_as_its_bytes(written: Written) -> None:
    data = written.receipts["play 0"]
    text, as_bytes = run({"op": "receiptText", "text": data, "pinned": PINNED}, receipt_job(data))
    assert text == as_bytes


def test_a_receipt_is_held_to_what_is_expected_of_it(written: Written) -> None:
    play = written.story.maker.plays[0]
    data = written.receipts["play 0"]
    good = {"type": "play", "play": str(play.play), "price_micro": play.price_micro}
    good["commitment"] = play.commitment.hex()
    outcomes = run(
        receipt_job(data, **good),
        receipt_job(data, **good | {"price_micro": 1}),
        receipt_job(data, payee="somebody"),
    )
    assert "held" in outcomes[0]
    assert [outcome["refused"] for outcome in outcomes[1:]] == ["not-expected"] * 2
    assert outcomes[1]["facts"] == {"field": "price_micro", "expected": 1, "found": play.price_micro}


def test_a_receipt_tells_how_far_it_holds(written: Written) -> None:
    def told(data: str, pinned: dict[str, Any] = PINNED) -> dict[str, Any]:
        return {"op": "steps", "data": b64(data), "pinned": pinned}

    receipt = written.receipts["play 0"]
    proof = receipts.parse(receipt.encode())
    inner = canonical.decode(proof.extra)
    assert isinstance(inner, dict)

    def changed(**fields: Any) -> str:
        extra = b64(canonical.encode(inner | fields))
        return re.sub(r"^extra .*$", f"extra {extra}", receipt, count=1, flags=re.MULTILINE)

    unknown = PINNED | {"eras": [{"from": 0, "keys": [str(SigningKey(ORIGIN, KeyType.ED25519, bytes(32)).verifier)]}]}
    jobs = [
        *(told(each) for each in written.receipts.values()),
        told(receipt, unknown),
        told(changed(entry=b64(b"another"))),
        told(changed(salt="nothing")),
        told(changed(salt="00" * 32)),
    ]
    outcomes = [outcome["held"] for outcome in run(*jobs)]
    steps = outcomes[0]["all"]
    whole, cut = outcomes[: len(written.receipts)], outcomes[len(written.receipts) :]
    assert all((each["passed"], each["ended"]) == (steps, None) for each in whole)
    assert [each["passed"] for each in cut] == [steps[:0], steps[:1], steps[:2], steps[:3]]
    assert all(each["ended"] for each in cut)


def test_a_receipt_under_a_key_that_is_not_pinned_is_refused(written: Written) -> None:
    other = str(SigningKey(ORIGIN, KeyType.ED25519, bytes(32)).verifier)
    data = written.receipts["play 0"]
    outcomes = run(
        receipt_job(data, PINNED | {"eras": [{"from": 0, "keys": [other]}]}),
        receipt_job(data, PINNED | {"eras": []}),
        # Of the pinned keys only one that a browser cannot use.
        receipt_job(data, PINNED | {"eras": [{"from": 0, "keys": [str(VERIFIERS[1])]}]}),
    )
    assert [outcome["refused"] for outcome in outcomes] == ["unknown-key"] * 3


def test_a_receipt_of_another_log_is_refused(written: Written) -> None:
    (outcome,) = run(receipt_job(written.receipts["play 0"], PINNED | {"origin": "other.example/log"}))
    assert outcome["refused"] == "wrong-origin"
    assert outcome["facts"] == {"expected": "other.example/log", "found": ORIGIN}


def test_old_keys_vouch_for_old_heads_only(written: Written) -> None:
    size, data = len(written.published.data), written.receipts["play 0"]
    other = str(SigningKey(ORIGIN, KeyType.ED25519, bytes(32)).verifier)
    old = {"from": 0, "keys": [str(key) for key in VERIFIERS]}
    outcomes = run(
        receipt_job(data, PINNED | {"eras": [old, {"from": size + 1, "keys": [other]}]}),
        receipt_job(data, PINNED | {"eras": [old, {"from": size, "keys": [other]}]}),
    )
    assert "held" in outcomes[0]
    assert outcomes[1]["refused"] == "unknown-key"


def test_a_receipt_of_a_log_that_ended_holds_up_to_its_last_good_head(written: Written) -> None:
    size, data = len(written.published.data), written.receipts["play 0"]
    ended = {"origin": ORIGIN, "size": size, "root": "", "keys": [str(key) for key in VERIFIERS]}
    after = PINNED | {"origin": "coop.example/log-2", "eras": [], "before": [ended]}
    outcomes = run(receipt_job(data, after), receipt_job(data, after | {"before": [ended | {"size": size - 1}]}))
    assert "held" in outcomes[0]
    assert outcomes[1]["refused"] == "beyond-last-good-head"


def compare_with_the_core(mutated: Sequence[bytes]) -> tuple[int, int]:
    """How many hold and how many do not, in both."""
    outcomes = run(*map(receipt_job, mutated))
    held = 0
    for data, outcome in zip(mutated, outcomes, strict=True):
        shown = by_the_core(data)
        if shown is None:
            assert "refused" in outcome, data
        else:
            assert "held" in outcome, (data, outcome)
            require_same(shown, outcome)
            held += 1
    return held, len(mutated) - held


def test_no_byte_changed_in_a_receipt_makes_it_show_something_else(written: Written) -> None:
    """Every byte of what is not ML-DSA-44's signature, which a browser passes over, in one receipt of each kind."""
    chance = Random(SEED)
    for name in ("play 1", f"wallet ben {EPOCH}", next(name for name in written.receipts if name.startswith("payee"))):
        data = written.receipts[name].encode()
        until = data.index("\n— ".encode(), data.index("\n— ".encode()) + 1)
        changed = [data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :] for at in range(until)]
        held, _ = compare_with_the_core(changed)
        assert held == 0, name


def test_a_receipt_that_is_cut_short_is_refused(written: Written) -> None:
    data = written.receipts["play 1"].encode()
    first = data.index("\n— ".encode())
    whole = data.index(b"\n", first + 1) + 1
    cut = [data[:at] for at in range(whole)]
    assert compare_with_the_core(cut) == (0, len(cut))
    # Without the second signature, which it does not know, it holds.
    assert compare_with_the_core([data[:whole]]) == (1, 0)


def _mutations(written: Written, chance: Random) -> Iterator[bytes]:
    """Receipts changed in their lines, their bytes, or in a field of what they tell."""
    names = sorted(written.receipts)
    while True:
        data = written.receipts[chance.choice(names)].encode()
        kind = chance.randrange(4)
        if kind == 0:
            at = chance.randrange(len(data))
            yield data[:at] + chance.randbytes(chance.randrange(3)) + data[at + chance.randrange(3) :]
        elif kind == 1:
            lines = data.split(b"\n")
            one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
            if chance.random() < 0.5:
                lines[one], lines[other] = lines[other], lines[one]
            elif chance.random() < 0.5:
                lines.insert(one, lines[other])
            else:
                del lines[one]
            yield b"\n".join(lines)
        else:
            proof = receipts.parse(data)
            told = canonical.decode(proof.extra)
            changed = _changed(told, chance) if kind == 2 else _crossed(told, written, names, chance)
            yield _rebuilt(proof, changed)


def _rebuilt(proof: receipts.Proof, told: Any) -> bytes:
    extra = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    return receipts.build(extra, proof.index, proof.path, str(proof.checkpoint)).encode("utf-8", "surrogatepass")


def _crossed(told: Any, written: Written, names: Sequence[str], chance: Random) -> Any:
    """What one receipt tells, with a field of another's."""
    other = canonical.decode(receipts.parse(written.receipts[chance.choice(names)].encode()).extra)
    assert isinstance(other, dict)
    field = chance.choice(sorted(other))
    return {**told, field: other[field]}


STRANGE: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 2**53 - 1, 2**53, -(2**53), 2**63, 1.5, 1e300, float("nan")),
    *("", "0", "play", "\ud800", "\ufeff", "é", "\x7f", "__proto__", "constructor", [], [[]], {}, {"é": 1}),
    {"__proto__": 1},
    {"constructor": {}, "10": 1, "9": 2},
]


def _changed(told: Any, chance: Random, depth: int = 0) -> Any:
    """The value with one change somewhere in it."""
    if isinstance(told, dict) and told and chance.random() < 0.9:
        field = chance.choice(sorted(told))
        if chance.random() < 0.1:
            return {name: value for name, value in told.items() if name != field}
        if chance.random() < 0.1:
            return {**told, chance.choice(["note", "__proto__", "toString", "é"]): chance.choice(STRANGE)}
        return {**told, field: _changed(told[field], chance, depth + 1)}
    if isinstance(told, list) and told and chance.random() < 0.8:
        at = chance.randrange(len(told))
        if chance.random() < 0.15:
            return told[:at] + told[at + 1 :]
        if chance.random() < 0.15:
            return [*told[:at], told[at], *told[at:]]
        return [*told[:at], _changed(told[at], chance, depth + 1), *told[at + 1 :]]
    if type(told) is int and chance.random() < 0.7:
        return told + chance.choice([-1, 1, 2**32, 2**52, -told - 1])
    if type(told) is str and told and chance.random() < 0.7:
        at = chance.randrange(len(told))
        return told[:at] + chance.choice(["0", "f", "A", " ", "", "=", "\u0660", "-"]) + told[at + 1 :]
    return chance.choice(STRANGE)


def test_both_agree_on_mutated_receipts(written: Written) -> None:
    mutations = _mutations(written, Random(SEED))
    mutated = [next(mutations) for _ in range(MUTATIONS)]
    held, refused = compare_with_the_core(mutated)
    # A check must be able to fail: most do not hold, and some that were changed in what is passed over do.
    assert refused > MUTATIONS / 2
    assert held > 0


def _as_texts(told: Any) -> Any:
    """The same with every number as a text, which JavaScript would take for the number."""
    if isinstance(told, dict):
        return {name: _as_texts(value) for name, value in told.items()}
    if isinstance(told, list):
        return [_as_texts(value) for value in told]
    return str(told) if type(told) is int else told


def test_a_form_that_is_nearly_right_is_refused(written: Written) -> None:
    mutated = []
    for name in ("play 1", f"wallet ben {EPOCH}", next(name for name in written.receipts if name.startswith("payee"))):
        proof = receipts.parse(written.receipts[name].encode())
        told = canonical.decode(proof.extra)
        assert isinstance(told, dict)
        for field, value in told.items():
            others = [_as_texts(value), [value], {"0": value}, None, True, ""]
            if isinstance(value, dict):
                others += [value | {"note": ""}, [*value.values()]]
                others += [value | {inner: _as_texts(held)} for inner, held in value.items()]
                others += [{n: held for n, held in value.items() if n != inner} for inner in value]
            if isinstance(value, list):
                others += [[*value, 0], value[:-1], {str(n): held for n, held in enumerate(value)}]
            if field == "path":
                first, *rest = value
                others += [[bent, *rest] for bent in ([*first, 0], first[:2], _as_texts(first), dict(enumerate(first)))]
                others += [[[*first[:2], first[2].upper()], *rest], [[first[0], first[1][0], first[2]], *rest]]
                others += [[[*first[:2], first[2][:62]], *rest], [[first[0], [*first[1], 0], first[2]], *rest]]
            if type(value) is str:
                others += [value.upper(), value + " ", value[:-2], value + "00"]
            mutated += [_rebuilt(proof, told | {field: other}) for other in others if other != value]
            mutated.append(_rebuilt(proof, {n: held for n, held in told.items() if n != field}))
        mutated += [_rebuilt(proof, told | {"note": ""}), _rebuilt(proof, [told]), _rebuilt(proof, None)]
    assert compare_with_the_core(mutated) == (0, len(mutated))
    assert len(mutated) > 150


def test_what_is_too_long_is_refused() -> None:
    outcomes = run(
        receipt_job(b"x" * (receipts.RECEIPT_BYTES_MAX + 1)),
        {"op": "note", "data": b64(b"x" * (NOTE_BYTES_MAX + 1)), "keys": []},
    )
    assert [outcome["refused"] for outcome in outcomes] == ["too-long"] * 2


def test_only_what_is_under_the_signed_head_is_believed(written: Written) -> None:
    """A receipt that is right in all but that its entry was made up is refused for that."""
    play = written.story.maker.plays[0]
    tree = SumTree(entries.PLAYS_TREE, [play.leaf])
    entry = entries.encode(
        entries.PLAYS,
        {
            "batch": 1,
            "epoch": EPOCH,
            "track": str(play.track),
            "count": 1,
            "sum_micro": play.price_micro,
            "root": tree.root.hash.hex(),
        },
    )
    proof = receipts.parse(written.receipts["play 0"].encode())
    extra = receipts.play_extra(entry, 0, [], play.salt, play.told)
    made_up = receipts.build(extra, proof.index, proof.path, written.published.checkpoint)
    (outcome,) = run(receipt_job(made_up))
    assert (outcome["refused"], outcome["facts"]) == ("not-in-log", {"reason": "root"})


def test_what_stands_in_the_log_and_is_wrong_is_refused(tmp_path: Path, written: Written) -> None:
    """Lines and names that are under the signed head, in entries that they do not belong in."""
    story_, chance = written.story, Random(SEED)
    play, salt, listener = story_.maker.plays[0], chance.randbytes(32), str(story_.ann)
    other_track, payee, split = str(story_.tune), str(story_.maker.id()), str(story_.maker.id())
    of_plays = SumTree(entries.PLAYS_TREE, [play.leaf]).root
    plays = {"batch": 1, "count": 1, "sum_micro": play.price_micro, "root": of_plays.hash.hex()}
    wallet = sumtree.commitment(salt, entries.wallet_opening(story_.ann, EPOCH))
    amounts = {"right": (0, 5, 1, 4), "wrong": (0, 5, 1, 5)}
    of_wallets = {name: SumTree(entries.WALLETS_TREE, [Leaf(wallet, told)]).root for name, told in amounts.items()}
    name = sumtree.commitment(salt, entries.payee_opening(UUID(payee), UUID(split))).hex()
    parts = {"track": other_track, "effective_epoch": EPOCH, "payees": [{"payee": name, "share_bp": 10_000}]}

    def wallets(root: Node, epoch: int) -> bytes:
        sums = dict(zip(entries.WALLETS_TREE.amounts, root.sums, strict=True))
        return entries.encode(entries.WALLETS, {"epoch": epoch, "count": 1, "root": root.hash.hex(), **sums})

    data = {
        "plays": entries.encode(entries.PLAYS, {**plays, "track": str(play.track), "epoch": EPOCH}),
        "plays of another track": entries.encode(entries.PLAYS, {**plays, "track": other_track, "epoch": EPOCH}),
        "plays of another epoch": entries.encode(
            entries.PLAYS, {**plays, "track": str(play.track), "epoch": EPOCH + 1}
        ),
        "wallets": wallets(of_wallets["right"], EPOCH),
        "wallets that do not add up": wallets(of_wallets["wrong"], EPOCH),
        "wallets of another epoch": wallets(of_wallets["right"], EPOCH + 1),
        "split": entries.encode(entries.SPLIT, {**parts, "split": split}),
        "another split": entries.encode(entries.SPLIT, {**parts, "split": str(play.play)}),
        "no entry": b'{"type":"plays","v":1}',
        "another version": entries.encode(entries.SPLIT, {**parts, "split": split}).replace(b'"v":1', b'"v":2'),
        "no list": canonical.encode({**parts, "type": "split", "v": 1, "split": split, "payees": {}}),
        "no payees": canonical.encode({**parts, "type": "split", "v": 1, "split": split, "payees": []}),
        "too much": canonical.encode(
            {**parts, "type": "split", "v": 1, "split": split, "payees": [{"payee": name, "share_bp": 10_001}]}
        ),
        "a field more": canonical.encode({**parts, "type": "split", "v": 1, "split": split, "note": ""}),
    }
    published = factory.publish(tmp_path, list(data.values()))
    opening = {"listener": listener, "epoch": EPOCH}
    mutated = []
    for kind, entry in data.items():
        if "plays" in kind or kind == "no entry":
            extra = receipts.play_extra(entry, 0, [], play.salt, play.told)
        elif "wallets" in kind:
            of = amounts["wrong" if "add up" in kind else "right"]
            extra = receipts.wallet_extra(entry, 0, [], salt, opening, of)
        else:
            extra = receipts.payee_extra(entry, salt, {"payee": payee, "split": split})
        mutated.append(published.proof(extra, entry).encode())
    outcomes = dict(zip(data, run(*map(receipt_job, mutated)), strict=True))
    assert compare_with_the_core(mutated) == (3, len(data) - 3)
    assert {name: outcome.get("refused") for name, outcome in outcomes.items()} == {
        "plays": None,
        "plays of another track": "other-entry",
        "plays of another epoch": "other-entry",
        "wallets": None,
        "wallets that do not add up": "does-not-add-up",
        "wallets of another epoch": "other-entry",
        "split": None,
        "another split": "other-entry",
        **dict.fromkeys(
            ["no entry", "another version", "no list", "no payees", "too much", "a field more"], "malformed"
        ),
    }


# --- Promises ---


def promise_job(data: str, pinned: dict[str, Any] = PINNED, **expect: Any) -> dict[str, Any]:
    return {"op": "promise", "data": b64(data), "pinned": pinned, "expect": expect}


def test_promises_of_plays_and_votes_are_read_as_they_were_signed(written: Written) -> None:
    play = written.story.maker.plays[0]
    of_play = factory.promise(play)
    vote = receipts.VotePromise(ORIGIN, play.play, "0x" + "ab" * 20, bytes(range(32)), 3, 1_772_323_200, 1_772_409_600)
    played, voted, named = run(
        promise_job(of_play, commitment=play.commitment.hex()),
        promise_job(receipts.promise(vote, KEYS)),
        {"op": "playCommitment", "opening": play.told, "salt": play.salt.hex()},
    )
    assert played["held"] == {
        "type": "play",
        "origin": ORIGIN,
        "commitment": play.commitment.hex(),
        "price_micro": play.price_micro,
        "publish_by": factory.FOUNDED_AT + factory.DAY_S,
    }
    assert voted["held"] == {
        "type": "vote",
        "origin": ORIGIN,
        "ballot": str(vote.ballot),
        "address": vote.address,
        "digest": vote.digest.hex(),
        "nonce": 3,
        "cast_at": 1_772_323_200,
        "publish_by": 1_772_409_600,
    }
    assert named["held"] == play.commitment.hex()


def test_an_opening_that_no_play_has_commits_to_nothing(written: Written) -> None:
    play = written.story.maker.plays[0]
    jobs = [
        {"op": "playCommitment", "opening": play.told | change, "salt": play.salt.hex()}
        for change in (
            {"kind": "gift"},
            {"ordinal": 0},
            {"ordinal": 1 << 16},
            {"price_micro": -1},
            {"play": "x"},
            {"a": 1},
        )
    ]
    jobs.append({"op": "playCommitment", "opening": play.told, "salt": "00"})
    assert [outcome["refused"] for outcome in run(*jobs)] == ["malformed"] * len(jobs)


def test_what_is_no_promise_of_this_log_is_refused(written: Written) -> None:
    told = factory.promise(written.story.maker.plays[0])
    vote = receipts.VotePromise(ORIGIN, written.story.ann, "0x" + "ab" * 20, bytes(32), 3, 1, 2)
    jobs: list[dict[str, Any]] = []
    chance = Random(SEED)
    for promise in (told, receipts.promise(vote, KEYS)):
        data = promise.encode()
        for at in range(len(data)):
            jobs.append({"op": "promise", "data": b64(data[:at]), "pinned": PINNED})
            flipped = data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]
            jobs.append({"op": "promise", "data": b64(flipped), "pinned": PINNED})
    jobs.append(promise_job(written.published.checkpoint))
    jobs.append(promise_job(told, PINNED | {"origin": "other.example/log"}))
    jobs.append(promise_job(told, PINNED | {"eras": [{"from": 0, "keys": [str(FOUNDERS[0].verifier)]}]}))
    jobs.append(promise_job(told, price_micro=1))
    outcomes = run(*jobs)
    assert all("refused" in outcome for outcome in outcomes)
    last = [outcome["refused"] for outcome in outcomes[-4:]]
    assert last == ["malformed", "wrong-origin", "unknown-key", "not-expected"]


# --- Notes and canonical JSON ---


def test_notes_are_taken_and_refused_as_by_the_core() -> None:
    text = "coop.example/log\nhello\n"
    by_key, by_witness = KEYS[0].sign(text, 0), factory.key("witness.example").sign(text, 0)
    line, other = str(by_key), str(by_witness)
    good = f"{text}\n{line}{other}"
    notes = [
        good,
        f"{text}\n{other}{line}",
        f"{text}\n{line}{line}",
        f"{text}\n{other}",
        f"{text}\n{line}{other}" + "— new.example AAAAAAA=\n",
        f"{text}\n{line}— new.example AAAAAA==\n",
        f"{text}\n{line}— new+example AAAAAAA=\n",
        f"{text}\n{line}— new\u2003example AAAAAAA=\n",
        f"{text}\n{line}— new\ufeffexample AAAAAAA=\n",
        f"{text}\n{line}— new\x85example AAAAAAA=\n",
        f"{text}\n{line}— {'n' * 255} AAAAAAA=\n",
        f"{text}\n{line}— {'ñ' * 128} AAAAAAA=\n",
        f"{text}\n{line * 1}" + "— a.example AAAAAAA=\n" * 63,
        f"{text}\n{line * 1}" + "— a.example AAAAAAA=\n" * 64,
        f"{text}\n{line.rstrip()}",
        f"{text}{line}",
        f"{text}\n\n{line}",
        f"\ufeff{text}\n{line}",
        f"{text}\n{line}\n",
        good.replace("hello", "hel\tlo"),
        good.replace("hello", "hell0"),
        good.replace("— coop", "- coop"),
        "",
        "\n\n",
        "\n\n\n",
    ]
    outcomes = run(*[{"op": "note", "data": b64(note), "keys": [str(ED25519[0])]} for note in notes])
    for note, outcome in zip(notes, outcomes, strict=True):
        try:
            verified(parse_note(note.encode()), ED25519)
        except DomainError:
            assert "refused" in outcome, note
        else:
            assert outcome.get("held") == [str(ED25519[0])], (note, outcome)
    assert [n for n, outcome in enumerate(outcomes) if "held" in outcome] == [0, 1, 4, 8, 10, 12]
    (not_utf8,) = run({"op": "note", "data": b64(b"\xff" + good.encode()), "keys": []})
    assert not_utf8["refused"] == "malformed"


CANONICAL = [
    *("{}", "[]", "0", "-1", "true", "null", '""', '{"a":1,"b":[]}', '{"10":1,"9":2}', '{"__proto__":1}'),
    *('"é"', '"\\u0001"', '"\\n"', '"\u2028"', '"\x7f"', '"\U0001f3b5"', "9007199254740991", "-9007199254740991"),
    *("9007199254740992", "9007199254740993", "-0", "0.0", "1.0", "1e2", "1.5", "1E400", "NaN", "Infinity", "01"),
    *('{"b":1,"a":2}', '{"a":1,"a":1}', '{"a": 1}', " 1", "1\n", '{"é":1}', '"\\ud800"', '"\\u00e9"', '"\\/"', '"\n"'),
    *("[" * depth + held + "]" * depth for depth in (31, 32, 33, 34) for held in ("", "1", "{}")),
    *("[" * 100_000, '"\\ud83c\\udfb5"', "", "[1,]", "{'a':1}", "\ufeff1", "1" * 400, '"\\u001F"', '"\\u001f"', "1x"),
]


def test_canonical_json_is_taken_and_refused_as_by_the_core() -> None:
    outcomes = run(*[{"op": "canonical", "data": b64(text)} for text in CANONICAL])
    taken = 0
    for text, outcome in zip(CANONICAL, outcomes, strict=True):
        try:
            value = canonical.decode(text.encode())
        except DomainError:
            assert outcome.get("refused") == "malformed", text
        else:
            assert outcome["held"] == value, text
            taken += 1
    assert taken > 15


# --- Trees ---


def _in_core(check: Any, *args: Any) -> bool:
    try:
        check(*args)
    except ProofRefused:
        return False
    return True


def _inclusion_job(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> dict[str, Any]:
    told = {"leaf": leaf.hex(), "index": str(index), "size": str(size), "root": root.hex()}
    return {"op": "inclusion", "path": [one.hex() for one in path], **told}


def _consistency_job(old: int, old_root: bytes, size: int, root: bytes, path: Sequence[bytes]) -> dict[str, Any]:
    told = {"old": str(old), "oldRoot": old_root.hex(), "size": str(size), "root": root.hex()}
    return {"op": "consistency", "path": [one.hex() for one in path], **told}


def test_both_agree_on_inclusion_and_consistency_in_trees_of_every_shape() -> None:
    chance = Random(SEED)
    jobs, expected = [], []
    for _ in range(400):
        size = chance.randint(1, 200)
        leaves = [leaf_hash(chance.randbytes(8)) for _ in range(size)]

        def subtree(level: int, index: int, leaves: Sequence[bytes] = leaves) -> bytes:
            return root_of(leaves[index << level : (index + 1) << level])

        root, index, old = root_of(leaves), chance.randrange(size), chance.randint(1, size)
        path = inclusion_proof(index, size, subtree)
        leaf, place, of = leaves[index], index, size
        if chance.random() < 0.6:
            path, place, of = _bent(path, chance), place + chance.choice([0, 1, -1]), of + chance.choice([0, 1, -1])
        jobs.append(_inclusion_job(leaf, place, of, path, root))
        expected.append(_in_core(verify_inclusion, leaf, place, of, path, root))
        proof, old_root = consistency_proof(old, size, subtree), root_of(leaves[:old])
        if chance.random() < 0.6:
            proof, old = _bent(proof, chance), old + chance.choice([0, 1, -1])
            old_root = chance.choice([old_root, root, bytes(32)])
        jobs.append(_consistency_job(old, old_root, size, root, proof))
        expected.append(_in_core(verify_consistency, old, old_root, size, root, proof))
    assert ["held" in outcome for outcome in run(*jobs)] == expected
    assert 200 < sum(expected) < 600


def _bent(path: list[bytes], chance: Random) -> list[bytes]:
    at = chance.randrange(len(path) + 1)
    return chance.choice(
        [path, path[:at] + path[at + 1 :], [*path[:at], bytes(32), *path[at:]], path[::-1], [*path, bytes(31)]]
    )


def test_both_agree_on_every_size_that_a_small_proof_may_be_said_to_be_of() -> None:
    """Also where a node of the tree is told to be a leaf, and its path begins above it."""
    jobs, expected = [], []
    leaves = [leaf_hash(bytes([n])) for n in range(9)]

    def subtree(level: int, index: int) -> bytes:
        return root_of(leaves[index << level : (index + 1) << level])

    for size in range(1, 9):
        root = root_of(leaves[:size])
        said = [(place, of) for of in range(1, 10) for place in range(of)]
        for index in range(size):
            path = inclusion_proof(index, size, subtree)
            told = [(leaves[index], path), (root, []), (root_of(leaves[: 1 << size.bit_length() - 1]), path[1:])]
            for (leaf, its_path), (place, of) in product(told, said):
                jobs.append(_inclusion_job(leaf, place, of, its_path, root))
                expected.append(_in_core(verify_inclusion, leaf, place, of, its_path, root))
        for old in range(1, size + 1):
            proof, old_root = consistency_proof(old, size, subtree), root_of(leaves[:old])
            for before, of in product(range(10), range(10)):
                for its_root in (old_root, root):
                    jobs.append(_consistency_job(before, its_root, of, root, proof))
                    expected.append(_in_core(verify_consistency, before, its_root, of, root, proof))
    outcomes = run(*jobs)
    assert ["held" in outcome for outcome in outcomes] == expected
    assert 8 * 9 // 2 * 2 <= sum(expected) < len(jobs) / 10


def test_a_tree_has_no_leaf_beyond_its_last() -> None:
    leaf = leaf_hash(b"")
    told = [(0, 1), (1, 1), (2, 1), (-1, 1), (0, 0)]
    good, *bad = run(*[_inclusion_job(leaf, index, size, [], leaf) for index, size in told])
    assert "held" in good
    assert [(outcome["refused"], outcome["facts"]) for outcome in bad] == [("not-in-log", {"reason": "index"})] * 4
    kind, line = entries.PLAYS_TREE, Leaf(leaf, (1,))
    root = SumTree(kind, [line]).root
    good, *bad = run(*[_sum_job(kind, line, index, [], root) for index in (0, 1, -1)])
    assert "held" in good
    assert [outcome["facts"] for outcome in bad] == [{"reason": "index"}] * 2


def test_indexes_beyond_32_bits_are_what_they_are() -> None:
    """A path of 62 made-up siblings in a tree of nearly 2^62 leaves leads to the same root in both."""
    chance = Random(SEED)
    size, index = 2**62 - 5, 2**61 + 12_345
    leaf, path = chance.randbytes(32), [chance.randbytes(32) for _ in range(62)]
    root = _root_by(leaf, index, size, path)
    verify_inclusion(leaf, index, size, path, root)
    good, bad = run(*[_inclusion_job(leaf, place, size, path, root) for place in (index, index ^ (1 << 40))])
    assert "held" in good
    assert bad["refused"] == "not-in-log"


def _root_by(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    node, last, found = index, size - 1, leaf
    for sibling in path:
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    return found


def _sum_job(kind: Kind, leaf: Leaf, index: int, path: Sequence[Node], root: Node) -> dict[str, Any]:
    def node(one: Node) -> list[Any]:
        return [str(one.count), [str(amount) for amount in one.sums], one.hash.hex()]

    return {
        "op": "sum",
        "kind": {"tag": kind.tag, "amounts": list(kind.amounts)},
        "commitment": leaf.commitment.hex(),
        "amounts": [str(amount) for amount in leaf.amounts],
        "index": str(index),
        "path": [node(one) for one in path],
        "root": node(root),
    }


def test_both_agree_on_lines_of_trees_of_sums_of_every_shape() -> None:
    chance = Random(SEED)
    jobs, expected = [], []
    for _ in range(400):
        kind = chance.choice([entries.PLAYS_TREE, entries.WALLETS_TREE])
        count = chance.randint(1, 200)
        largest = chance.choice([10_000, AMOUNT_MAX // 200])
        leaves = [
            Leaf(name, tuple(chance.randint(0, largest) for _ in kind.amounts))
            for name in sorted(chance.randbytes(32) for _ in range(count))
        ]
        tree = SumTree(kind, leaves)
        index = chance.randrange(count)
        leaf, path, root = leaves[index], tree.path(index), tree.root
        for changed in (False, True):
            if changed:
                leaf, index, path, root = _bent_sums(leaf, index, path, root, chance)
            jobs.append(_sum_job(kind, leaf, index, path, root))
            expected.append(_in_core(sumtree.verify, kind, leaf, index, path, root))
            assert changed or expected[-1]
    assert ["held" in outcome for outcome in run(*jobs)] == expected
    assert sum(expected) < 600


def _bent_sums(
    leaf: Leaf, index: int, path: list[Node], root: Node, chance: Random
) -> tuple[Leaf, int, list[Node], Node]:
    at = chance.randrange(len(path)) if path else 0
    kind = chance.randrange(7)
    if kind == 0:
        amounts = (*leaf.amounts[:-1], leaf.amounts[-1] + chance.choice([-1, 1, 2**63]))
        return replace(leaf, amounts=amounts), index, path, root
    if kind == 1:
        return leaf, index + chance.choice([-1, 1]), path, root
    if kind == 2:
        return leaf, index, path[:at] + path[at + 1 :], root
    if kind == 3:
        return leaf, index, path, replace(root, count=root.count + chance.choice([-1, 1]))
    if kind == 4 and path:
        bent = replace(path[at], count=path[at].count + chance.choice([-1, 1]))
        return leaf, index, [*path[:at], bent, *path[at + 1 :]], root
    if kind == 5 and path:
        sums = tuple(amount + chance.choice([-1, 1, 2**62, 2**63]) for amount in path[at].sums)
        return leaf, index, [*path[:at], replace(path[at], sums=sums), *path[at + 1 :]], root
    return leaf, index, [*path, root], root


def test_a_sum_that_no_tree_can_hold_is_refused() -> None:
    """Both lines are of a tree whose sum does not fit: its own hashes are right."""
    kind = entries.PLAYS_TREE
    hashing = sumtree._Hashing(kind)
    leaves = [Leaf(bytes([n]) * 32, (AMOUNT_MAX,)) for n in (1, 2)]
    left, right = (hashing.leaf(n, leaf) for n, leaf in enumerate(leaves))
    # What 64 bits would make of it by wrapping around.
    wrapped = (2 * AMOUNT_MAX) % 2**63
    above = hashing.node(replace(left, sums=(AMOUNT_MAX,)), replace(right, sums=(AMOUNT_MAX,)))
    roots = [replace(above, sums=(amount,)) for amount in (2 * AMOUNT_MAX, wrapped, AMOUNT_MAX)]
    outcomes = run(*[_sum_job(kind, leaves[0], 0, [right], root) for root in roots])
    assert [outcome["refused"] for outcome in outcomes] == ["sum-too-large"] * 3
    for root in roots:
        assert not _in_core(sumtree.verify, kind, leaves[0], 0, [right], root)


# --- Founding notes ---


def test_a_founding_note_is_known_by_what_the_core_says() -> None:
    (outcome,) = run({"op": "founding", "data": b64(NOTE)})
    assert outcome["held"] == founding.pin(parse_note(NOTE.encode()))


def test_both_agree_on_founding_notes_that_were_changed() -> None:
    note, told = founding.draft(NOTE.encode())
    fields = canonical.decode(note.text.split("\n")[1].encode())
    assert isinstance(fields, dict)
    chance = Random(SEED)
    notes = [founding.written(told, KEYS), founding.written(told, FOUNDERS), factory.promise(story().maker.plays[0])]
    for _ in range(300):
        changed = _changed(fields, chance)
        line = json.dumps(changed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        text = f"{founding.HEAD}\n{line}\n".encode("utf-8", "replace").decode()
        notes.append(str(signed(text, [KEYS[0], *FOUNDERS], 0)))
    data = NOTE.encode()
    whole = [note.encode() for note in notes] + [data[:at] for at in range(0, len(data), 29)]
    whole += [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in range(0, len(data), 7)]
    outcomes = run(*[{"op": "founding", "data": b64(one)} for one in whole])
    held = 0
    for one, outcome in zip(whole, outcomes, strict=True):
        try:
            founding.parse(one)
        except DomainError:
            assert "refused" in outcome, one
        else:
            assert outcome.get("held") == founding.pin(parse_note(one)), (one, outcome)
            held += 1
    assert held > 5


def test_a_founding_note_tells_of_the_logs_before_it(written: Written) -> None:
    keys = [factory.key("coop.example/log-2"), factory.key("coop.example/log-2", KeyType.ML_DSA_44)]
    before = founding.predecessor_of(written.published.checkpoint, NOTE)
    told = founding.FoundingNote(
        keys[0].name,
        keys=tuple(key.verifier for key in keys),
        founders=tuple(key.verifier for key in FOUNDERS),
        witnesses=tuple(key.verifier for key in WITNESSES),
        witnesses_needed=1,
        chain=(("chain_id", str(CHAIN_ID)),),
        predecessor=before,
    )
    note = founding.written(told, [*keys, *FOUNDERS])
    broken = replace(told, predecessor=replace(before, note=NOTE.replace("witnesses_needed", "witnesses_needer")))
    good, bad = run(
        {"op": "founding", "data": b64(note)},
        {"op": "founding", "data": b64(founding.written(broken, [*keys, *FOUNDERS]))},
    )
    assert good["held"] == founding.pin(parse_note(note.encode()))
    assert "refused" in bad
