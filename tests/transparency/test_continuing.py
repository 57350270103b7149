"""Going on after the log's key was stolen: a new log opens from the last good head; nothing is lost or twice told."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from ledger import entries
from ledger import founding as notes
from ledger.note import Checkpoint, KeyType, Note, SigningKey, VerifierKey, parse_checkpoint, parse_note, signed
from ledger.tiles import ENTRIES, WIDTH, entries_of, path
from ledger.verify.anchors import Anchored
from ledger.verify.reading import open_log
from ledger.verify.report import Report
from ledger.verify.run import Asked, verify
from streamcoop.adapters.objects import ObjectStoreUnavailable
from streamcoop.database import transaction
from streamcoop.settings import settings
from streamcoop.transparency import continuing, files, recovering
from streamcoop.transparency.keys import keys_from
from streamcoop.transparency.publishing import LogForked
from tests.ledger import factories
from tests.royalties.label import Person
from tests.transparency.desk import Desk, Faltering, secret
from tests.transparency.press import ORIGIN
from tests.transparency.test_recovery import Yard
from tests.transparency.test_recovery import yard as yard

EPOCH = factories.EPOCH
NEW = "log.example/label-again"
NEWER = "log.example/label-once-more"
WITNESSES = [
    SigningKey(f"witness{number}.example/w", KeyType.ED25519_COSIGNATURE, bytes([number]) * 32) for number in (1, 2)
]
STEPS_MAX = 100


@dataclass
class Theft:
    """A log of two witnesses whose last heads only one of them cosigned: its key was stolen in between."""

    desk: Desk
    officers: list[VerifierKey] = field(default_factory=list)
    lestari: Person | None = None
    good: Path = Path()
    head: Checkpoint | None = None

    def cosigned_by(self, count: int) -> None:
        """So many witnesses cosign from here on."""
        keys = WITNESSES[:count]
        self.desk.press.cosign = lambda note, _head: "".join(str(key.sign(note.text, 1)) for key in keys)

    def publish(self) -> Checkpoint:
        head = self.desk.press.publish()
        assert head is not None
        return head

    def happens(self, *, rotates: bool = False) -> None:
        desk, label = self.desk, self.desk.press.label
        self.officers = [desk.person("officer-1"), desk.person("officer-2")]
        named = [word for key in self.officers for word in ("--officer", key)]
        note = desk.folder / "founding.note"
        desk.must("founding", *named, "--founder", desk.person("putri"), *self.witnessing, "-o", note)
        desk.must("sign-founding", note, "--key-file", desk.key_file("putri"))
        desk.must("publish-founding", note)
        kyai = label.person("Kyai", "artist")
        self.track = label.track(kyai)
        self.lestari = label.listener("Lestari")
        label.play(self.lestari, self.track, 3)
        self.cosigned_by(2)
        assert label.close(EPOCH)
        self.head = self.publish()
        self.good = desk.folder / "good-head"
        self.good.write_bytes((desk.press.log / "checkpoint").read_bytes())
        self.cosigned_by(1)
        if rotates:
            desk.must("rotate-keys", "--new-key-file", desk.folder / "in-vain")
            desk.take_key(desk.folder / "in-vain")
        label.play(self.lestari, self.track, 2, epoch=EPOCH + 1)
        self.publish()
        label.play(self.lestari, self.track, 1, epoch=EPOCH + 1)

    @property
    def witnessing(self) -> list[object]:
        return [word for key in WITNESSES for word in ("--witness", key.verifier)] + ["--witnesses-needed", 2]

    def draft(self, origin: str = NEW, *words: object, name: str = "new") -> Path:
        """The founding note of the log that is to go on, signed by its founder."""
        note = self.desk.folder / f"{name}.note"
        named = [word for key in self.officers for word in ("--officer", key)]
        putri = next(iter(notes.draft((self.desk.folder / "founding.note").read_bytes())[1].founders))
        self.desk.must(
            "continue-as", origin, "--new-key-file", self.desk.folder / name, *named, "--founder", putri,
            *self.witnessing, *words, "-o", note,
        )  # fmt: skip
        self.desk.must("sign-founding", note, "--key-file", self.desk.key_file("putri"))
        return note

    def go_on(self, note: Path, name: str = "new") -> None:
        self.desk.must("continue", note, "--new-key-file", self.desk.folder / name)

    def continued(self) -> Path:
        """The note of the new log, which is opened and goes on."""
        note = self.draft(NEW, "--head", self.good)
        self.go_on(note)
        self.desk.take_key(self.desk.folder / "new")
        self.cosigned_by(2)
        self.publish()
        return note

    def audit(self, place: int, receipts: Path | None = None, **asked: Any) -> Report:
        objects = self.desk.press.folder
        told = Asked(founding=self.file(place, "founding").read_bytes(), receipts=receipts, **asked)
        now_s = int(self.desk.press.label.clock.now().timestamp())
        return verify(open_log(str(objects / files.folder_of(place))), told, now_s)

    def require_whole(self, place: int, receipts: Path | None = None, **asked: Any) -> Report:
        report = self.audit(place, receipts, **asked)
        assert report.verdict == 0, (report.unreadable, [*map(str, report.findings.first)], report.receipts)
        return report

    def file(self, place: int, name: str) -> Path:
        return self.desk.press.folder / files.folder_of(place) / name

    def shown(self, place: int) -> Checkpoint:
        return parse_checkpoint(parse_note(self.file(place, "checkpoint").read_bytes()).text)

    def entries(self, place: int) -> list[bytes]:
        size = self.shown(place).size
        assert size < WIDTH
        return entries_of(self.file(place, path(ENTRIES, 0, size)).read_bytes(), size)

    def old_files(self) -> dict[str, bytes]:
        root = self.desk.press.log
        found = [each for each in root.rglob("*") if each.is_file() and each.relative_to(root).parts[0] != "2"]
        return {str(each.relative_to(root)): each.read_bytes() for each in found}


@pytest.fixture
def theft(desk: Desk) -> Theft:
    return Theft(desk)


def test_the_new_log_goes_on_from_the_last_good_head_and_holds(theft: Theft) -> None:
    theft.happens()
    before, old = theft.old_files(), theft.entries(1)
    theft.continued()
    assert theft.head is not None
    with closing(open_log(str(theft.desk.press.log))) as ended:
        report = theft.require_whole(2, predecessor=ended)
    told = "\n".join(report.trust())
    assert f"goes on from {ORIGIN}, which ended at {theft.head.size:,} entries: 2 of 2 witnesses" in told
    assert "which too few witnesses cosigned" in told
    # What was published and not cosigned is told again, to the byte; then what came since, and nothing twice.
    assert theft.entries(2)[: len(old)] == old
    plays = [entry for kind, entry in map(entries.parse, theft.entries(2)) if kind == entries.PLAYS]
    assert sum(each["count"] for each in plays) == 6
    assert theft.old_files() == before
    assert theft.shown(2).origin == NEW


def test_a_log_goes_on_at_an_address_of_its_own_and_the_old_one_stays(theft: Theft) -> None:
    theft.happens()
    theft.continued()
    client = theft.desk.press.label.client
    told = client.get("/api/v1/log").json()
    assert (told["origin"], told["address"].rpartition("/log")[2]) == (NEW, "/2")
    for place, origin in ((1, ORIGIN), (2, NEW)):
        answer = client.get(f"/{files.folder_of(place)}checkpoint")
        assert answer.text.startswith(f"{origin}\n")
        assert answer.headers["cache-control"] == "public, max-age=5"
        assert notes.parse(client.get(f"/{files.folder_of(place)}founding").content).origin == origin
    assert client.get("/log/3/checkpoint").status_code == 404
    assert client.get("/log/2/../checkpoint/x").status_code == 404


def test_receipts_of_before_hold_and_those_of_later_are_of_the_new_log(theft: Theft) -> None:
    theft.happens()
    press, lestari = theft.desk.press, theft.lestari
    assert lestari is not None
    mine = theft.desk.folder / "mine"
    mine.mkdir()
    (mine / "old.tlog-proof").write_text(
        press.keep_receipt(theft.desk.folder, lestari, f"/wallet/lines/{EPOCH}/receipt", "old").read_text()
    )
    first = press.plays_of(lestari)[-1]
    promised = press.label.get(f"/plays/{first}/receipt", lestari)["promise"]
    (mine / "mine.promise").write_text(promised, encoding="utf-8")
    theft.continued()
    for number, play in enumerate(press.plays_of(lestari)):
        press.keep_receipt(mine, lestari, f"/plays/{play}/receipt", f"play-{number}")
    report = theft.audit(2, receipts=mine, all_receipts=True)
    # The wallet's receipt is under the head that was not cosigned: it is to be asked for again.
    outcomes = {outcome.file: outcome for outcome in report.receipts}
    assert "ask for a new receipt" in outcomes.pop("old.tlog-proof").said
    assert all(outcome.holds for outcome in outcomes.values()), report.receipts
    press.keep_receipt(mine, lestari, f"/wallet/lines/{EPOCH}/receipt", "old")
    theft.require_whole(2, receipts=mine, all_receipts=True)


def test_the_new_log_is_closed_attested_and_rotated_as_any(theft: Theft) -> None:
    theft.happens()
    theft.continued()
    desk, label = theft.desk, theft.desk.press.label
    for number in (1, 2):
        desk.must("attest", EPOCH, bank(desk), "--key-file", desk.key_file(f"officer-{number}"))
    assert label.close(EPOCH + 1)
    theft.publish()
    desk.must("rotate-keys", "--new-key-file", desk.folder / "next")
    desk.take_key(desk.folder / "next")
    theft.publish()
    report = theft.require_whole(2)
    assert [totals.attested_by for totals in report.epochs if totals.epoch == EPOCH] == [
        [f"officer-{number}@coop.example" for number in (1, 2)]
    ]


def bank(desk: Desk) -> str:
    """What the books say the bank holds."""
    micro = desk.press.label.rows("select sum(money_micro) as micro from ledger.log_credit")[0].micro
    return f"{micro / 1_000_000:.2f}"


def test_a_rotation_that_came_too_late_is_told_by_no_other_log(theft: Theft) -> None:
    theft.happens(rotates=True)
    theft.continued()
    theft.require_whole(2)
    assert entries.KEYS not in [entries.parse(each)[0] for each in theft.entries(2)]
    assert entries.KEYS in [entries.parse(each)[0] for each in theft.entries(1)]
    lestari = theft.lestari
    assert lestari is not None
    mine = theft.desk.folder / "mine"
    mine.mkdir()
    for number, play in enumerate(theft.desk.press.plays_of(lestari)):
        theft.desk.press.keep_receipt(mine, lestari, f"/plays/{play}/receipt", f"play-{number}")
    theft.require_whole(2, receipts=mine)


def test_an_epoch_that_was_sealed_beyond_the_good_head_is_anchored_as_the_new_log_has_it(theft: Theft) -> None:
    theft.happens(rotates=True)
    label, anchors = theft.desk.press.label, "select epoch, size, root from coop.anchor order by epoch"
    assert label.close(EPOCH + 1)
    theft.publish()
    before = label.rows(anchors)
    theft.continued()
    after = label.rows(anchors)
    assert [row.epoch for row in before] == [row.epoch for row in after]
    # The good head holds the first seals; beyond it a rotation was told that the new log does not tell.
    assert before[:-1] == after[:-1]
    assert before[-1].root != after[-1].root
    told = [Anchored(row.epoch, row.size, bytes(row.root), *totals(theft, row.epoch)) for row in after[-1:]]
    report = theft.require_whole(2, anchors=told)
    assert report.anchored == [EPOCH + 1]


def totals(theft: Theft, epoch: int) -> tuple[int, int]:
    row = theft.desk.press.label.rows(f"select gross_micro, royalties_micro from coop.anchor where epoch = {epoch}")[0]
    return row.gross_micro, row.royalties_micro


def test_the_log_may_go_on_twice(theft: Theft) -> None:
    theft.happens()
    theft.continued()
    second = theft.draft(NEWER, name="third")
    theft.go_on(second, "third")
    theft.desk.take_key(theft.desk.folder / "third")
    label, lestari = theft.desk.press.label, theft.lestari
    assert lestari is not None
    label.play(lestari, theft.track, 1, epoch=EPOCH + 1)
    theft.publish()
    report = theft.require_whole(3)
    assert [line.split(",")[0] for line in report.lineage[:2]] == [f"goes on from {ORIGIN}", f"goes on from {NEW}"]
    theft.require_whole(2)


# --- What is refused ---


def test_a_log_does_not_go_on_from_a_head_that_too_few_witnesses_cosigned(theft: Theft) -> None:
    theft.happens()
    said = theft.desk.refused(
        "continue-as", NEW, "--new-key-file", theft.desk.folder / "new", "-o", theft.desk.folder / "n"
    )
    assert "too few witnesses" in said
    assert not (theft.desk.folder / "n").exists()


def test_witnesses_lines_are_put_together(theft: Theft) -> None:
    theft.happens()
    whole = parse_note(theft.good.read_bytes())
    heads = []
    for number, key in enumerate(WITNESSES):
        lines = [line for line in whole.signatures if line.name in (ORIGIN, key.name)]
        file = theft.desk.folder / f"head-{number}"
        file.write_text(str(Note(whole.text, tuple(lines))), encoding="utf-8")
        heads += ["--head", file]
    assert "too few witnesses" in theft.desk.refused(
        "continue-as", NEW, "--new-key-file", theft.desk.folder / "new", *heads[:2], "-o", theft.desk.folder / "n"
    )
    theft.draft(NEW, *heads)


def test_a_thiefs_head_is_no_good_one(theft: Theft) -> None:
    theft.happens()
    log_key = settings().log_key
    assert log_key is not None
    stolen = keys_from(log_key.get_secret_value(), ORIGIN)
    forged = theft.desk.folder / "forged"
    forged.write_text(str(signed(str(Checkpoint(ORIGIN, 7, bytes(32))), [*stolen, *WITNESSES], 1)), encoding="utf-8")
    said = theft.desk.refused(
        "continue-as", NEW, "--new-key-file", theft.desk.folder / "new", "--head", forged, "-o", theft.desk.folder / "n"
    )
    assert "no batch was published with it" in said


def test_a_log_without_a_founding_note_cannot_go_on(desk: Desk) -> None:
    desk.press.publish()
    said = desk.refused("continue-as", NEW, "--new-key-file", desk.folder / "new", "-o", desk.folder / "n")
    assert "no founding note" in said


def test_only_the_whole_note_of_the_right_keys_opens_the_new_log(theft: Theft) -> None:
    theft.happens()
    desk = theft.desk
    note = theft.draft(NEW, "--head", theft.good)
    unsigned = desk.folder / "unsigned"
    unsigned.write_text(note.read_text(encoding="utf-8").rpartition("— putri")[0], encoding="utf-8")
    assert "did not sign" in desk.refused("continue", unsigned, "--new-key-file", desk.folder / "new")
    other = desk.folder / "other"
    other.write_text(secret(9) + "\n", encoding="utf-8")
    other.chmod(0o600)
    assert "other keys" in desk.refused("continue", note, "--new-key-file", other)
    assert "not of this log" in desk.refused("publish-founding", note)
    assert "other keys" in desk.refused(
        "continue", desk.folder / "founding.note", "--new-key-file", desk.folder / "new"
    )
    assert not theft.file(2, "checkpoint").exists()


def test_the_place_of_the_next_log_is_given_once(theft: Theft) -> None:
    theft.happens()
    first = theft.draft(NEW, "--head", theft.good)
    second = theft.draft(NEWER, "--head", theft.good, name="other")
    theft.go_on(first)
    theft.go_on(first)
    assert "from another log" in theft.desk.refused("continue", second, "--new-key-file", theft.desk.folder / "other")
    assert theft.shown(2).origin == NEW


def test_a_worker_that_still_publishes_is_waited_for(theft: Theft) -> None:
    theft.happens()
    note = theft.draft(NEW, "--head", theft.good)
    with transaction() as session:
        session.execute(text("select pg_advisory_xact_lock(:key)"), {"key": continuing.LOCK})
        assert "unset STREAMCOOP_LOG_KEY" in theft.desk.refused(
            "continue", note, "--new-key-file", theft.desk.folder / "new"
        )


def test_the_old_key_publishes_nothing_more(theft: Theft) -> None:
    theft.happens()
    before = theft.old_files()
    theft.go_on(theft.draft(NEW, "--head", theft.good))
    with pytest.raises(LogForked):
        theft.publish()
    assert theft.old_files() == before


# --- Cut off, and put back ---


def test_it_may_be_cut_off_at_any_write_and_repeated(theft: Theft) -> None:
    theft.happens()
    note, new = theft.draft(NEW, "--head", theft.good).read_bytes(), (theft.desk.folder / "new").read_text().strip()
    clock = theft.desk.press.label.clock.now
    for number in range(STEPS_MAX):
        store: Any = Faltering(theft.desk.press.store, number, is_done=bool(number % 2))
        try:
            continuing.go_on(settings(), store, note, new, clock)
        except ObjectStoreUnavailable:
            with transaction() as session:
                assert not session.scalar(text("select count(*) from ledger.log_continued"))
                assert recovering.why_behind(session.connection(), theft.desk.press.store) in (None, recovering.GONE_ON)
            continue
        break
    else:
        pytest.fail("it never came to its end")
    assert number > 5
    theft.desk.take_key(theft.desk.folder / "new")
    theft.cosigned_by(2)
    theft.publish()
    theft.require_whole(2)


def test_until_the_database_knows_nothing_is_published(theft: Theft, monkeypatch: pytest.MonkeyPatch) -> None:
    theft.happens()
    note = theft.draft(NEW, "--head", theft.good)

    def fails(*_: object) -> None:
        raise ObjectStoreUnavailable("the database is gone")

    with monkeypatch.context() as patched:
        patched.setattr(continuing.continuing, "go_on", fails)
        theft.desk.refused("continue", note, "--new-key-file", theft.desk.folder / "new")
    from workers import log as worker  # it reads the settings

    before = theft.old_files()
    assert worker.publish() == 0
    assert theft.old_files() == before
    assert "under another name" in json.loads(theft.desk.log("status", "--json").stdout)["stopped"]
    theft.go_on(note)
    theft.desk.take_key(theft.desk.folder / "new")
    theft.publish()
    assert json.loads(theft.desk.must("status", "--json").stdout)["stopped"] is None


def test_a_database_of_before_is_brought_to_the_log_that_goes_on(theft: Theft, yard: Yard) -> None:
    theft.happens()
    taken = yard.back_up()
    theft.continued()
    published, rows = yard.files(), yard.everything()
    with yard.restored(taken) as restored:
        assert restored.is_held
        assert theft.desk.log("status").exit_code == 1
        yard.recover()
        assert yard.files() == published
        assert yard.everything() == rows
        lestari = theft.lestari
        assert lestari is not None
        theft.desk.press.label.play(lestari, theft.track, 1, epoch=EPOCH + 1)
        theft.publish()
        theft.require_whole(2)


def test_a_database_of_just_before_goes_on_once_it_is_told_again(theft: Theft, yard: Yard) -> None:
    theft.happens()
    taken = yard.back_up()
    note = theft.draft(NEW, "--head", theft.good)
    theft.go_on(note)
    with yard.restored(taken):
        assert "under another name" in json.loads(theft.desk.log("status", "--json").stdout)["stopped"]
        theft.go_on(note)
        theft.desk.take_key(theft.desk.folder / "new")
        theft.cosigned_by(2)
        theft.publish()
        theft.require_whole(2)


def test_a_backup_holds_the_log_and_those_before_up_to_their_last_good_heads(theft: Theft, yard: Yard) -> None:
    theft.happens()
    theft.continued()
    objects = yard.back_up() / "objects"
    for place, size in ((1, theft.head and theft.head.size), (2, theft.shown(2).size)):
        told = Asked(founding=(objects / files.folder_of(place) / "founding").read_bytes())
        report = verify(open_log(str(objects / files.folder_of(place))), told, 0)
        assert (report.verdict, report.size) == (0, size), [*map(str, report.findings.first)]
