"""The audit's own rules: who is believed, terms and keys that change, and entries read the fast way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import entries, founding, rotation
from ledger.errors import EntryRefused, NoteRefused
from ledger.founding import FoundingNote
from ledger.note import SigningKey
from ledger.rates import NetFactors, Rates
from ledger.verify.audit import read_plays
from ledger.verify.memory import Memory
from ledger.verify.terms import Versions
from tests.ledger import log_factory as factory
from tests.ledger.log_factory import EPOCH, KEYS, NOTE, ORIGIN, WITNESSES, Maker, publish, story
from tests.ledger.verify.auditing import audit, said

# --- Entries read the fast way ---

PLAYS = {
    "batch": 3,
    "epoch": EPOCH,
    "track": str(UUID(int=7)),
    "count": 2,
    "sum_micro": 6_000,
    "root": "ab" * 32,
}
numbers = st.one_of(st.integers(-3, 3), st.integers(-(2**53), 2**53), st.integers(10**14, 10**16))


def _read_fast(data: bytes) -> dict[str, int | str] | None:
    fields = read_plays(data)
    names = ("batch", "epoch", "track", "count", "sum_micro", "root")
    return None if fields is None else dict(zip(names, fields, strict=True))


@given(st.fixed_dictionaries(dict.fromkeys(("batch", "epoch", "count", "sum_micro"), numbers)))
def test_plays_are_read_as_any_entry_is(changes: dict[str, int]) -> None:
    entry = {**PLAYS, **changes}
    written = json.dumps({**entry, "type": "plays", "v": 1}, sort_keys=True, separators=(",", ":")).encode()
    fast = _read_fast(written)
    try:
        parsed = entries.parse(written)[1]
    except EntryRefused:
        assert fast is None
        return
    assert fast is None or fast == {name: parsed[name] for name in fast} == entry
    assert fast is not None or max(map(abs, changes.values())) >= 10**15


@given(st.data())
def test_what_is_no_entry_is_not_read_the_fast_way_either(data: st.DataObject) -> None:
    written = bytearray(entries.encode(entries.PLAYS, PLAYS))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(written) - 1))
        cut = data.draw(st.integers(0, 2))
        written[place : place + cut] = data.draw(st.binary(max_size=2))
    fast = _read_fast(bytes(written))
    if fast is not None:
        assert entries.encode(entries.PLAYS, fast) == written


def test_a_line_end_after_an_entry_is_not_overlooked() -> None:
    assert read_plays(entries.encode(entries.PLAYS, PLAYS) + b"\n") is None


# --- Terms ---


def test_of_terms_the_latest_epoch_holds_and_then_the_highest_version() -> None:
    versions: Versions[str] = Versions()
    assert versions.in_force(5) is None
    versions.add(1, 5, "first")
    versions.add(2, 9, "later")
    versions.add(3, 7, "between")
    versions.add(4, 7, "instead")
    assert [versions.in_force(epoch) for epoch in (4, 5, 6, 7, 8, 9, 10)] == [
        *(None, "first", "first", "instead", "instead", "later", "later")
    ]
    assert (versions.before(4), versions.before(3), versions.before(1)) == ("between", "first", None)


def test_terms_that_only_say_to_be_of_the_founding_are_not(tmp_path: Path) -> None:
    maker = Maker()
    maker.adopt(1, EPOCH, Rates(), NetFactors(), "founding")
    maker.track(10_000)
    maker.end_batch()
    maker.adopt(2, EPOCH, Rates(7_400), NetFactors(), "founding")
    maker.end_batch()
    publish(tmp_path, maker.entries)
    assert "terms of the founding are the first, from the first epoch on" in said(audit(tmp_path))[0]


# --- Keys ---

NEW = [factory.key(f"{ORIGIN}"), factory.key(ORIGIN, KEYS[1].type)]
NEW = [SigningKey(ORIGIN, key.type, key.seed[::-1]) for key in KEYS]
NEWEST = [SigningKey(ORIGIN, key.type, bytes(32)) for key in KEYS]


def rotated(maker: Maker, new: Sequence[SigningKey], old: Sequence[SigningKey]) -> None:
    """The log's keys are others from the batch on that ends now."""
    texts = [str(key.verifier) for key in new]
    maker.tell(entries.KEYS, {"keys": texts, "signatures": rotation.signatures(ORIGIN, texts, old)})
    maker.end_batch()


def test_new_keys_count_once_the_old_ones_handed_over(tmp_path: Path) -> None:
    maker = story().maker
    rotated(maker, NEW, KEYS)
    rotated(maker, NEWEST, NEW)
    publish(tmp_path, maker.entries, keys=NEWEST)
    assert said(audit(tmp_path)) == []
    # Whoever was given a later key believes the earlier ones through it.
    for known in (NEW, NEWEST):
        assert said(audit(tmp_path, founding=None, keys=tuple(key.verifier for key in known))) == []


def test_old_keys_do_not_sign_for_new_ones(tmp_path: Path) -> None:
    maker = story().maker
    rotated(maker, NEW, KEYS)
    publish(tmp_path, maker.entries, keys=KEYS)
    assert "the head is not signed by a key of the log" in said(audit(tmp_path))[0]


@pytest.mark.parametrize("old", [NEW, NEWEST], ids=["themselves", "others"])
def test_keys_that_nobody_handed_over_are_not_believed(tmp_path: Path, old: Sequence[SigningKey]) -> None:
    maker = story().maker
    rotated(maker, NEW, old)
    publish(tmp_path, maker.entries, keys=NEW)
    report = audit(tmp_path)
    assert [finding.check for finding in report.findings.first] == ["keys", "signatures", "signatures"]


def test_a_receipt_under_an_earlier_key_holds(tmp_path: Path) -> None:
    told = story()
    before = publish(tmp_path / "before", told.entries)
    kept = tmp_path / "kept"
    kept.mkdir()
    play = told.maker.plays[0]
    (kept / "play.tlog-proof").write_text(factory.play_receipt(told.maker, before, play), encoding="utf-8")
    rotated(told.maker, NEW, KEYS)
    publish(tmp_path / "after", told.entries, keys=NEW)
    assert said(audit(tmp_path / "after", receipts=kept)) == []


# --- Whom to believe ---


def test_the_founding_note_is_pinned_at_first_use(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "state")
    named = story().entries
    publish(tmp_path / "log", named)
    first = audit(tmp_path / "log", memory, founding=None)
    assert (first.verdict, first.keys) == (0, "TRUSTED ON FIRST USE: compare the founding note with another member's")
    assert audit(tmp_path / "log", memory, founding=None).keys == "pinned by an audit before"
    strangers = [SigningKey(ORIGIN, key.type, b"x" * 32) for key in KEYS]
    note = founding.written(FoundingNote(ORIGIN, tuple(key.verifier for key in strangers)), strangers)
    publish(tmp_path / "log", named, keys=strangers, note=note)
    report = audit(tmp_path / "log", memory, founding=None)
    assert "the head is not signed by a key of the log" in said(report)[0]


def test_an_address_that_shows_another_log_than_before_is_told(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "state")
    publish(tmp_path / "log", story().entries)
    audit(tmp_path / "log", memory)
    memory.keep(str(tmp_path / "log"), "origin", b"coop.example/another")
    assert "the address showed another log before" in said(audit(tmp_path / "log", memory))[0]


def test_a_founding_note_is_signed_by_all_it_names(tmp_path: Path) -> None:
    keys = tuple(key.verifier for key in KEYS)
    founders = tuple(key.verifier for key in factory.FOUNDERS)
    note = FoundingNote(ORIGIN, keys, founders, chain=(("chain_id", "1"),), constitution="ab" * 32)
    written = founding.written(note, [*KEYS, *factory.FOUNDERS])
    assert founding.parse(written.encode()) == note
    for signers in (KEYS, factory.FOUNDERS):
        with pytest.raises(NoteRefused, match="did not sign the founding note"):
            founding.parse(founding.written(note, signers).encode())
    for change in (
        ('"witnesses_needed":0', '"witnesses_needed":1'),
        ('"chain":{"chain_id":"1"}', '"chain":{"chain_id":1}'),
        ('"officers":[]', '"officers":["x"]'),
        ('"origin":', '"other":0,"origin":'),
        ("founding v1", "founding v2"),
    ):
        changed = written.replace(*change)
        assert changed != written
        with pytest.raises(NoteRefused):
            founding.parse(changed.encode())


def test_witnesses_are_counted_and_may_be_needed(tmp_path: Path) -> None:
    publish(tmp_path, story().entries, witnesses=WITNESSES[:1])
    assert "outside witnesses: 1 of 2" in audit(tmp_path).trust()
    assert audit(tmp_path, witnesses_needed=1).verdict == 0
    assert "too few witnesses cosigned the head" in said(audit(tmp_path, witnesses_needed=2))[0]
    other = (factory.key("witness3.example", WITNESSES[0].type).verifier,)
    assert "outside witnesses: 0 of 1" in audit(tmp_path, witnesses=other).trust()


def test_a_cosignature_that_does_not_hold_is_told(tmp_path: Path) -> None:
    published = publish(tmp_path, story().entries, witnesses=WITNESSES)
    older = publish(tmp_path / "older", story().entries[:-1], witnesses=WITNESSES)
    *ours, mark = published.checkpoint.splitlines(True)[:-2], "— witness"
    lines = [*ours[0], *(line for line in older.checkpoint.splitlines(True) if line.startswith(mark))]
    (tmp_path / "checkpoint").write_text("".join(lines), encoding="utf-8")
    assert "a signature that does not hold" in said(audit(tmp_path))[0]


# --- Officers ---


def _attested_by(officers: Sequence[SigningKey]) -> list[factory.Named]:
    told = story()
    maker = told.maker
    maker.epoch = EPOCH + 2
    maker.end_batch(EPOCH + 2)
    maker.attest(EPOCH + 2, officers=officers)
    maker.end_batch()
    return told.entries


def test_only_officers_of_the_founding_note_attest(tmp_path: Path) -> None:
    strangers = [factory.key("coop.example/cousin"), factory.OFFICERS[0]]
    publish(tmp_path, _attested_by(strangers))
    report = audit(tmp_path)
    assert "not officers of the founding note: coop.example/cousin" in said(report)[0]
    assert "bank at the close of 2026-05: NOT attested" in report.trust()
    (tmp_path / "founding").unlink()
    unvouched = audit(tmp_path, founding=None, keys=factory.VERIFIERS)
    assert unvouched.verdict == 0
    assert any("no founding note vouches for them" in line for line in unvouched.trust())


def test_one_officer_is_not_two(tmp_path: Path) -> None:
    publish(tmp_path, _attested_by([factory.OFFICERS[0]] * 2))
    assert "an attestation has two officers" in said(audit(tmp_path))[0]


def test_the_note_of_the_tests_is_one() -> None:
    assert founding.parse(NOTE.encode()).keys == factory.VERIFIERS
