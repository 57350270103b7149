"""The command: what people read, what programs read, and the exit status; and that it needs nothing of the service."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ledger import entries, founding
from ledger.note import Note, parse_note
from ledger.verify.command import verify_command
from ledger.verify.memory import Memory, default_folder
from ledger.verify.report import amount
from streamcoop import cli
from tests.ledger import log_factory as factory
from tests.ledger.log_factory import EPOCH, publish, story
from tests.ledger.verify.auditing import changed, keep, place_of

MODULES_OF_THE_SERVICE = (
    *("streamcoop", "fastapi", "starlette", "pydantic", "sqlalchemy", "psycopg", "celery", "web3", "boto3", "alembic"),
    *("ledger.store", "uvicorn", "httpx"),
)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is remembered is the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def verify(*args: object) -> Result:
    result = CliRunner().invoke(verify_command, [*map(str, args)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def as_json(*args: object) -> dict[str, Any]:
    found = json.loads(verify(*args, "--json").stdout)
    assert isinstance(found, dict)
    return found


def test_a_log_that_holds_is_reported_with_what_was_taken_on_trust(tmp_path: Path) -> None:
    publish(tmp_path / "log", story().entries, witnesses=factory.WITNESSES[:1])
    result = verify(tmp_path / "log")
    assert result.exit_code == 0, result.output
    for line in (
        "Test Co-op: coop.example/log",
        "51 of 51 entries",
        "outside witnesses: 1 of 2",
        "keys: TRUSTED ON FIRST USE",
        "bank at the close of 2026-03: attested by coop.example/treasurer and coop.example/chair",
        "anchors: not checked",
        "Arithmetic cannot show fictitious members spending fictitious money",
        "ALL OF IT HOLDS.",
    ):
        assert line in result.output
    assert "the log begins as it did" not in result.output
    again = verify(tmp_path / "log").output
    assert "pinned by an audit before" in again
    assert "✓ the log begins as it did when it was seen last" in again


def test_what_does_not_hold_is_told_with_its_entry_and_amounts(tmp_path: Path) -> None:
    named = story().entries
    place = place_of(named, entries.SEAL)
    publish(tmp_path / "log", changed(named, place, {"gross_micro": 1}))
    result = verify(tmp_path / "log")
    assert result.exit_code == 1
    gross = named[place][1]["gross_micro"]
    told = f"entry {place}: another gross_micro than the share-outs come to (expected {gross}, found 1)"
    assert told in result.output
    assert "IT DOES NOT HOLD." in result.output
    report = as_json(tmp_path / "log")
    assert (report["verdict"], report["findings_count"]) == ("does not hold", 1)
    assert [check for check, holds in report["checks"].items() if not holds] == ["seals"]
    assert report["findings"][0]["at"] == place


def test_a_log_that_cannot_be_read_is_no_verdict(tmp_path: Path) -> None:
    publish(tmp_path / "log", story().entries)
    (tmp_path / "log" / "tile" / "entries" / "000.p" / "51").unlink()
    result = verify(tmp_path / "log")
    assert result.exit_code == 2
    assert "Not read to its end: a file is missing: tile/entries/000" in result.output
    assert as_json(tmp_path / "log")["verdict"] == "could not be read"


@pytest.mark.parametrize(
    "args",
    [
        ["ftp://example.com/log"],
        ["no/such/folder"],
        [".", "--key", "nonsense"],
        [".", "--founding", "no/such/file"],
        [".", "--receipts", "no/such/folder"],
        [],
    ],
)
def test_what_cannot_begin_has_the_status_of_what_could_not_be_read(args: list[str]) -> None:
    result = verify(*args)
    assert result.exit_code == 2
    assert "Error" in result.output


def test_an_epochs_royalties_are_shown_line_by_line(tmp_path: Path) -> None:
    told = story()
    publish(tmp_path / "log", told.entries)
    shown = as_json(tmp_path / "log", "--epoch", "2026-03")
    assert {(line["track"], line["closed_in"]) for line in shown["lines"]} == {
        (str(told.song), EPOCH),
        (str(told.tune), EPOCH),
        (str(told.song), EPOCH + 1),
    }
    assert "Royalties of 2026-03" in verify(tmp_path / "log", "--epoch", "2026-03").output
    nothing = verify(tmp_path / "log", "--epoch", "1999-01")
    assert (nothing.exit_code, "no royalties of 1999-01" in nothing.output) == (0, True)


def test_keys_witnesses_receipts_and_state_can_be_given(tmp_path: Path) -> None:
    told = story()
    published = publish(tmp_path / "log", told.entries, witnesses=factory.WITNESSES, note=None)
    kept = keep(tmp_path / "kept", play_receipt=factory.play_receipt(told.maker, published, told.maker.plays[0]))
    args = [*(f"--key={key}" for key in factory.VERIFIERS), f"--witness={factory.WITNESSES[0].verifier}"]
    own = tmp_path / "own"
    report = as_json(tmp_path / "log", *args, "--witnesses-needed=1", "--receipts", kept, "--state", own)
    assert report["verdict"] == "holds"
    assert report["witnesses"] == ["witness1.example"]
    assert [outcome["holds"] for outcome in report["receipts"]] == [True]
    assert any(own.rglob("checkpoint"))
    assert not (tmp_path / "state").exists()
    assert "play_receipt.tlog-proof: play 1 of track" in verify(tmp_path / "log", *args, "--receipts", kept).output


def test_the_founding_note_of_another_log_is_told(tmp_path: Path) -> None:
    publish(tmp_path / "log", story().entries)
    (tmp_path / "note").write_text(factory.NOTE.replace("coop", "caap"), encoding="utf-8")
    assert verify(tmp_path / "log", "--founding", tmp_path / "note").exit_code == 1
    (tmp_path / "note").write_text(factory.NOTE, encoding="utf-8")
    assert "pinned by what was given" in verify(tmp_path / "log", "--founding", tmp_path / "note").output


def test_evidence_of_a_fork_is_checked_by_whoever_is_given_it(tmp_path: Path, state: Path) -> None:
    publish(tmp_path / "log", story().entries)
    verify(tmp_path / "log")
    publish(tmp_path / "log", story(2).entries)
    told = verify(tmp_path / "log")
    assert told.exit_code == 1
    (evidence,) = state.rglob("evidence-*.txt")
    assert str(evidence) in told.output
    shown = verify(evidence)
    sentence = "coop.example/log signed a log of 51 entries and one of 51, and they are not one.\n"
    assert (shown.exit_code, shown.output) == (0, sentence)
    other = verify(evidence, "--state", tmp_path / "nothing", f"--key={factory.VERIFIERS[0]}")
    assert (other.exit_code, other.output) == (0, sentence)
    for args in (["--state", tmp_path / "nothing"], [f"--key={factory.OFFICERS[0].verifier}"]):
        assert verify(evidence, *args).exit_code == 1
    for text in ("{}", "\xff", evidence.read_text(encoding="utf-8").replace("\n51\n", "\n40\n")):
        evidence.write_text(text, encoding="utf-8")
        refused = verify(evidence)
        assert (refused.exit_code, refused.output[:20]) == (1, "This shows no fork: ")


def test_a_state_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    publish(tmp_path / "log", story().entries)
    (tmp_path / "file").touch()
    result = verify(tmp_path / "log", "--state", tmp_path / "file" / "below")
    assert (result.exit_code, "cannot be read or kept" in result.output) == (2, True)


def test_states_are_kept_where_programs_keep_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert default_folder() == tmp_path / "state" / "streamcoop" / "verify"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert default_folder() == Path.home() / ".local" / "state" / "streamcoop" / "verify"


def test_no_origin_leads_out_of_the_state_folder(tmp_path: Path) -> None:
    kept = Memory(tmp_path / "own").keep("../../elsewhere", "checkpoint", b"")
    assert kept.resolve().is_relative_to(tmp_path / "own")


def test_the_services_command_has_it_too() -> None:
    of_the_service = cli.main.commands["verify"]
    assert {param.name for param in verify_command.params} < {param.name for param in of_the_service.params}
    assert of_the_service.help == verify_command.help


def test_it_needs_nothing_of_the_service() -> None:
    code = "import sys, ledger.verify.command; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    roots = set(loaded.split())
    assert "ledger.verify.run" in roots
    assert not roots & set(MODULES_OF_THE_SERVICE)


def test_the_library_needs_neither_a_terminal_nor_a_command_line() -> None:
    code = "import sys, ledger.verify.run; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert not set(loaded.split()) & {"click", "rich"}


@pytest.mark.parametrize(
    ("micro", "told"),
    [(0, "0.00"), (1_022_000, "1.022"), (-10_000, "-0.01"), (1_234_567_890_001, "1,234,567.890001")],
)
def test_amounts_are_told_to_the_unit(micro: int, told: str) -> None:
    assert amount(micro, 2) == told


def test_a_founding_note_is_pinned_by_what_its_qr_code_says(tmp_path: Path) -> None:
    published = publish(tmp_path / "log", story().entries)
    pin = founding.pin(parse_note(factory.NOTE.encode()))
    for told in (pin, f"{pin} https://coop.example/log"):
        result = verify(published.folder, "--founding", told, "--state", tmp_path / "fresh")
        assert result.exit_code == 0, result.output
        assert "keys: pinned by what was given" in result.output


def test_another_founding_note_than_the_pinned_one_is_not_believed(tmp_path: Path) -> None:
    published = publish(tmp_path / "log", story().entries)
    result = verify(published.folder, "--founding", founding.PIN + "0" * 64)
    assert result.exit_code == 1
    assert "another one than was given" in result.output
    (published.folder / "founding").unlink()
    assert verify(published.folder, "--founding", founding.PIN + "0" * 64).exit_code == 1


@pytest.mark.parametrize("told", ["sha256:", "sha256:12", "sha256:" + "G" * 64, "no-such-file"])
def test_what_pins_no_founding_note_is_refused(tmp_path: Path, told: str) -> None:
    publish(tmp_path / "log", story().entries)
    assert verify(tmp_path / "log", "--founding", told).exit_code == 2


def test_a_pin_stays_when_more_people_sign() -> None:
    note = parse_note(factory.NOTE.encode())
    assert founding.pin(note) == founding.pin(Note(note.text, note.signatures[:1]))
