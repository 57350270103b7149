"""Signed notes and checkpoints: the specifications' examples, and nothing that only looks like one."""

from __future__ import annotations

import base64
from random import Random

import pytest

from ledger import note
from ledger.errors import NoteRefused
from ledger.merkle import EMPTY_ROOT, leaf_hash
from ledger.note import Checkpoint, KeyType, SigningKey, parse_checkpoint, parse_note, parse_verifier_key

# Both of C2SP signed-note.
EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE = """This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
"""
ORIGIN = "coop.example/log"
HEAD = Checkpoint(ORIGIN, 7, leaf_hash(b"seven"))
NOW_S = 1_790_000_000
KEYS = [SigningKey(ORIGIN, kind, bytes([kind]) * note.SEED_BYTES) for kind in KeyType]
VERIFIERS = [key.verifier for key in KEYS]


def test_the_specifications_example_is_verified() -> None:
    parsed = parse_note(EXAMPLE.encode())
    (found,) = note.verified(parsed, [parse_verifier_key(EXAMPLE_KEY)])
    assert parsed.text == "This is an example message.\n"
    assert str(parsed) == EXAMPLE
    assert str(found.key) == EXAMPLE_KEY
    assert found.time is None


def test_a_checkpoint_signed_by_keys_of_every_kind_is_verified_by_each() -> None:
    written = str(note.signed(str(HEAD), KEYS, NOW_S)).encode()
    parsed = parse_note(written)
    assert parse_checkpoint(parsed.text) == HEAD
    times = {found.key.type: found.time for found in note.verified(parsed, VERIFIERS)}
    assert times == {KeyType.ED25519: None, KeyType.ED25519_COSIGNATURE: NOW_S, KeyType.ML_DSA_44: NOW_S}
    for verifier in VERIFIERS:
        assert parse_verifier_key(str(verifier)) == verifier
        assert [found.key for found in note.verified(parsed, [verifier])] == [verifier]


def test_one_byte_changed_anywhere_is_never_taken_for_what_was_signed() -> None:
    chance = Random(1)
    for key in KEYS:
        written = str(note.signed(str(HEAD), [key], NOW_S)).encode()
        for place in chance.sample(range(len(written)), 150):
            changed = bytearray(written)
            changed[place] ^= 1 << chance.randrange(8)
            with pytest.raises(NoteRefused):
                note.verified(parse_note(bytes(changed)), [key.verifier])


def test_unknown_signatures_are_passed_over_and_alone_they_are_none() -> None:
    ours, other = KEYS[0], SigningKey("else.example", KeyType.ED25519, b"x" * 32)
    both = note.signed(str(HEAD), [other, ours], NOW_S)
    assert [found.key for found in note.verified(both, [ours.verifier])] == [ours.verifier]
    with pytest.raises(NoteRefused, match="no signature by a known key"):
        note.verified(note.signed(str(HEAD), [other], NOW_S), [ours.verifier])
    with pytest.raises(NoteRefused, match="no signature by a known key"):
        note.verified(both, [])


def test_a_known_keys_signature_that_does_not_hold_spoils_the_note() -> None:
    ours, also = KEYS[0], KEYS[2]
    good = note.signed(str(HEAD), [ours], NOW_S)
    foreign = note.signed(str(Checkpoint(ORIGIN, 8, leaf_hash(b"eight"))), [also], NOW_S)
    mixed = note.Note(good.text, good.signatures + foreign.signatures)
    with pytest.raises(NoteRefused, match="does not hold"):
        note.verified(mixed, [ours.verifier, also.verifier])


def test_a_signature_of_one_kind_or_name_is_none_of_another() -> None:
    for key in KEYS:
        for other in KEYS:
            line = key.sign(str(HEAD), NOW_S)
            claimed = note.Signature(other.name, other.verifier.key_id, line.signature)
            if key != other:
                with pytest.raises(NoteRefused):
                    note.verified(note.Note(str(HEAD), (claimed,)), [other.verifier])
    renamed = SigningKey("else.example", KeyType.ML_DSA_44, KEYS[2].seed)
    claimed = note.Signature(ORIGIN, VERIFIERS[2].key_id, renamed.sign(str(HEAD), NOW_S).signature)
    with pytest.raises(NoteRefused, match="does not hold"):
        note.verified(note.Note(str(HEAD), (claimed,)), VERIFIERS)


@pytest.mark.parametrize(
    "written",
    {
        "empty": b"",
        "no empty line": EXAMPLE.replace("\n\n", "\n").encode(),
        "no signature": b"text\n\n",
        "no newline at the end": EXAMPLE.removesuffix("\n").encode(),
        "CR LF": EXAMPLE.replace("\n", "\r\n").encode(),
        "a tab": b"\t" + EXAMPLE.encode(),
        "a NUL": b"\x00" + EXAMPLE.encode(),
        "not UTF-8": b"\xff" + EXAMPLE.encode(),
        "a hyphen for a dash": EXAMPLE.replace("—", "-").encode(),
        "an empty line among the signatures": EXAMPLE.encode() + b"\n",
        "two spaces": EXAMPLE.replace("foo Uw", "foo  Uw").encode(),
        "no name": EXAMPLE.replace("example.com/foo", "").encode(),
        "plus in the name": EXAMPLE.replace("com/foo", "com+foo").encode(),
        "space in the name": EXAMPLE.replace("com/foo", "com\u00a0foo").encode(),
        "base 64 without padding": EXAMPLE.replace("yaQM=", "yaQM").encode(),
        "base 64 for addresses": EXAMPLE.replace("/5Q", "_5Q").replace("Uw2Q", "Uw-Q").encode(),
        "base 64 with other last bits": EXAMPLE.replace("yaQM=", "yaQN=").encode(),
        "a signature of a key's id alone": b"text\n\n\xe2\x80\x94 a " + base64.b64encode(b"abcd") + b"\n",
        "too long": b"x" * note.NOTE_BYTES_MAX + EXAMPLE.encode(),
        "too many signatures": EXAMPLE.encode() + EXAMPLE.splitlines(True)[2].encode() * note.SIGNATURES_MAX,
    }.items(),
    ids=lambda case: case[0],
)
def test_what_is_no_note_is_refused(written: tuple[str, bytes]) -> None:
    with pytest.raises(NoteRefused):
        parse_note(written[1])


ROOT = note.b64(leaf_hash(b""))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        f"{ORIGIN}\n7\n{ROOT}",
        f"{ORIGIN}\n7\n",
        f"\n7\n{ROOT}\n",
        f"{ORIGIN}\n07\n{ROOT}\n",
        f"{ORIGIN}\n-7\n{ROOT}\n",
        f"{ORIGIN}\n+7\n{ROOT}\n",
        f"{ORIGIN}\n7.0\n{ROOT}\n",
        f"{ORIGIN}\n٧\n{ROOT}\n",
        f"{ORIGIN}\n{2**63}\n{ROOT}\n",
        f"{ORIGIN}\n{'9' * 400}\n{ROOT}\n",
        f"{ORIGIN}\n7\n{ROOT[:-4]}\n",
        f"{ORIGIN}\n0\n{ROOT}\n",
        f"{ORIGIN}\n7\n{ROOT}\nextension\n",
        f"{ORIGIN}\n7\n{ROOT}\n\n",
        f"{'x' * 256}\n7\n{ROOT}\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteRefused):
        parse_checkpoint(text)


def test_a_cosigner_signs_extension_lines_as_far_as_its_kind_does_and_a_reader_takes_none() -> None:
    text = f"{HEAD}extension\nanother\n"
    assert note.parse_head(text) == HEAD
    for key in KEYS:
        assert note.verified(note.signed(text, [key], NOW_S), [key.verifier])
        changed = note.Note(text.replace("another", "other"), note.signed(text, [key], NOW_S).signatures)
        if key.type is KeyType.ML_DSA_44:
            assert note.verified(changed, [key.verifier])
        else:
            with pytest.raises(NoteRefused, match="does not hold"):
                note.verified(changed, [key.verifier])
    for malformed in (f"{HEAD}\n", f"{HEAD}extension\n\n", f"{HEAD}\nextension\n", f"{HEAD}extension"):
        with pytest.raises(NoteRefused):
            note.parse_head(malformed)


def test_the_smallest_and_largest_checkpoints_are_read_as_they_are_written() -> None:
    for head in (Checkpoint(ORIGIN, 0, EMPTY_ROOT), Checkpoint(ORIGIN, 2**63 - 1, leaf_hash(b""))):
        assert parse_checkpoint(str(head)) == head


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com/foo",
        EXAMPLE_KEY.replace("530d903a", "530d903b"),
        EXAMPLE_KEY.replace("530d903a", "530D903A"),
        EXAMPLE_KEY.replace("example.com/foo", "example.com/fop"),
        EXAMPLE_KEY.replace("example.com/foo", ""),
        EXAMPLE_KEY[:-4],
        EXAMPLE_KEY.replace("+Aeky", "+Aukx"),
        EXAMPLE_KEY + "+",
    ],
)
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(NoteRefused):
        parse_verifier_key(text)


def test_a_private_key_is_never_printed() -> None:
    assert KEYS[0].seed.hex() not in repr(KEYS[0])
    assert repr(KEYS[0].seed) not in repr(KEYS[0])
