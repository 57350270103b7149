"""A log that goes on from one whose key was stolen: what an auditor makes of the two."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ledger import entries, founding, rotation
from ledger.errors import NoteRefused
from ledger.founding import FoundingNote, Predecessor, predecessor_of
from ledger.note import Checkpoint, KeyType, SigningKey, signed
from ledger.tiles import Edge
from ledger.verify import run
from ledger.verify.command import verify_command
from ledger.verify.memory import Memory
from ledger.verify.reading import open_log
from ledger.verify.report import Report
from tests.ledger import log_factory as factory
from tests.ledger.log_factory import FOUNDERS, KEYS, OFFICERS, ORIGIN, VERIFIERS, WITNESSES, Named, Published, key
from tests.ledger.verify.auditing import NOW_S, changed, keep, place_of, said

NEW, NEWER = "coop.example/log-2", "coop.example/log-3"
NEW_KEYS, NEWER_KEYS = ([key(origin), key(origin, KeyType.ML_DSA_44)] for origin in (NEW, NEWER))
OLD_NOTE = founding.written(
    FoundingNote(
        ORIGIN,
        keys=VERIFIERS,
        founders=tuple(each.verifier for each in FOUNDERS),
        officers=tuple(each.verifier for each in OFFICERS),
        witnesses=tuple(each.verifier for each in WITNESSES),
        witnesses_needed=2,
    ),
    [*KEYS, *FOUNDERS],
)


def note_of(
    keys: Sequence[SigningKey],
    predecessor: Predecessor | None,
    founders: Sequence[SigningKey] = FOUNDERS,
    **named: Any,
) -> str:
    told = FoundingNote(
        keys[0].name,
        keys=tuple(each.verifier for each in keys),
        founders=tuple(each.verifier for each in founders),
        officers=tuple(each.verifier for each in OFFICERS),
        predecessor=predecessor,
        **named,
    )
    return founding.written(told, [*keys, *founders])


def publish(folder: Path, named: Sequence[Named] | Sequence[bytes], keys: Sequence[SigningKey], note: str) -> Published:
    """The log of these entries under the name of these keys."""
    published = factory.publish(folder, named, note=note)
    size = len(published.data)
    head = Checkpoint(keys[0].name, size, root_of(named, size))
    published.checkpoint = str(signed(str(head), keys, factory.FOUNDED_AT + size))
    (folder / "checkpoint").write_text(published.checkpoint, encoding="utf-8")
    return published


def root_of(named: Sequence[Named] | Sequence[bytes], size: int) -> bytes:
    edge = Edge()
    for entry in named[:size]:
        list(edge.append(entry if isinstance(entry, bytes) else entries.encode(*entry)))
    return edge.root()


@dataclass
class Two:
    """A story, told up to its second batch by a log that then ended, and as a whole by the one that goes on from it."""

    folder: Path
    story: factory.Story
    play: factory.Play
    """One of the first batch."""

    @property
    def named(self) -> list[Named]:
        return self.story.entries

    @property
    def end(self) -> int:
        return place_of(self.named, entries.BATCH, 2)

    @property
    def old(self) -> Path:
        return self.folder / "old"

    @property
    def new(self) -> Path:
        return self.folder / "new"

    def ended(self, size: int | None = None, witnesses: Sequence[SigningKey] = tuple(WITNESSES)) -> Published:
        """What the old log shows."""
        shutil.rmtree(self.old, ignore_errors=True)
        return factory.publish(self.old, self.named[: size or self.end], witnesses=witnesses, note=OLD_NOTE)

    def predecessor(self, witnesses: Sequence[SigningKey] = tuple(WITNESSES)) -> Predecessor:
        return predecessor_of(self.ended(witnesses=witnesses).checkpoint, OLD_NOTE)

    def opened(self, predecessor: Predecessor | None = None, **named: Any) -> Published:
        note = note_of(NEW_KEYS, predecessor or self.predecessor(), **named)
        return publish(self.new, self.named, NEW_KEYS, note)

    def audit(self, memory: Memory | None = None, *, old: Path | None = None, **asked: Any) -> Report:
        asked.setdefault("founding", (self.new / "founding").read_bytes())
        if old is not None:
            asked["predecessor"] = open_log(str(old))
        return run.verify(open_log(str(self.new)), run.Asked(**asked), NOW_S, memory)


@pytest.fixture
def two(tmp_path: Path) -> Two:
    plays: list[factory.Play] = []
    story = factory.story(then=lambda told: plays.append(told.maker.play(told.ann, told.tune)))
    return Two(tmp_path, story, *plays)


def test_a_log_that_goes_on_holds_with_all_that_was_told_before(two: Two) -> None:
    two.opened()
    report = two.audit(old=two.old)
    assert (report.verdict, said(report)) == (0, [])
    assert dict(report.checks())["lineage"]
    told = "\n".join(report.trust())
    assert f"goes on from {ORIGIN}, which ended at {two.end:,} entries: 2 of 2 witnesses cosigned" in told
    assert "1 of its 1 founders signed for this log" in told
    assert "all of which this log begins with" in told


def test_what_was_not_looked_at_is_said(two: Two) -> None:
    two.opened()
    report = two.audit()
    assert report.verdict == 0
    assert any("no later head" in line and "--predecessor" in line for line in report.trust())


def test_a_log_that_begins_otherwise_is_no_successor(two: Two) -> None:
    predecessor = two.predecessor()
    place = place_of(two.named, entries.BATCH)
    other = changed(two.named, place, {"closed_at": two.named[place][1]["closed_at"] - 1})
    publish(two.new, other, NEW_KEYS, note_of(NEW_KEYS, predecessor))
    assert any("does not begin as" in each for each in said(two.audit()))


def test_a_log_that_is_shorter_than_the_one_before_is_no_successor(two: Two) -> None:
    publish(two.new, two.named[: two.end - 3], NEW_KEYS, note_of(NEW_KEYS, two.predecessor()))
    assert any("shorter than" in each for each in said(two.audit()))


def test_a_head_that_too_few_witnesses_cosigned_is_not_the_last_good_one(two: Two) -> None:
    two.opened(two.predecessor(WITNESSES[:1]))
    assert any("too few witnesses cosigned the last head" in each for each in said(two.audit()))


def test_a_head_that_the_old_key_did_not_sign_is_none(two: Two) -> None:
    head = Checkpoint(ORIGIN, two.end, root_of(two.named, two.end))
    forged = signed(str(head), [key(ORIGIN + "x"), *WITNESSES], factory.FOUNDED_AT)
    two.opened(predecessor_of(str(forged), OLD_NOTE))
    assert any("not signed by its key" in each for each in said(two.audit()))


def test_strangers_cannot_go_on_with_a_log(two: Two) -> None:
    two.opened(founders=[key("mallory.example")])
    assert any("none of those who founded" in each for each in said(two.audit()))


def test_without_a_founding_note_that_tells_of_it_the_old_entries_are_another_logs(two: Two) -> None:
    publish(two.new, two.named, NEW_KEYS, note_of(NEW_KEYS, None))
    assert any("the founding is of another log" in each for each in said(two.audit()))
    assert any("tells of a log before" in each for each in said(two.audit(old=two.ended().folder)))


# --- What the ended log still shows ---


def test_what_the_stolen_key_signed_later_is_no_part_of_it(two: Two) -> None:
    two.opened()
    two.ended(two.end + 4, WITNESSES[:1])
    report = two.audit(old=two.old)
    assert report.verdict == 0
    assert any(f"{two.end + 4:,} entries, which too few witnesses cosigned" in line for line in report.trust())


def test_what_the_witnesses_cosigned_may_not_be_left_out(two: Two) -> None:
    two.opened()
    two.ended(two.end + 4)
    assert any("this log leaves out what came then" in each for each in said(two.audit(old=two.old)))


@pytest.mark.parametrize(("witnesses", "verdict"), [(WITNESSES, 1), (WITNESSES[:1], 0)])
def test_a_fork_of_the_old_log_counts_as_far_as_witnesses_cosigned_it(
    two: Two, witnesses: list[SigningKey], verdict: int
) -> None:
    two.opened()
    place = place_of(two.named, entries.BATCH)
    other = changed(two.named, place, {"closed_at": two.named[place][1]["closed_at"] - 1})
    shutil.rmtree(two.old)
    factory.publish(two.old, other, witnesses=witnesses, note=OLD_NOTE)
    report = two.audit(old=two.old)
    assert report.verdict == verdict
    assert any("another history" in line for line in report.trust())
    assert any("FORK" in each for each in said(report)) == bool(verdict)


def test_another_founding_note_or_another_log_is_not_the_one_before(two: Two) -> None:
    two.opened()
    (two.old / "founding").write_text(factory.NOTE, encoding="utf-8")
    assert any("another founding note" in each for each in said(two.audit(old=two.old)))
    assert any("another log" in each or "shows no head" in each for each in said(two.audit(old=two.new)))


# --- What is remembered ---


def seen(two: Two, memory: Memory, **asked: Any) -> None:
    report = run.verify(open_log(str(two.old)), run.Asked(founding=OLD_NOTE.encode(), **asked), NOW_S, memory)
    assert report.verdict == 0, said(report)


def test_who_saw_the_old_log_is_told_that_this_one_begins_with_it(two: Two) -> None:
    memory = Memory(two.folder / "memory")
    predecessor = two.predecessor()
    two.ended(place_of(two.named, entries.BATCH, 1))
    seen(two, memory)
    two.opened(predecessor)
    report = two.audit(memory)
    assert report.verdict == 0, said(report)
    assert any(f"{ORIGIN} before" in line and "all of which" in line for line in report.trust())


def test_who_saw_the_old_log_cosigned_further_is_told_what_is_left_out(two: Two) -> None:
    memory = Memory(two.folder / "memory")
    predecessor = two.predecessor()
    two.ended(len(two.named))
    seen(two, memory)
    two.opened(predecessor)
    assert any("leaves out" in each for each in said(two.audit(memory)))


def test_who_saw_a_fork_of_the_old_log_gets_evidence(two: Two) -> None:
    memory = Memory(two.folder / "memory")
    predecessor = two.predecessor()
    place = place_of(two.named, entries.BATCH)
    other = changed(two.named, place, {"closed_at": two.named[place][1]["closed_at"] - 1})
    shutil.rmtree(two.old)
    factory.publish(two.old, other[: two.end], witnesses=WITNESSES, note=OLD_NOTE)
    seen(two, memory)
    two.opened(predecessor)
    report = two.audit(memory)
    assert any("FORK" in each for each in said(report))
    (evidence,) = (two.folder / "memory").rglob("evidence-*.txt")
    shown = CliRunner().invoke(verify_command, [str(evidence), "--key", str(VERIFIERS[0])])
    assert shown.exit_code == 0, shown.output


def test_who_knew_another_founding_note_of_the_old_log_is_told(two: Two) -> None:
    memory = Memory(two.folder / "memory")
    predecessor = two.predecessor()
    seen(two, memory)
    memory.keep(ORIGIN, "founding", factory.NOTE.encode())
    two.opened(predecessor)
    assert any("another founding note" in each for each in said(two.audit(memory)))


# --- Receipts ---


def test_receipts_and_promises_of_the_old_log_are_worth_what_they_were(two: Two) -> None:
    old = two.ended()
    receipt = factory.play_receipt(two.story.maker, old, two.play)
    kept = keep(two.folder / "mine", play_receipt=receipt, promise=factory.promise(two.play))
    two.opened(predecessor_of(old.checkpoint, OLD_NOTE))
    report = two.audit(receipts=kept)
    assert report.verdict == 0, (said(report), report.receipts)
    assert all(outcome.holds for outcome in report.receipts)


def test_a_receipt_under_a_later_head_of_the_old_log_shows_nothing(two: Two) -> None:
    predecessor = two.predecessor()
    late = two.ended(len(two.named))
    kept = keep(two.folder / "mine", play_receipt=factory.play_receipt(two.story.maker, late, two.play))
    two.opened(predecessor)
    report = two.audit(receipts=kept)
    assert any("ask for a new receipt" in outcome.said for outcome in report.receipts)
    assert report.verdict == 1


def test_the_stolen_key_signs_nothing_of_the_new_log(two: Two) -> None:
    opened = two.opened()
    head = Checkpoint(NEW, len(opened.data), root_of(two.named, len(opened.data)))
    (two.new / "checkpoint").write_text(str(signed(str(head), KEYS, 1)), encoding="utf-8")
    report = two.audit()
    assert any("not signed by a key of the log" in each for each in said(report))


# --- Again, and with changed keys ---


def test_a_log_may_go_on_twice_and_change_its_keys_in_between(two: Two) -> None:
    rotated = [SigningKey(NEW, kind, bytes([7]) * 32) for kind in (KeyType.ED25519, KeyType.ML_DSA_44)]
    texts = [str(each.verifier) for each in rotated]
    told = {"keys": texts, "signatures": rotation.signatures(NEW, texts, NEW_KEYS)}
    last = place_of(two.named, entries.BATCH, 3)
    named: list[Named] = [*two.named[: last + 1], (entries.KEYS, told), *two.named[last + 1 :]]
    second = note_of(NEW_KEYS, two.predecessor())
    publish(two.new, named, rotated, second)
    assert said(two.audit()) == []
    middle = (two.new / "checkpoint").read_text(encoding="utf-8")
    third = note_of(NEWER_KEYS, predecessor_of(middle, second))
    publish(two.new, named, NEWER_KEYS, third)
    report = two.audit()
    assert said(report) == []
    assert [line.split(",")[0] for line in report.lineage[:2]] == [f"goes on from {ORIGIN}", f"goes on from {NEW}"]


# --- The note ---


def test_a_predecessor_is_another_log_with_its_own_note(two: Two) -> None:
    old = two.ended()
    with pytest.raises(NoteRefused, match="another log"):
        predecessor_of(old.checkpoint, note_of(NEW_KEYS, None))
    own = note_of(KEYS, two.predecessor())
    with pytest.raises(NoteRefused, match="a name that none before it had"):
        founding.parse(own.encode())


def test_a_founding_note_without_a_predecessor_says_so(two: Two) -> None:
    assert '"predecessor":{}' in OLD_NOTE
    assert founding.parse(note_of(NEW_KEYS, two.predecessor()).encode()).lineage[0].head.size == two.end


def test_logs_do_not_go_on_without_end(two: Two) -> None:
    note, head = OLD_NOTE, two.ended().checkpoint
    size, root = two.end, root_of(two.named, two.end)
    for number in range(founding.PREDECESSORS_MAX):
        keys = [key(f"coop.example/{number}")]
        note = note_of(keys, predecessor_of(head, note))
        founding.parse(note.encode())
        head = str(signed(str(Checkpoint(keys[0].name, size, root)), keys, 0))
    with pytest.raises(NoteRefused, match="without end"):
        founding.parse(note_of([key("coop.example/last")], predecessor_of(head, note)).encode())


def test_the_command_holds_two_logs_together(two: Two) -> None:
    two.opened()
    asked = [str(two.new), "--founding", str(two.new / "founding"), "--state", str(two.folder / "state")]
    result = CliRunner().invoke(verify_command, [*asked, "--predecessor", str(two.old)])
    assert result.exit_code == 0, result.output
    assert "goes on from" in result.output
    assert CliRunner().invoke(verify_command, [*asked, "--predecessor", str(two.folder / "none")]).exit_code == 2
