"""The log's keys: shown, kept in files, and changed without a head or a receipt that anybody would doubt."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.errors import RestrictViolation

from ledger import entries
from ledger.merkle import consistency_proof
from ledger.note import (
    KeyType,
    NoteRefused,
    SigningKey,
    VerifierKey,
    b64,
    parse_checkpoint,
    parse_note,
    parse_verifier_key,
)
from ledger.store import batches
from ledger.store.rotations import Rotation
from ledger.tiles import TiledTree
from ledger.witness import Verdict
from streamcoop.adapters.objects import ObjectStoreUnavailable
from streamcoop.database import transaction
from streamcoop.settings import settings
from streamcoop.transparency import files, key_files, publishing, rotating
from streamcoop.transparency.key_files import KeyFileRefused
from streamcoop.transparency.keys import Keyring, OtherKeysSign, keys_from
from streamcoop.witness import service as witnessing
from tests.ledger import factories
from tests.transparency.desk import Desk, Faltering, secret
from tests.transparency.press import ORIGIN, Press

EPOCH = factories.EPOCH
STEPS_MAX = 100


def shown_keys(desk: Desk) -> tuple[VerifierKey, ...]:
    return tuple(map(parse_verifier_key, desk.must("keys").stdout.splitlines()))


def keys_in(file: Path) -> tuple[VerifierKey, ...]:
    return tuple(key.verifier for key in keys_from(file.read_text(encoding="utf-8").strip(), ORIGIN))


def rotations(press: Press) -> list[Any]:
    return press.label.rows("select batch, keys from ledger.log_keys order by batch")


# --- Shown, and in files ---


def test_the_keys_that_are_shown_are_those_that_sign(desk: Desk) -> None:
    keys = shown_keys(desk)
    assert [key.type for key in keys] == [KeyType.ED25519, KeyType.ML_DSA_44]
    assert desk.press.publish() is not None
    desk.press.require_whole(keys=keys)


def test_a_new_key_is_its_owners_alone_and_replaces_no_other(desk: Desk) -> None:
    made = desk.person("lestari")
    file = desk.key_file("lestari")
    assert file.stat().st_mode & 0o777 == 0o600
    assert key_files.read_key(file).verifier == made
    before = file.read_bytes()
    assert "exists" in desk.refused("new-key", "lestari@coop.example", "-o", file)
    assert file.read_bytes() == before
    assert [each.name for each in desk.folder.iterdir()] == [file.name]


@pytest.mark.parametrize("name", ["", "two words", "a+b", "x" * 101])
def test_what_cannot_be_a_keys_name_makes_no_file(desk: Desk, name: str) -> None:
    desk.refused("new-key", name, "-o", desk.key_file("nobody"))
    assert not [*desk.folder.iterdir()]


def test_a_key_is_written_as_other_programs_write_it(tmp_path: Path) -> None:
    # Made by hand from the description of signed notes in Go: the public half is the specification's own pair.
    key = SigningKey("example.com/foo", KeyType.ED25519, bytes(32))
    text = key_files.written(key)
    assert text.startswith(f"PRIVATE+KEY+example.com/foo+{key.verifier.key_id.hex()}+AQAAAA")
    file = tmp_path / "key"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    assert key_files.read_key(file) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PRIVATE+KEY+",
        "PRIVATE+KEY+name+00000000+AQAA",
        "PRIVATE+KEY+name+00000000+" + key_files.b64(b"\x01" + bytes(32)),
        "PRIVATE+KEY+name+00000000+" + key_files.b64(b"\x09" + bytes(32)),
        key_files.written(SigningKey("name", KeyType.ML_DSA_44, bytes(32))),
        key_files.written(SigningKey("name", KeyType.ED25519, bytes(32))).replace("name", "other"),
        "x" * 2_000,
    ],
)
def test_what_is_no_private_key_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    with pytest.raises(KeyFileRefused):
        key_files.read_key(file)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_not_used(desk: Desk, mode: int) -> None:
    desk.person("lestari")
    desk.key_file("lestari").chmod(mode)
    with pytest.raises(KeyFileRefused, match="0600"):
        key_files.read_key(desk.key_file("lestari"))


# --- State ---


def test_the_state_of_a_log_is_told(desk: Desk) -> None:
    told = json.loads(desk.must("status", "--json").stdout)
    # The close of the first epoch has ended a batch.
    assert (told["size"], told["batch"], told["waiting"], told["stopped"]) == (0, None, 1, None)
    assert "nothing is published yet" in desk.must("status").stdout
    head = desk.press.publish()
    assert head is not None
    told = json.loads(desk.must("status", "--json").stdout)
    assert (told["size"], told["batch"], told["waiting"], told["stopped"]) == (head.size, 2, 0, None)
    assert told["published_at"] == desk.press.label.clock.now().isoformat()
    assert f"{head.size:,} entries" in desk.must("status").stdout


def test_a_log_without_a_key_is_stopped(desk: Desk) -> None:
    desk.monkeypatch.delenv("STREAMCOOP_LOG_KEY")
    settings.cache_clear()
    assert desk.log("status").exit_code == 1
    assert "signs no log" in desk.refused("keys")


def test_a_log_whose_key_was_taken_away_answers_that_it_is_not_signed(desk: Desk) -> None:
    label = desk.press.label
    artist, lestari = label.person("Kyai", "artist"), label.listener()
    label.play(lestari, label.track(artist))
    desk.press.publish()
    label.play(lestari, label.track(artist))
    named = label.get("/royalties/names", artist)[0]
    desk.monkeypatch.delenv("STREAMCOOP_LOG_KEY")
    settings.cache_clear()
    told, untold = (f"/plays/{play}/receipt" for play in desk.press.plays_of(lestari))
    for path, person in ((told, lestari), (untold, lestari), (f"/royalties/names/{named['split_id']}/receipt", artist)):
        answer = label.call("GET", path, person)
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/log-not-signed")


def test_files_that_are_not_what_the_rows_say_stop_the_log(desk: Desk) -> None:
    desk.press.publish()
    whole = json.loads(desk.must("status", "--json").stdout)
    (desk.press.log / "heads" / f"{whole['batch']:09}").unlink()
    result = desk.log("status")
    assert result.exit_code == 1
    assert "STOPPED: the log is not what these rows say" in result.stdout


def test_a_database_that_knows_less_than_was_published_stops_the_log(desk: Desk) -> None:
    desk.press.publish()
    desk.press.publish()
    # As after putting back a database of before: the last batch is open again, and yet shown.
    with psycopg.connect(desk.press.label.database.superuser_url) as conn:
        conn.execute("delete from ledger.log_batch where closed_at is null")
        last = "number = (select max(number) from ledger.log_batch)"
        conn.execute(
            f"update ledger.log_batch set closed_at = null, published_at = null, first_index = null where {last}"
        )
    result = desk.log("status")
    assert result.exit_code == 1
    assert "STOPPED: the published log goes on beyond this database" in result.stdout


# --- Rotation ---

SECRETS = [secret(byte) for byte in range(1, 7)]


@given(st.sets(st.integers(1, 30), min_size=1, max_size=5), st.integers(0, 31))
def test_each_batch_has_the_keys_of_the_last_rotation_up_to_it(batches_of: set[int], batch: int) -> None:
    own = [tuple(keys_from(each, ORIGIN)) for each in SECRETS[: len(batches_of) + 1]]
    texts = [tuple(str(key.verifier) for key in keys) for keys in own]
    rotations = tuple(
        Rotation(number, before, after, number <= batch)
        for number, before, after in zip(sorted(batches_of), texts, texts[1:], strict=False)
    )
    turn = sum(number <= batch for number in batches_of)
    for place, keys in enumerate(own):
        ring = Keyring(keys, rotations)
        assert [*map(str, ring.of(batch))] == [*texts[turn]] == [*map(str, ring.current)]
        assert {*map(str, ring.all)} == {text for each in texts for text in each}
        if place == turn:
            assert ring.signing(batch) == keys
        else:
            with pytest.raises(OtherKeysSign):
                ring.signing(batch)
        assert ring.is_known == (place <= turn)


@given(st.integers(0, 31))
def test_without_a_rotation_every_batch_is_the_settings_keys(batch: int) -> None:
    own = tuple(keys_from(SECRETS[0], ORIGIN))
    assert Keyring(own, ()).signing(batch) == own
    assert Keyring((), ()).of(batch) == Keyring((), ()).all == []


def test_keys_are_changed_and_all_of_before_stays_verifiable(desk: Desk, tmp_path: Path) -> None:
    press, label = desk.press, desk.press.label
    artist, lestari = label.person("Kyai", "artist"), label.listener()
    track = label.track(artist)
    label.play(lestari, track, 2)
    press.publish()
    old = shown_keys(desk)
    receipts = tmp_path / "receipts"
    receipts.mkdir()
    first, second = press.plays_of(lestari)
    press.keep_receipt(receipts, lestari, f"/plays/{first}/receipt", "before")
    label.play(lestari, track)
    third = press.plays_of(lestari)[-1]
    promise = label.get(f"/plays/{third}/receipt", lestari)["promise"]
    (receipts / "third.promise").write_text(promise, encoding="utf-8")

    file = desk.folder / "next"
    new = tuple(map(parse_verifier_key, desk.must("rotate-keys", "--new-key-file", file).stdout.splitlines()))
    assert file.stat().st_mode & 0o777 == 0o600
    assert new == keys_in(file) != old
    assert shown_keys(desk) == old
    rotated = press.end_batch()
    with pytest.raises(OtherKeysSign):
        press.publish(end=False)
    told = desk.log("status")
    assert told.exit_code == 1
    assert f"batch {rotated} waits for STREAMCOOP_LOG_KEY" in told.stdout
    # Nothing was written, so whoever audits now finds the log as it was.
    press.require_whole(receipts)

    desk.take_key(file)
    assert press.publish(end=False) is not None
    assert shown_keys(desk) == new
    assert json.loads(desk.must("status", "--json").stdout)["stopped"] is None
    press.keep_receipt(receipts, lestari, f"/plays/{second}/receipt", "after")
    press.keep_receipt(receipts, lestari, f"/plays/{third}/receipt", "kept")
    for pinned in (old, old[:1]):
        report = press.require_whole(receipts, keys=pinned)
        assert report.kinds[entries.KEYS] == 1
        assert len(report.receipts) == 4
    # The new keys vouch for the log. Only who has the old ones can tell what those signed.
    press.require_whole(keys=new)
    assert {each.file for each in press.audit(receipts, keys=new).receipts if not each.holds} == {
        "before.tlog-proof",
        "third.promise",
    }
    # Each head by its own keys, and by no other.
    desk.head(rotated - 1, old)
    desk.head(rotated, new)
    for batch, others in ((rotated - 1, new), (rotated, old)):
        with pytest.raises(NoteRefused):
            desk.head(batch, others)
    label.play(lestari, track)
    press.publish()
    press.require_whole(receipts, keys=old)


def test_the_log_goes_on_through_several_rotations(desk: Desk) -> None:
    first = shown_keys(desk)
    for name in ("one", "two", "three"):
        desk.press.publish()
        desk.must("rotate-keys", "--new-key-file", desk.folder / name)
        desk.press.end_batch()
        desk.take_key(desk.folder / name)
        desk.press.publish(end=False)
        assert shown_keys(desk) == keys_in(desk.folder / name)
        assert desk.press.require_whole(keys=first).kinds[entries.KEYS] == len(rotations(desk.press))
    assert len(rotations(desk.press)) == 3
    desk.press.require_whole(keys=keys_in(desk.folder / "two"))


def test_a_log_may_change_its_keys_before_anything_is_published(desk: Desk) -> None:
    press, old = desk.press, shown_keys(desk)
    press.publish()
    desk.must("rotate-keys", "--new-key-file", desk.folder / "next")
    desk.take_key(desk.folder / "next")
    press.publish()
    press.require_whole(keys=old)


@pytest.mark.parametrize("step", ["file", "row undone", "row", "switched", "published"])
def test_a_rotation_that_is_killed_anywhere_and_repeated_ends_the_same_way(desk: Desk, step: str) -> None:
    press, old, file = desk.press, shown_keys(desk), desk.folder / "next"
    press.publish()
    steps = {
        "file": lambda: key_files.secret_once(file),
        "row undone": lambda: _undone(press, file),
        "row": lambda: desk.must("rotate-keys", "--new-key-file", file),
        "switched": lambda: desk.take_key(file),
        "published": press.publish,
    }
    for name, do in steps.items():
        do()
        if name == step:
            break
    new = keys_in(file)
    for _ in range(2):
        assert desk.must("rotate-keys", "--new-key-file", file).stdout.splitlines() == [*map(str, new)]
    assert [row.keys for row in rotations(press)] == [[*map(str, new)]]
    desk.take_key(file)
    press.publish()
    assert press.require_whole(keys=old).kinds[entries.KEYS] == 1
    assert shown_keys(desk) == new
    assert [each.name for each in desk.folder.iterdir()] == ["next"]


def _undone(press: Press, file: Path) -> None:
    """The command as it is killed before its commit."""
    with transaction() as session:
        rotating.rotate(session, press.store, settings(), key_files.secret_once(file))
        session.rollback()


@pytest.mark.parametrize("is_done", [False, True])
def test_publishing_the_batch_of_a_rotation_may_be_cut_off_at_every_write(desk: Desk, is_done: bool) -> None:
    press, old = desk.press, shown_keys(desk)
    press.publish()
    desk.must("rotate-keys", "--new-key-file", desk.folder / "next")
    press.end_batch()
    desk.take_key(desk.folder / "next")
    (batch,) = press.waiting()
    for writes in range(STEPS_MAX):
        store: Any = Faltering(press.store, writes, is_done)
        try:
            publishing.publish(press.writer(store), batch)
        except ObjectStoreUnavailable:
            # Whatever is shown meanwhile holds.
            press.require_whole(keys=old)
        else:
            break
    assert writes > 3
    assert press.require_whole(keys=old).kinds[entries.KEYS] == 1
    desk.head(batch.number, keys_in(desk.folder / "next"))


def test_keys_change_once_the_batches_of_before_are_published(desk: Desk) -> None:
    file = desk.folder / "next"
    assert "rotate once they are" in desk.refused("rotate-keys", "--new-key-file", file)
    desk.press.publish()
    desk.must("rotate-keys", "--new-key-file", file)


def test_one_rotation_after_the_other(desk: Desk) -> None:
    desk.press.publish()
    desk.must("rotate-keys", "--new-key-file", desk.folder / "one")
    assert "one rotation after the other" in desk.refused("rotate-keys", "--new-key-file", desk.folder / "two")
    assert len(rotations(desk.press)) == 1


def test_no_secret_that_signs_or_signed_is_rotated_to(desk: Desk) -> None:
    current = desk.folder / "current"
    current.write_text(settings().log_key.get_secret_value() + "\n", encoding="utf-8")  # type: ignore[union-attr]
    current.chmod(0o600)
    desk.press.publish()
    assert "a rotation needs another" in desk.refused("rotate-keys", "--new-key-file", current)
    desk.must("rotate-keys", "--new-key-file", desk.folder / "next")
    desk.take_key(desk.folder / "next")
    desk.press.publish()
    assert "a rotation needs another" in desk.refused("rotate-keys", "--new-key-file", current)


@pytest.mark.parametrize(("text", "mode"), [("", 0o600), ("short", 0o600), (secret(7), 0o644)])
def test_a_file_that_holds_no_secret_of_its_owners_alone_is_refused(desk: Desk, text: str, mode: int) -> None:
    desk.press.publish()
    file = desk.folder / "next"
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)
    desk.refused("rotate-keys", "--new-key-file", file)
    assert not rotations(desk.press)


def test_a_key_that_is_not_the_logs_hands_over_to_none_and_signs_nothing(desk: Desk) -> None:
    press = desk.press
    press.publish()
    before = (press.log / "checkpoint").read_bytes()
    desk.set("LOG_KEY", secret(9))
    assert "is not the key that signs" in desk.refused("rotate-keys", "--new-key-file", desk.folder / "next")
    press.end_batch()
    with pytest.raises(publishing.LogForked):
        press.publish(end=False)
    assert desk.log("status").exit_code == 1
    assert (press.log / "checkpoint").read_bytes() == before
    assert not rotations(press)


def test_no_third_key_signs_after_a_rotation(desk: Desk) -> None:
    press = desk.press
    press.publish()
    desk.must("rotate-keys", "--new-key-file", desk.folder / "next")
    desk.set("LOG_KEY", secret(9))
    press.end_batch()
    with pytest.raises(OtherKeysSign):
        press.publish(end=False)


def test_nothing_is_promised_by_keys_that_nobody_can_know_yet(desk: Desk, tmp_path: Path) -> None:
    press, label = desk.press, desk.press.label
    lestari, track = label.listener(), label.track(label.person("Kyai", "artist"))
    press.publish()
    desk.must("rotate-keys", "--new-key-file", desk.folder / "next")
    desk.take_key(desk.folder / "next")
    label.play(lestari, track)
    (play,) = press.plays_of(lestari)
    answer = label.call("GET", f"/plays/{play}/receipt", lestari)
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/not-yet-told")
    press.publish()
    label.play(lestari, track)
    promise = label.get(f"/plays/{press.plays_of(lestari)[-1]}/receipt", lestari)["promise"]
    receipts = tmp_path / "receipts"
    receipts.mkdir()
    (receipts / "one.promise").write_text(promise, encoding="utf-8")
    press.keep_receipt(receipts, lestari, f"/plays/{play}/receipt", "play")
    press.require_whole(receipts)


def test_a_batch_that_holds_a_rotation_alone_is_due(desk: Desk) -> None:
    desk.press.publish()
    later = desk.press.label.clock.now() + timedelta(days=2)
    with transaction() as session:
        assert not batches.is_due(session.connection(), later, 86_400, 10)
    desk.must("rotate-keys", "--new-key-file", desk.folder / "next")
    with transaction() as session:
        assert batches.is_due(session.connection(), later, 86_400, 10)


def test_a_rotation_is_never_taken_back_in_the_books(desk: Desk) -> None:
    desk.press.publish()
    desk.must("rotate-keys", "--new-key-file", desk.folder / "next")
    for statement in ("update ledger.log_keys set batch = batch + 1", "delete from ledger.log_keys"):
        with psycopg.connect(desk.press.label.database.superuser_url) as conn, pytest.raises(RestrictViolation):
            conn.execute(statement)


def test_the_worker_waits_for_the_key_and_says_so(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    from workers import log as worker  # here, because it reads the settings

    press = desk.press
    press.publish()
    desk.must("rotate-keys", "--new-key-file", desk.folder / "next")
    press.end_batch()
    before = (press.log / "checkpoint").read_bytes()
    assert worker.publish() == 0
    assert "log not published" in caplog.messages
    assert (press.log / "checkpoint").read_bytes() == before
    desk.take_key(desk.folder / "next")
    assert worker.publish() == 1
    assert press.require_whole().kinds[entries.KEYS] == 1


def submission(press: Press, old: int) -> bytes:
    """The head that is shown, as a witness is asked to cosign it after one of size `old`."""
    written = (press.log / "checkpoint").read_text(encoding="utf-8")
    size = parse_checkpoint(parse_note(written.encode()).text).size
    tree = TiledTree(size, files.reader(press.store))
    proof = [b64(node) for node in consistency_proof(old, size, tree.subtree)] if old else []
    return "\n".join([f"old {old}", *proof, "", written]).encode()


def test_a_witness_goes_on_once_it_is_told_the_new_keys(desk: Desk) -> None:
    press, own = desk.press, [SigningKey("witness.example/w", KeyType.ED25519_COSIGNATURE, bytes(32))]

    def add(keys: tuple[VerifierKey, ...]) -> None:
        with transaction() as session:
            for key in keys:
                witnessing.add_log(session, str(key), press.label.clock.now())

    def ask(old: int) -> Verdict:
        with transaction() as session:
            return witnessing.add_checkpoint(session, submission(press, old), own, press.label.clock.now()).verdict

    add(shown_keys(desk))
    before = press.publish()
    assert before is not None
    assert ask(0) is Verdict.COSIGNED
    desk.must("rotate-keys", "--new-key-file", desk.folder / "next")
    desk.take_key(desk.folder / "next")
    press.publish()
    assert ask(before.size) is not Verdict.COSIGNED
    add(keys_in(desk.folder / "next"))
    assert ask(before.size) is Verdict.COSIGNED


def test_a_batch_does_not_end_while_a_rotation_is_told_in_it(desk: Desk) -> None:
    press = desk.press
    press.publish()
    with ThreadPoolExecutor(1) as elsewhere:
        with transaction() as session:
            told = rotating.rotate(session, press.store, settings(), key_files.secret_once(desk.folder / "next"))
            ended = elsewhere.submit(press.end_batch)
            with pytest.raises(TimeoutError):
                ended.result(timeout=0.3)
        assert ended.result(timeout=10) == told.batch
    desk.take_key(desk.folder / "next")
    press.publish(end=False)
    assert press.require_whole().kinds[entries.KEYS] == 1
