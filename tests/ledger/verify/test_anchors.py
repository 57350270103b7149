"""A log held against what a chain says of it: what contradicts, what is missing, and what the command makes of both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ledger import entries, founding
from ledger.founding import FoundingNote
from ledger.note import KeyType, SigningKey, parse_checkpoint, parse_note
from ledger.verify.anchors import Anchored, NoAnchors
from ledger.verify.command import command_of, verify_command
from ledger.verify.reading import open_log
from ledger.verify.run import Asked, founding_of
from tests.ledger import log_factory as factory
from tests.ledger.log_factory import EPOCH, KEYS, NOTE, ORIGIN, Named, publish, story
from tests.ledger.verify.auditing import audit, place_of, said

CONTRACT = "0x" + "Ab" * 20
NODE = "http://node.example"


def anchors_of(folder: Path, named: Sequence[Named]) -> list[Anchored]:
    """What an honest service has anchored of a log: each seal's totals, and the head that ends with it."""
    found = []
    for place, (kind, entry) in enumerate(named):
        if kind == entries.SEAL:
            head = parse_checkpoint(
                parse_note(publish(folder / str(place), named[: place + 1]).checkpoint.encode()).text
            )
            found.append(Anchored(entry["epoch"], head.size, head.root, entry["gross_micro"], entry["royalties_micro"]))
    return found


@pytest.fixture
def named() -> list[Named]:
    return story().entries


@pytest.fixture
def anchors(named: list[Named], tmp_path: Path) -> list[Anchored]:
    """Of a log of two sealed epochs that is published in `tmp_path / "log"`."""
    publish(tmp_path / "log", named)
    found = anchors_of(tmp_path / "shorter", named)
    assert [anchor.epoch for anchor in found] == [EPOCH, EPOCH + 1]
    return found


# --- The audit ---


def test_a_log_that_holds_what_was_anchored_is_told_with_whose_chain_it_is(
    anchors: list[Anchored], tmp_path: Path
) -> None:
    report = audit(tmp_path / "log", anchors=anchors)
    assert said(report) == []
    assert "anchors: 2 of 2 sealed epochs, on a chain of the operator's own" in report.trust()
    assert dict(report.checks())["anchors"]
    independent = audit(tmp_path / "log", anchors=anchors, chain_is_independent=True)
    assert "anchors: 2 of 2 sealed epochs, on a chain independent of the operator" in independent.trust()
    unasked = audit(tmp_path / "log")
    assert "anchors: not checked" in unasked.trust()
    assert "anchors" not in dict(unasked.checks())


def test_what_is_sealed_after_the_latest_anchor_is_not_anchored_yet(anchors: list[Anchored], tmp_path: Path) -> None:
    report = audit(tmp_path / "log", anchors=anchors[:1])
    assert said(report) == []
    told = [*report.trust()]
    assert "anchors: 1 of 2 sealed epochs, on a chain of the operator's own" in told
    assert "not anchored yet: 2026-04" in told
    none = audit(tmp_path / "log", anchors=[])
    assert (none.verdict, none.anchored, none.unanchored) == (0, [], [EPOCH, EPOCH + 1])


def test_a_sealed_epoch_that_was_passed_over_is_found(anchors: list[Anchored], tmp_path: Path) -> None:
    report = audit(tmp_path / "log", anchors=anchors[1:])
    (finding,) = said(report)
    assert f"epoch {EPOCH} is not anchored, and a later one is" in finding
    assert report.unanchored == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"root": bytes(32)}, f"FORK: the log does not begin as epoch {EPOCH} was anchored"),
        ({"gross_micro": 1}, f"FORK: epoch {EPOCH} was anchored with another gross_micro"),
        ({"royalties_micro": 1}, f"FORK: epoch {EPOCH} was anchored with another royalties_micro"),
        ({"size": 10**6}, f"FORK: the log is shorter than as epoch {EPOCH} was anchored"),
        ({"size": 2**64 - 1}, f"FORK: the log is shorter than as epoch {EPOCH} was anchored"),
        ({"epoch": EPOCH - 1}, f"FORK: epoch {EPOCH - 1} is anchored, and the log does not seal it"),
        ({"epoch": EPOCH + 7}, f"FORK: epoch {EPOCH + 7} is anchored, and the log does not seal it"),
    ],
)
def test_an_anchor_that_contradicts_the_log_is_a_fork(
    anchors: list[Anchored], tmp_path: Path, change: dict[str, int | bytes], what: str
) -> None:
    first, second = anchors
    report = audit(tmp_path / "log", anchors=[replace(first, **change), second])  # type: ignore[arg-type]
    assert report.verdict == 1
    assert {finding.check for finding in report.findings.first} == {"anchors"}
    assert what in said(report)[0]


def test_an_anchor_from_before_its_seal_is_a_fork(named: list[Named], anchors: list[Anchored], tmp_path: Path) -> None:
    earlier = replace(anchors[1], size=anchors[0].size, root=anchors[0].root)
    (finding,) = said(audit(tmp_path / "log", anchors=[anchors[0], earlier]))
    assert "was anchored before it is sealed" in finding
    assert finding.startswith(f"entry {place_of(named, entries.SEAL, 1)}: ")


def test_a_history_that_was_written_anew_and_signed_is_a_fork(
    named: list[Named], anchors: list[Anchored], tmp_path: Path
) -> None:
    publish(tmp_path / "log", story(2).entries)
    assert said(audit(tmp_path / "log")) == []
    first = said(audit(tmp_path / "log", anchors=anchors))[0]
    assert first.startswith(f"FORK: the log does not begin as epoch {EPOCH} was anchored")


def test_of_a_log_that_cannot_be_read_to_its_end_what_was_read_is_compared(
    anchors: list[Anchored], tmp_path: Path
) -> None:
    last = next((tmp_path / "log" / "tile" / "entries" / "000.p").iterdir())
    last.unlink()
    report = audit(tmp_path / "log", anchors=anchors)
    assert (report.verdict, report.anchored) == (2, [])
    assert audit(tmp_path / "log", anchors=[replace(anchors[0], size=10**6)]).verdict == 1


# --- The command ---


class Node:
    """Whoever reads anchors, and what it was asked for."""

    def __init__(self, anchors: Sequence[Anchored]) -> None:
        self.anchors, self.asked = anchors, dict[str, object]()

    def __call__(
        self, rpc_url: str, contract: str, *, origin: str, chain_id: int | None, code_hash: str | None
    ) -> Sequence[Anchored]:
        self.asked = {"rpc_url": rpc_url, "contract": contract, "origin": origin, "id": chain_id, "code": code_hash}
        return self.anchors


def verify(node: Node | None, *args: object) -> Result:
    command = verify_command if node is None else command_of(node)
    result = CliRunner().invoke(command, [*map(str, args)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered is the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def noted(folder: Path, **facts: str) -> Path:
    """A founding note that tells these facts of the chain."""
    note = FoundingNote(ORIGIN, tuple(key.verifier for key in KEYS), chain=tuple(sorted(facts.items())))
    file = folder / "note"
    file.write_text(founding.written(note, KEYS), encoding="utf-8")
    return file


def test_a_contract_is_named_by_whoever_asks(anchors: list[Anchored], tmp_path: Path) -> None:
    node = Node(anchors)
    result = verify(node, tmp_path / "log", "--chain", NODE, "--anchor-contract", CONTRACT, "--chain-independent")
    assert result.exit_code == 0, result.output
    assert "✓ the log holds what was anchored on the chain" in result.output
    assert "anchors: 2 of 2 sealed epochs, on a chain independent of the operator" in result.output
    assert node.asked == {"rpc_url": NODE, "contract": CONTRACT, "origin": ORIGIN, "id": None, "code": None}


def test_else_the_founding_note_tells_contract_chain_and_code(anchors: list[Anchored], tmp_path: Path) -> None:
    node = Node(anchors)
    note = noted(tmp_path, chain_id="31337", anchor=CONTRACT, anchor_code_hash="0xab")
    told = {"rpc_url": NODE, "contract": CONTRACT, "origin": ORIGIN, "id": 31337, "code": "0xab"}
    args = (tmp_path / "log", "--founding", note, "--chain", NODE)
    result = verify(node, *args, "--json")
    assert node.asked == told
    assert json.loads(result.stdout)["anchors"] == {
        "anchored": ["2026-03", "2026-04"],
        "not_yet": [],
        "chain_is_independent": False,
    }
    verify(node, *args, "--anchor-contract", CONTRACT.lower())
    assert node.asked == {**told, "contract": CONTRACT.lower()}
    other = "0x" + "cd" * 20
    verify(node, *args, "--anchor-contract", other)
    assert node.asked == {**told, "contract": other, "id": None, "code": None}


def test_a_note_that_the_given_keys_did_not_sign_tells_of_no_chain(anchors: list[Anchored], tmp_path: Path) -> None:
    other = SigningKey(ORIGIN, KeyType.ED25519, bytes(32)).verifier
    log = open_log(str(tmp_path / "log"))
    assert founding_of(log, Asked(keys=(other,))) == (ORIGIN, None)
    assert founding_of(log, Asked(keys=factory.VERIFIERS)) == (ORIGIN, founding.parse(NOTE.encode()))


def test_an_anchor_that_contradicts_is_told_with_both_figures(anchors: list[Anchored], tmp_path: Path) -> None:
    node = Node([replace(anchors[0], gross_micro=1), anchors[1]])
    result = verify(node, tmp_path / "log", "--chain", NODE, "--anchor-contract", CONTRACT)
    assert result.exit_code == 1
    assert f"expected 1, found {anchors[0].gross_micro}" in result.output


def test_what_cannot_begin_is_no_verdict(anchors: list[Anchored], tmp_path: Path) -> None:
    class Silent(Node):
        def __call__(self, *_: object, **__: object) -> Sequence[Anchored]:
            raise NoAnchors(reason="it is away")

    log, node = tmp_path / "log", Node(anchors)
    note = noted(tmp_path, chain_id="one", anchor=CONTRACT)
    for told, args in (
        ("name it with --anchor-contract", (node, log, "--chain", NODE)),
        ("the founding note's chain id is none", (node, log, "--chain", NODE, "--founding", note)),
        ("it is away", (Silent([]), log, "--chain", NODE, "--anchor-contract", CONTRACT)),
        ("need --chain", (node, log, "--anchor-contract", CONTRACT)),
        ("need --chain", (node, log, "--chain-independent")),
        ("No such option", (None, log, "--chain", NODE)),
    ):
        result = verify(*args)
        assert (result.exit_code, told in result.output) == (2, True), (told, result.output)


def test_without_the_service_the_command_says_how_to_compare_anchors() -> None:
    assert "`streamcoop verify --chain`" in verify(None, "--help").output
    assert "--chain" in verify(Node([]), "--help").output
