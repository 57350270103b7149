"""Receipts: what a member keeps to show that her plays, her wallet's line or her part of a split are in the log.

A receipt is a tlog-proof (C2SP): the signed head of a log, an entry's index and its path under that head. Beside them,
as the proof's extra data, stand the entry's own bytes and what only its owner knows: salt and opening, and for a line
of a sum tree its place and path. A play's receipt is first a promise: a signed note that says until when its
commitment will be published.

    c2sp.org/tlog-proof@v1
    extra <base 64 of canonical JSON>
    index <index of the entry>
    <hashes from the leaf's side up, base 64, one a line>

    <checkpoint>
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from ledger import canonical, entries, merkle, sumtree
from ledger.entries import Entry
from ledger.errors import EntryRefused, NotCanonical, NoteRefused, ProofRefused
from ledger.note import (
    Checkpoint,
    KeyType,
    Note,
    SigningKey,
    VerifierKey,
    b64,
    number,
    parse_checkpoint,
    parse_note,
    signed,
    unb64,
    verified,
)
from ledger.sumtree import Leaf, Node

HEAD = "c2sp.org/tlog-proof@v1"
RECEIPT_BYTES_MAX = 1 << 20
PROMISE_HEAD = "streamcoop promise v1"
VOTE_PROMISE_HEAD = "streamcoop vote promise v1"

PLAY = "play"
WALLET = "wallet"
PAYEE = "payee"

_DIGEST = re.compile(r"[0-9a-f]{64}").fullmatch
_ADDRESS = re.compile(r"0x[0-9a-f]{40}").fullmatch
_PLAY_OPENING = {"play", "listener", "track", "epoch", "ordinal", "kind", "price_micro"}
_UINT16_MAX = (1 << 16) - 1


# --- The file ---


@dataclass(frozen=True, slots=True)
class Proof:
    """A tlog-proof whose signatures are not verified yet; nothing vouches for the extra data by itself."""

    extra: bytes
    index: int
    path: tuple[bytes, ...]
    checkpoint: Note
    head: Checkpoint


def build(extra: bytes, index: int, path: Sequence[bytes], checkpoint: str) -> str:
    """The file: an entry's index and path, and the note of the checkpoint they lead to."""
    told = [HEAD, *([f"extra {b64(extra)}"] if extra else []), f"index {index}", *map(b64, path)]
    return "\n".join([*told, "", checkpoint])


def parse(data: bytes) -> Proof:
    """A tlog-proof from its bytes. Raises NoteRefused."""
    if len(data) > RECEIPT_BYTES_MAX:
        raise NoteRefused(reason="the proof is too long")
    head, blank, checkpoint = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as malformed:
        raise NoteRefused(reason="a proof's lines are ASCII") from malformed
    if lines.pop(0) != HEAD or not blank:
        raise NoteRefused(reason="not a tlog-proof")
    extra = unb64(lines.pop(0).removeprefix("extra ")) if lines and lines[0].startswith("extra ") else b""
    if not lines or not lines[0].startswith("index "):
        raise NoteRefused(reason="a proof tells an index")
    index = number(lines.pop(0).removeprefix("index "))
    if len(lines) > merkle.PATH_MAX:
        raise NoteRefused(reason="the path is too long")
    path = tuple(map(unb64, lines))
    if any(len(one) != merkle.HASH_BYTES for one in path):
        raise NoteRefused(reason="a proof is made of hashes of 32 bytes")
    note = parse_note(checkpoint)
    return Proof(extra, index, path, note, parse_checkpoint(note.text))


# --- What it tells ---


def play_extra(entry: bytes, index: int, path: Sequence[Node], salt: bytes, opening: Mapping[str, Any]) -> bytes:
    """The extra data of a play's receipt: the bytes of its `plays` entry, and the leaf in that entry's tree.

    `opening`: play, listener and track as texts, epoch, ordinal, kind and price_micro.
    """
    return canonical.encode(_line(PLAY, entry, index, path, salt, opening))


def wallet_extra(
    entry: bytes,
    index: int,
    path: Sequence[Node],
    salt: bytes,
    opening: Mapping[str, Any],
    amounts: Sequence[int],
) -> bytes:
    """The extra data of a wallet's line: opening is listener and epoch, amounts are opening, in, spent and closing."""
    return canonical.encode({**_line(WALLET, entry, index, path, salt, opening), "amounts": list(amounts)})


def payee_extra(entry: bytes, salt: bytes, opening: Mapping[str, Any]) -> bytes:
    """The extra data of a payee's part of a split: the bytes of the `split` entry; opening is payee and split."""
    return canonical.encode(
        {"type": PAYEE, "entry": b64(entry), "salt": salt.hex(), "opening": dict(opening)},
    )


def _line(
    kind: str, entry: bytes, index: int, path: Sequence[Node], salt: bytes, opening: Mapping[str, Any]
) -> dict[str, Any]:
    nodes: list[Any] = [[node.count, list(node.sums), node.hash.hex()] for node in path]
    return {
        "type": kind,
        "entry": b64(entry),
        "index": index,
        "path": nodes,
        "salt": salt.hex(),
        "opening": dict(opening),
    }


@dataclass(frozen=True, slots=True)
class PlayReceipt:
    """A play that is in the log, at this entry, with this price."""

    at: int
    entry: bytes
    commitment: bytes
    play: UUID
    listener: UUID
    track: UUID
    epoch: int
    ordinal: int
    kind: str
    price_micro: int


@dataclass(frozen=True, slots=True)
class WalletReceipt:
    """A wallet's line that is in the log, at this entry."""

    at: int
    entry: bytes
    listener: UUID
    epoch: int
    opening_micro: int
    in_micro: int
    spent_micro: int
    closing_micro: int


@dataclass(frozen=True, slots=True)
class PayeeReceipt:
    """A payee's part of a split that is in the log, at this entry."""

    at: int
    entry: bytes
    payee: UUID
    split: UUID
    track: UUID
    share_bp: int


Receipt = PlayReceipt | WalletReceipt | PayeeReceipt


def verify(proof: Proof, keys: Iterable[VerifierKey]) -> Receipt:
    """What a receipt of any kind shows. Raises NoteRefused, EntryRefused and ProofRefused where it does not."""
    kind = _told(proof).get("type")
    if kind == PLAY:
        return verify_play(proof, keys)
    if kind == WALLET:
        return verify_wallet(proof, keys)
    if kind == PAYEE:
        return verify_payee(proof, keys)
    raise ProofRefused(reason="a receipt of a kind that is not known here")


def verify_play(proof: Proof, keys: Iterable[VerifierKey]) -> PlayReceipt:
    """That a play is under the proof's head, in the tree of its own track and epoch, at its price.

    Raises NoteRefused, EntryRefused and ProofRefused.
    """
    data, entry, told = _opened(proof, keys, entries.PLAYS, {"type", "entry", "index", "path", "salt", "opening"})
    opening = told["opening"]
    if type(opening) is not dict or opening.keys() != _PLAY_OPENING or opening["kind"] not in [*entries.PLAY_KINDS]:
        raise ProofRefused(reason="an opening of another form")
    play, listener, track = (_uuid(opening[name]) for name in ("play", "listener", "track"))
    epoch, ordinal, price_micro = (_integer(opening[name]) for name in ("epoch", "ordinal", "price_micro"))
    if not 0 < ordinal <= _UINT16_MAX or price_micro < 0:
        raise ProofRefused(reason="an opening that no play has")
    if (entry["track"], entry["epoch"]) != (str(track), epoch):
        raise ProofRefused(reason="the play is of another track or epoch than the entry it was put in")
    kind = opening["kind"]
    packed = entries.play_opening(play, listener, track, epoch, ordinal, kind, price_micro)
    commitment = sumtree.commitment(_salt(told), packed)
    root = Node(entry["count"], (entry["sum_micro"],), bytes.fromhex(entry["root"]))
    _require_leaf(entries.PLAYS_TREE, Leaf(commitment, (price_micro,)), told, root)
    return PlayReceipt(proof.index, data, commitment, play, listener, track, epoch, ordinal, kind, price_micro)


def verify_wallet(proof: Proof, keys: Iterable[VerifierKey]) -> WalletReceipt:
    """That a wallet's line is under the proof's head and adds up. Raises NoteRefused, EntryRefused and ProofRefused."""
    fields = {"type", "entry", "index", "path", "salt", "opening", "amounts"}
    data, entry, told = _opened(proof, keys, entries.WALLETS, fields)
    opening, amounts = told["opening"], told["amounts"]
    if type(opening) is not dict or opening.keys() != {"listener", "epoch"}:
        raise ProofRefused(reason="an opening of another form")
    if type(amounts) is not list or len(amounts) != len(entries.WALLETS_TREE.amounts):
        raise ProofRefused(reason="amounts that no line has")
    listener, epoch = _uuid(opening["listener"]), _integer(opening["epoch"])
    before, received, spent, after = map(_integer, amounts)
    if entry["epoch"] != epoch:
        raise ProofRefused(reason="the line is of another epoch than the entry it was put in")
    if before + received - spent != after:
        raise ProofRefused(reason="the wallet's line does not add up")
    commitment = sumtree.commitment(_salt(told), entries.wallet_opening(listener, epoch))
    sums = tuple(entry[name] for name in entries.WALLETS_TREE.amounts)
    root = Node(entry["count"], sums, bytes.fromhex(entry["root"]))
    _require_leaf(entries.WALLETS_TREE, Leaf(commitment, (before, received, spent, after)), told, root)
    return WalletReceipt(proof.index, data, listener, epoch, before, received, spent, after)


def verify_payee(proof: Proof, keys: Iterable[VerifierKey]) -> PayeeReceipt:
    """That a payee has her part in a split under the proof's head. Raises NoteRefused, EntryRefused, ProofRefused."""
    data, entry, told = _opened(proof, keys, entries.SPLIT, {"type", "entry", "salt", "opening"})
    opening = told["opening"]
    if type(opening) is not dict or opening.keys() != {"payee", "split"}:
        raise ProofRefused(reason="an opening of another form")
    payee, split = _uuid(opening["payee"]), _uuid(opening["split"])
    name = sumtree.commitment(_salt(told), entries.payee_opening(payee, split)).hex()
    shares = [share["share_bp"] for share in entry["payees"] if share["payee"] == name]
    if entry["split"] != str(split) or not shares:
        raise ProofRefused(reason="the split names another payee")
    return PayeeReceipt(proof.index, data, payee, split, UUID(entry["track"]), shares[0])


def _told(proof: Proof) -> dict[str, Any]:
    try:
        told = canonical.decode(proof.extra)
    except NotCanonical as refused:
        raise ProofRefused(reason="the extra data is not canonical JSON") from refused
    if type(told) is not dict:
        raise ProofRefused(reason="the extra data is an object")
    return told


def _opened(
    proof: Proof, keys: Iterable[VerifierKey], kind: str, fields: set[str]
) -> tuple[bytes, Entry, dict[str, Any]]:
    """The entry's bytes, its fields and the extra data, once they are shown to be under the signed head."""
    told = _told(proof)
    if told.keys() != fields or type(told["entry"]) is not str:
        raise ProofRefused(reason="extra data of another form")
    verified(proof.checkpoint, keys)
    head, data = proof.head, unb64(told["entry"])
    merkle.verify_inclusion(merkle.leaf_hash(data), proof.index, head.size, proof.path, head.root)
    found, entry = entries.parse(data)
    if found != kind:
        raise EntryRefused(reason="an entry of another kind", kind=found)
    return data, entry, told


def _require_leaf(kind: sumtree.Kind, leaf: Leaf, told: Mapping[str, Any], root: Node) -> None:
    path = told["path"]
    if type(path) is not list or len(path) > merkle.PATH_MAX:
        raise ProofRefused(reason="the path is too long")
    sumtree.verify(kind, leaf, _integer(told["index"]), [*map(_node, path)], root)


def _node(told: object) -> Node:
    if type(told) is not list or len(told) != 3 or type(told[1]) is not list or type(told[2]) is not str:
        raise ProofRefused(reason="a node of another form")
    count, sums, hashed = told
    if not _DIGEST(hashed):
        raise ProofRefused(reason="a node of another form")
    return Node(_integer(count), tuple(map(_integer, sums)), bytes.fromhex(hashed))


def _salt(told: Mapping[str, Any]) -> bytes:
    salt = told["salt"]
    if type(salt) is not str or not _DIGEST(salt):
        raise ProofRefused(reason="a salt has 32 bytes")
    return bytes.fromhex(salt)


def _integer(value: object) -> int:
    if type(value) is not int:
        raise ProofRefused(reason="not an integer")
    return value


def _uuid(value: object) -> UUID:
    try:
        found = UUID(value) if type(value) is str else None
    except ValueError:
        found = None
    if found is None or str(found) != value:
        raise ProofRefused(reason="not an id")
    return found


# --- Promises ---


@dataclass(frozen=True, slots=True)
class Promise:
    """That a play will be in the log at this price by an instant (POSIX seconds)."""

    origin: str
    commitment: bytes
    price_micro: int
    publish_by: int

    def __str__(self) -> str:
        told = [PROMISE_HEAD, self.origin, self.commitment.hex(), str(self.price_micro), str(self.publish_by)]
        return "\n".join([*told, ""])


@dataclass(frozen=True, slots=True)
class VotePromise:
    """That a vote, by its digest, was taken, and will be counted by an instant unless the address votes again.

    `address` is in lower case; instants are POSIX seconds.
    """

    origin: str
    ballot: UUID
    address: str
    digest: bytes
    nonce: int
    cast_at: int
    publish_by: int

    def __str__(self) -> str:
        told = [VOTE_PROMISE_HEAD, self.origin, str(self.ballot), self.address, self.digest.hex()]
        return "\n".join([*told, str(self.nonce), str(self.cast_at), str(self.publish_by), ""])


def promise(told: Promise | VotePromise, keys: Sequence[SigningKey]) -> str:
    """The signed note of a promise: by the log's Ed25519 key; ML-DSA-44 keys sign heads only."""
    return str(signed(str(told), [key for key in keys if key.type is KeyType.ED25519], 0))


def parse_promise(note: Note) -> Promise | VotePromise:
    """The promise a note tells. Raises NoteRefused; the signatures are another matter."""
    lines = note.text.split("\n")
    if len(lines) == 6 and lines[0] == PROMISE_HEAD and _DIGEST(lines[2]):
        return Promise(lines[1], bytes.fromhex(lines[2]), number(lines[3]), number(lines[4]))
    if len(lines) == 9 and lines[0] == VOTE_PROMISE_HEAD and _ADDRESS(lines[3]) and _DIGEST(lines[4]):
        try:
            ballot = _uuid(lines[2])
        except ProofRefused as refused:
            raise NoteRefused(reason="a promise of no ballot") from refused
        nonce, cast_at, publish_by = map(number, lines[5:8])
        return VotePromise(lines[1], ballot, lines[3], bytes.fromhex(lines[4]), nonce, cast_at, publish_by)
    raise NoteRefused(reason="not a promise")


def verify_promise(data: bytes, keys: Iterable[VerifierKey]) -> Promise | VotePromise:
    """A promise signed by a key of the log. Raises NoteRefused."""
    note = parse_note(data)
    verified(note, [key for key in keys if key.type is KeyType.ED25519])
    return parse_promise(note)
