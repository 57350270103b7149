"""The founding note: written by the service, signed by people, published once, and what an auditor makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import segno

from ledger import founding as notes
from ledger.note import KeyType, SigningKey, VerifierKey, parse_note
from streamcoop.adapters.chain import ContractMissing, WrongChain
from streamcoop.adapters.objects import ObjectStoreUnavailable
from streamcoop.database import transaction
from streamcoop.settings import settings
from streamcoop.transparency import founding
from streamcoop.transparency.contracts import chain_facts
from tests.embedded.chain_process import ChainProcess, running_chain, write_key
from tests.transparency.desk import Desk, Faltering, secret
from tests.transparency.press import ORIGIN

WITNESS = SigningKey("witness.example/w", KeyType.ED25519_COSIGNATURE, bytes(range(32))).verifier
# A poster's: 57 modules a side.
QR_VERSION_MAX = 10
NOBODY = "http://127.0.0.1:1"
ELSEWHERE = "0x" + "11" * 20


def draft(desk: Desk, *words: object) -> Path:
    """A founding note of two founders and two officers that nobody has signed but the log."""
    note = desk.folder / "founding.note"
    people = {name: desk.person(name) for name in ("putri", "kyai", "officer-1", "officer-2")}
    founders = [word for name in ("putri", "kyai") for word in ("--founder", people[name])]
    officers = [word for name in ("officer-1", "officer-2") for word in ("--officer", people[name])]
    desk.must("founding", *founders, *officers, *words, "-o", note)
    return note


def sign(desk: Desk, note: Path, *names: str) -> None:
    for name in names:
        desk.must("sign-founding", note, "--key-file", desk.key_file(name))


def test_a_founding_note_is_signed_by_all_published_once_and_believed(desk: Desk) -> None:
    note = draft(desk, "--witness", WITNESS, "--witnesses-needed", 0)
    assert desk.press.label.client.get("/log/founding").status_code == 404
    assert (
        "Still to sign: kyai@coop.example."
        in desk.must("sign-founding", note, "--key-file", desk.key_file("putri")).stderr
    )
    assert "did not sign" in desk.refused("publish-founding", note)
    assert "All founders have signed." in desk.must("sign-founding", note, "--key-file", desk.key_file("kyai")).stderr
    for _ in range(2):
        desk.must("publish-founding", note)
    served = desk.press.label.client.get("/log/founding")
    assert served.content == note.read_bytes()
    assert served.headers["content-type"] == "text/plain; charset=utf-8"
    told = notes.parse(served.content)
    assert told.origin == ORIGIN
    assert told.constitution == desk.press.label.founding.constitution.hash
    assert [key.name for key in told.officers] == ["officer-1@coop.example", "officer-2@coop.example"]
    assert told.witnesses == (WITNESS,)
    desk.press.publish()
    # The note alone is enough to begin with.
    report = desk.press.require_whole(keys=(), founding=served.content)
    assert report.witnesses_known == 1


def test_the_witnesses_asked_for_are_missed_in_an_audit(desk: Desk) -> None:
    note = draft(desk, "--witness", WITNESS, "--witnesses-needed", 1)
    sign(desk, note, "putri", "kyai")
    desk.must("publish-founding", note)
    desk.press.publish()
    report = desk.press.audit()
    assert [finding.what for finding in report.findings.first] == ["too few witnesses cosigned the head"]


def test_witnesses_are_those_of_the_settings_unless_others_are_named(desk: Desk) -> None:
    desk.set("LOG_WITNESSES", f'["{WITNESS} https://witness.example"]')
    desk.set("LOG_WITNESSES_NEEDED", "1")
    told = notes.draft(draft(desk).read_bytes())[1]
    assert (told.witnesses, told.witnesses_needed) == ((WITNESS,), 1)


def test_no_more_witnesses_are_needed_than_there_are(desk: Desk) -> None:
    said = desk.refused("founding", "--witness", WITNESS, "--witnesses-needed", 2, "-o", desk.folder / "note")
    assert "how many witnesses are needed" in said
    assert not [*desk.folder.iterdir()]


def test_a_note_that_is_there_is_not_written_over(desk: Desk) -> None:
    note = draft(desk)
    before = note.read_bytes()
    desk.refused("founding", "-o", note)
    assert note.read_bytes() == before


def test_only_founders_sign_and_each_once(desk: Desk) -> None:
    note = draft(desk)
    before = note.read_bytes()
    for stranger in ("officer-1", "mallory"):
        if stranger == "mallory":
            desk.person(stranger)
        assert "names no such founder" in desk.refused("sign-founding", note, "--key-file", desk.key_file(stranger))
    assert note.read_bytes() == before
    sign(desk, note, "putri")
    once = note.read_bytes()
    sign(desk, note, "putri")
    assert note.read_bytes() == once
    assert once.startswith(before)


def test_a_founder_of_the_same_name_with_another_key_is_none(desk: Desk) -> None:
    note = draft(desk)
    desk.key_file("putri").unlink()
    desk.person("putri")
    desk.refused("sign-founding", note, "--key-file", desk.key_file("putri"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (ORIGIN, "log.example/other"),
        ('"witnesses_needed":0', '"witnesses_needed":00'),
        ('"constitution":"', '"constitution":"0'),
        ("streamcoop founding v1", "streamcoop founding v2"),
        ("— ", "- "),
        ("\n\n", "\n"),
    ],
)
def test_what_was_changed_is_neither_signed_nor_published(desk: Desk, old: str, new: str) -> None:
    note = draft(desk)
    sign(desk, note, "putri", "kyai")
    text = note.read_text(encoding="utf-8")
    assert old in text
    note.write_text(text.replace(old, new), encoding="utf-8")
    desk.refused("sign-founding", note, "--key-file", desk.key_file("putri"))
    desk.refused("publish-founding", note)
    assert not (desk.press.log / "founding").exists()


def test_another_founding_note_does_not_replace_the_published_one(desk: Desk) -> None:
    first = desk.founded([], "putri")
    second = desk.folder / "second.note"
    desk.must("founding", "-o", second)
    assert "it stays" in desk.refused("publish-founding", second)
    assert (desk.press.log / "founding").read_bytes() == first.read_bytes()


def test_a_founding_note_of_another_log_or_other_keys_is_not_published(desk: Desk) -> None:
    log_key = settings().log_key
    assert log_key is not None
    other_keys, other_log = desk.folder / "keys.note", desk.folder / "log.note"
    desk.set("LOG_KEY", secret(3))
    desk.must("founding", "-o", other_keys)
    desk.set("LOG_KEY", log_key.get_secret_value())
    desk.set("LOG_ORIGIN", "log.example/other")
    desk.must("founding", "-o", other_log)
    desk.set("LOG_ORIGIN", ORIGIN)
    for note in (other_keys, other_log):
        assert "not of this log" in desk.refused("publish-founding", note)


@pytest.mark.parametrize("is_done", [False, True])
def test_publishing_the_note_may_be_cut_off_and_repeated(desk: Desk, is_done: bool) -> None:
    note = draft(desk)
    sign(desk, note, "putri", "kyai")
    store: Any = Faltering(desk.press.store, 0, is_done)
    with transaction() as session, pytest.raises(ObjectStoreUnavailable):
        founding.publish(session, store, settings(), note.read_bytes())
    assert (founding.published(desk.press.store) is not None) == is_done
    desk.must("publish-founding", note)
    assert (desk.press.log / "founding").read_bytes() == note.read_bytes()


def test_what_the_published_note_is_known_by_is_told(desk: Desk) -> None:
    assert founding.published_pin(desk.press.store) is None
    note = desk.founded([], "putri")
    assert founding.published_pin(desk.press.store) == notes.pin(parse_note(note.read_bytes()))


def test_after_a_rotation_the_note_still_leads_to_the_new_keys(desk: Desk) -> None:
    note = desk.founded([], "putri")
    desk.press.publish()
    desk.must("rotate-keys", "--new-key-file", desk.folder / "next")
    desk.take_key(desk.folder / "next")
    desk.press.publish()
    desk.press.require_whole(keys=(), founding=note.read_bytes())
    desk.must("publish-founding", note)


# --- As a QR code ---


def test_a_qr_code_says_what_the_note_is_known_by_and_where_the_log_is(desk: Desk) -> None:
    assert "no founding note is published" in desk.refused("founding-qr")
    note = desk.founded([], "putri")
    pinned = notes.pin(parse_note(note.read_bytes()))
    told = f"{pinned} {settings().public_address}/log"
    assert desk.must("founding-qr").stdout.endswith(f"{told}\n")
    for kind, begins in (("svg", b"<?xml"), ("png", b"\x89PNG")):
        drawn = desk.folder / f"poster.{kind}"
        assert desk.must("founding-qr", note, "-o", drawn).stdout == f"{told}\n"
        assert drawn.read_bytes().startswith(begins)
        desk.refused("founding-qr", note, "-o", drawn)
    desk.press.publish()
    desk.press.require_whole(keys=(), founding_pin=pinned)
    assert segno.make_qr(told, error="m").version <= QR_VERSION_MAX


# --- The chain ---


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("chain")
    write_key(folder / "key")
    with running_chain(folder / "data", folder / "key") as process:
        yield process


def on_chain(desk: Desk, chain: ChainProcess, **changes: str) -> None:
    values = {
        "CHAIN_RPC_URL": chain.rpc_url,
        "MEMBERSHIP_CONTRACT": chain.membership_contract,
        "ANCHOR_CONTRACT": chain.anchor_contract,
        **changes,
    }
    for name, value in values.items():
        desk.set(name, value)


def test_the_note_tells_the_chain_its_contracts_and_their_code(desk: Desk, chain: ChainProcess) -> None:
    on_chain(desk, chain)
    told = dict(notes.draft(draft(desk).read_bytes())[1].chain)
    assert told["chain_id"] == str(chain.chain_id)
    assert (told["membership"], told["anchor"]) == (chain.membership_contract, chain.anchor_contract)
    hashes = {told["membership_code_hash"], told["anchor_code_hash"]}
    assert len(hashes) == 2
    assert all(len(each) == 66 for each in hashes)


def test_of_a_chain_that_does_not_answer_the_settings_are_told(desk: Desk, chain: ChainProcess) -> None:
    on_chain(desk, chain, CHAIN_RPC_URL=NOBODY, CHAIN_ID="7")
    result = desk.must("founding", "-o", desk.folder / "note")
    assert "does not answer for membership" in result.stderr
    assert dict(notes.draft((desk.folder / "note").read_bytes())[1].chain) == {
        "anchor": chain.anchor_contract,
        "chain_id": "7",
        "membership": chain.membership_contract,
    }


def test_nothing_is_founded_on_another_chain_or_on_no_contract(desk: Desk, chain: ChainProcess) -> None:
    on_chain(desk, chain, CHAIN_ID=str(chain.chain_id + 1))
    with pytest.raises(WrongChain):
        chain_facts(settings())
    desk.refused("founding", "-o", desk.folder / "note")
    on_chain(desk, chain, CHAIN_ID=str(chain.chain_id), ANCHOR_CONTRACT=ELSEWHERE)
    with pytest.raises(ContractMissing):
        chain_facts(settings())
    desk.refused("founding", "-o", desk.folder / "note")


def test_officers_have_keys_that_the_log_can_hold(desk: Desk) -> None:
    long = VerifierKey("x" * 200, KeyType.ED25519, desk.person("putri").public)
    assert "too long" in desk.refused("founding", "--officer", long, "-o", desk.folder / "note")
    assert "Ed25519" in desk.refused("founding", "--officer", WITNESS, "-o", desk.folder / "note")
