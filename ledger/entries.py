"""The entries of the shared log: of every kind its form, and what the trees they name commit to.

An entry is canonical JSON (RFC 8785) with integers only, of at most 65,535 bytes. It says its kind (`type`) and the
version of its form (`v`); no field is optional and none may be added, so that what an auditor does not know she does
not pass over. Plays, collections and wallets are in micro-credits, all that comes of them from `gross_micro` on in
micro-units of the founding currency. Hashes are 64 lower-case hexadecimal digits, ids are UUIDs, instants are POSIX
seconds.

What is private is told by commitments: `SHA-256(0x02 ‖ salt ‖ opening)` with a salt of 32 random bytes that is never
used twice. The openings are the packed fields below, big-endian, each after a byte that tells its kind.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from typing import Any, Literal
from uuid import UUID

from ledger import canonical
from ledger.constitution import CLASSES, NUMBERS, PARAMETERS
from ledger.errors import EntryRefused, NotCanonical
from ledger.money import BASIS_POINTS
from ledger.sumtree import Kind
from ledger.tiles import ENTRY_BYTES_MAX

VERSION = 1
TEXT_MAX = 200
KEY_TEXT_MAX = 4_000
"""A verifier key or a signature line of ML-DSA-44 is longer than other texts."""
PARTS_MAX = 64
"""Of payees in a split, and of societies among the net factors."""
VOTES_AN_ENTRY_MAX = 128
DELEGATIONS_AN_ENTRY_MAX = 400

FOUNDING = "founding"
BATCH = "batch"
TARIFF = "tariff"
RATES = "rates"
RULES = "rules"
NET_FACTORS = "net_factors"
TRACK = "track"
SPLIT = "split"
PLAYS = "plays"
TOP_UPS = "top_ups"
GRANTS = "grants"
PAYOUTS = "payouts"
SHARES = "shares"
BALLOT = "ballot"
VOTES = "votes"
DELEGATIONS = "delegations"
BALLOT_STOPPED = "ballot_stopped"
RELEASE = "release"
ROYALTIES = "royalties"
LATE = "late"
WALLETS = "wallets"
SEAL = "seal"
ATTESTATION = "attestation"
KEYS = "keys"

PLAYS_TREE = Kind("plays", ("price_micro",))
TOP_UPS_TREE = Kind("top-ups", ("credits_micro", "money_micro"))
GRANTS_TREE = Kind("grants", ("credits_micro",))
WALLETS_TREE = Kind("wallets", ("opening_micro", "in_micro", "spent_micro", "closing_micro"))

Entry = dict[str, Any]

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
_DIGEST = re.compile(r"[0-9a-f]{64}").fullmatch
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}").fullmatch
_BLOCK_HASH = re.compile(r"0x[0-9a-f]{64}").fullmatch
_VOTE_SIGNATURE = re.compile(r"0x[0-9a-f]{130}").fullmatch
_CURRENCY = re.compile(r"[A-Z]{3}").fullmatch

Check = Callable[[Any], object]


def _integer(value: Any) -> bool:
    return type(value) is int


def _count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _some(value: Any) -> bool:
    return type(value) is int and value > 0


def _basis_points(value: Any) -> bool:
    return type(value) is int and 0 <= value <= BASIS_POINTS


def _text(value: Any) -> bool:
    return type(value) is str and len(value) <= TEXT_MAX


def _key_text(value: Any) -> bool:
    return type(value) is str and len(value) <= KEY_TEXT_MAX


def _reason(value: Any) -> bool:
    return value is None or _text(value)


def _uuid(value: Any) -> object:
    return type(value) is str and _UUID(value)


def _digest(value: Any) -> object:
    return type(value) is str and _DIGEST(value)


def _address(value: Any) -> object:
    return type(value) is str and _ADDRESS(value)


def _block_hash(value: Any) -> object:
    return type(value) is str and _BLOCK_HASH(value)


def _vote_signature(value: Any) -> object:
    return type(value) is str and _VOTE_SIGNATURE(value)


def _member_class(value: Any) -> bool:
    return type(value) is str and value in CLASSES


def _flag(value: Any) -> bool:
    return type(value) is bool


def _currency(value: Any) -> object:
    return type(value) is str and _CURRENCY(value)


def _record(**fields: Check) -> Check:
    def check(value: Any) -> bool:
        return type(value) is dict and value.keys() == fields.keys() and all(fields[k](v) for k, v in value.items())

    return check


def _list(of: Check, least: int = 1, most: int = PARTS_MAX) -> Check:
    def check(value: Any) -> bool:
        return type(value) is list and least <= len(value) <= most and all(map(of, value))

    return check


def _amounts(value: Any) -> bool:
    """Amounts, or basis points, by the code of an account or the name of a society."""
    return (
        type(value) is dict
        and len(value) <= 2 * PARTS_MAX
        and all(len(name) <= TEXT_MAX and _count(amount) for name, amount in value.items())
    )


_SHARE = _record(payee=_digest, share_bp=_basis_points)
_LINE = _record(amount_micro=_count, held_because=_reason)
_ROYALTIES: dict[str, Check] = {
    "closed_in": _integer,
    "epoch": _integer,
    "track": _uuid,
    "collected_micro": _some,
    "split": _uuid,
    "gross_micro": _count,
    "deductions": _amounts,
    "net_micro": _count,
    "artists_micro": _count,
    "funds": _amounts,
    "lines": _list(_LINE),
}
_BOUND = _record(lowest=_count, highest=_count, step_max=_some, quantum=_some)
_CONSTITUTION = _record(
    parameters=_record(**dict.fromkeys(PARAMETERS, _BOUND)),
    quorum_bp=_basis_points,
    class_quorum_bp=_record(**dict.fromkeys(CLASSES, _basis_points)),
    **dict.fromkeys(NUMBERS, _count),
)
_BY_CLASS = _record(**dict.fromkeys(CLASSES, _count))
_OUTCOME = _record(parameter=_text, status_quo=_count, median=_count, result=_count)
_VOTE = _record(
    address=_address,
    member_class=_member_class,
    values=_list(_count),
    nonce=_some,
    deadline=_count,
    signature=_vote_signature,
    kept_key=_flag,
)
_DELEGATION = _record(address=_address, member_class=_member_class, delegate=_address)

FORMS: Mapping[str, Mapping[str, Check]] = {
    # What the co-op is, and the rules that never change. Always entry 0, and nowhere else.
    FOUNDING: {
        "origin": _text,
        "coop": _text,
        "currency": _currency,
        "minor_digits": _count,
        "credit_price_micro": _some,
        "epoch_seconds": _count,
        "first_epoch": _integer,
        "founded_at": _count,
        "constitution": _CONSTITUTION,
    },
    # Begins a batch: all entries up to the next of its kind were made in that time.
    BATCH: {"batch": _some, "opened_at": _count, "closed_at": _count},
    TARIFF: {"version": _some, "effective_epoch": _integer, "first_price_micro": _some, "plays": _some,
             "decided_by": _text},
    RATES: {"version": _some, "effective_epoch": _integer, "artist_share_bp": _basis_points,
            "community_cut_bp": _basis_points, "reserve_cut_bp": _basis_points, "decided_by": _text},
    RULES: {"version": _some, "effective_epoch": _integer, "payout_minimum_minor": _some, "listen_ms_max": _some,
            "decided_by": _text},
    NET_FACTORS: {"version": _some, "effective_epoch": _integer, "vat_bp": _count, "fees_bp": _basis_points,
                  "licensing_bp": _amounts, "decided_by": _text},
    # A recording, when it is first played; `sha256` is of the file its artist uploaded.
    TRACK: {"track": _uuid, "artist": _uuid, "sha256": _digest},
    # Who is paid from an epoch on. Of several the one with the latest epoch, then the highest id, holds. One with the
    # track's own id comes with the track, and holds as long as there is no other. `payee` is a commitment that her own
    # opening belongs to.
    SPLIT: {"split": _uuid, "track": _uuid, "effective_epoch": _integer, "payees": _list(_SHARE)},
    # A batch's plays and buy-outs of one track, opened in one epoch.
    PLAYS: {"batch": _some, "epoch": _integer, "track": _uuid, "count": _some, "sum_micro": _some, "root": _digest},
    TOP_UPS: {"batch": _some, "count": _some, "credits_micro": _some, "money_micro": _count, "root": _digest},
    GRANTS: {"batch": _some, "count": _some, "credits_micro": _some, "root": _digest},
    # Money that left the bank for payees.
    PAYOUTS: {"batch": _some, "count": _some, "money_micro": _some},
    # Member shares that were paid in at the bank, and paid back: what the co-op owes whoever leaves.
    SHARES: {"batch": _some, "count": _some, "paid_micro": _count, "refunded_micro": _count},
    # A ballot that was counted, by the founding's constitution. The entry's SHA-256 is what the rate registry has as
    # the hash of the result; `text_sha256` is of what was proposed.
    BALLOT: {"ballot": _uuid, "text_sha256": _digest, "opened_at": _count, "closed_at": _count, "chain_id": _some,
             "contract": _address, "block_number": _count, "block_hash": _block_hash, "block_timestamp": _count,
             "parameters": _list(_OUTCOME), "census": _BY_CLASS, "cast": _BY_CLASS, "phantom_weight": _count,
             "kept_key_weight": _count},
    # What was cast in the ballot before it, by address in ascending order, as numbers.
    VOTES: {"ballot": _uuid, "votes": _list(_VOTE, most=VOTES_AN_ENTRY_MAX)},
    # After the votes: the seats that counted with their delegate's vote, in the same order.
    DELEGATIONS: {"ballot": _uuid, "delegations": _list(_DELEGATION, most=DELEGATIONS_AN_ENTRY_MAX)},
    # A ballot that took votes and has no result: it changed nothing, and they are not published.
    BALLOT_STOPPED: {"ballot": _uuid, "opened_at": _count, "stopped_at": _count, "because": _text},
    # A royalty line that was held and now is paid.
    RELEASE: {"closed_in": _integer, "epoch": _integer, "track": _uuid, "payee": _digest, "amount_micro": _count},
    # A track's share-out of one epoch, by `ledger.royalties`; `lines` in the order of the split's payees.
    ROYALTIES: _ROYALTIES,
    # The same of plays that came after their own epoch was closed, at that epoch's terms.
    LATE: _ROYALTIES,
    # Every wallet between two seals.
    WALLETS: {"epoch": _integer, "count": _count, "opening_micro": _count, "in_micro": _count, "spent_micro": _count,
              "closing_micro": _count, "root": _digest},
    # An epoch is closed: what all of its share-outs come to. Money, but for `collected_micro`.
    SEAL: {"epoch": _integer, "batch": _some, "tracks": _count, "collected_micro": _count, "gross_micro": _count,
           "deductions": _amounts, "funds": _amounts, "royalties_micro": _count, "held_micro": _count},
    # Two officers say what the bank held when the epoch's last batch was closed; each signs what `ledger.attestation`
    # gives.
    ATTESTATION: {"epoch": _integer, "batch": _some, "bank_micro": _integer, "officers": _list(_text, 2, 2),
                  "signatures": _list(_text, 2, 2)},
    # The verifier keys from the next checkpoint on, and the old keys' signatures over them: see `ledger.rotation`.
    KEYS: {"keys": _list(_key_text, 1, 8), "signatures": _list(_key_text, 1, 8)},
}  # fmt: skip


def encode(kind: str, entry: Entry) -> bytes:
    """The bytes of an entry: `entry` holds its fields but for `type` and `v`. Raises EntryRefused."""
    data = canonical.encode({**entry, "type": kind, "v": VERSION})
    _require_form(kind, entry, has_head=False)
    if len(data) > ENTRY_BYTES_MAX:
        raise EntryRefused(reason="an entry is too long", kind=kind)
    return data


def parse(data: bytes) -> tuple[str, Entry]:
    """An entry's kind and fields. Raises EntryRefused unless it is of a known form, to the letter."""
    try:
        entry = canonical.decode(data)
    except NotCanonical as refused:
        raise EntryRefused(reason=str(refused.facts["reason"])) from refused
    if type(entry) is not dict:
        raise EntryRefused(reason="an entry is an object")
    kind = entry.get("type")
    if type(kind) is not str or kind not in FORMS:
        raise EntryRefused(reason="a kind of entry that is not known here", kind=str(kind)[:TEXT_MAX])
    if entry.get("v") != VERSION or type(entry["v"]) is not int:
        raise EntryRefused(reason="a version of the form that is not known here", kind=kind)
    _require_form(kind, entry, has_head=True)
    return kind, entry


def _require_form(kind: str, entry: Entry, *, has_head: bool) -> None:
    form = FORMS[kind]
    for name, check in form.items():
        if name not in entry:
            raise EntryRefused(reason="a field is missing", kind=kind, field=name)
        if not check(entry[name]):
            raise EntryRefused(reason="a field of another form", kind=kind, field=name)
    if len(entry) != len(form) + 2 * has_head:
        raise EntryRefused(reason="a field that has no place here", kind=kind)


# --- Openings ---

PlayKind = Literal["play", "buyout"]

_PLAY = struct.Struct(">c16s16s16sqHBq")
_CREDIT = struct.Struct(">c16s16sBqq")
_WALLET = struct.Struct(">c16sq")
_PAYEE = struct.Struct(">c16s16s")
PLAY_KINDS: Mapping[str, int] = {"play": 1, "buyout": 2}
CREDIT_KINDS: Mapping[str, int] = {"top-up": 1, "grant": 2}


def play_opening(
    play_id: UUID, listener_id: UUID, track_id: UUID, epoch: int, ordinal: int, kind: PlayKind, price_micro: int
) -> bytes:
    """What a leaf of a plays tree commits to. `ledger.store.recording` packs the same in SQL."""
    told = (play_id.bytes, listener_id.bytes, track_id.bytes, epoch, ordinal, PLAY_KINDS[kind], price_micro)
    return _PLAY.pack(b"p", *told)


def credit_opening(key: UUID, listener_id: UUID, kind: str, credits_micro: int, money_micro: int) -> bytes:
    """What a leaf of a batch's top-ups or grants commits to; `key` is the posting's."""
    return _CREDIT.pack(b"c", key.bytes, listener_id.bytes, CREDIT_KINDS[kind], credits_micro, money_micro)


def wallet_opening(listener_id: UUID, epoch: int) -> bytes:
    """What a leaf of an epoch's wallets commits to."""
    return _WALLET.pack(b"w", listener_id.bytes, epoch)


def payee_opening(payee: UUID, split_id: UUID) -> bytes:
    """What the name of a payee in a split commits to."""
    return _PAYEE.pack(b"y", payee.bytes, split_id.bytes)
