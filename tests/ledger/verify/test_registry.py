"""A log's ballots held against the chain: who were members, of which class, for whom they voted, what was decided."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ledger import entries, founding
from ledger.founding import FoundingNote
from ledger.verify.anchors import Anchored
from ledger.verify.command import command_of
from ledger.verify.reading import open_log
from ledger.verify.registry import BlockGone, ChainUnread, Decision, RollSeat, Snapshot
from ledger.verify.report import Report
from ledger.verify.run import Asked, verify
from tests.ledger import log_factory as factory
from tests.ledger.log_factory import CHAIN_ID, CONSTITUTION, CONTRACT, FOUNDED_AT, KEYS, ORIGIN, publish
from tests.ledger.verify.auditing import NOW_S, said
from tests.ledger.verify.test_ballots import BEFORE, Told, told

REGISTRY = "0x" + "cd" * 20
LONG_AGO = FOUNDED_AT - 60 - CONSTITUTION.waiting_seconds


@pytest.fixture
def log() -> Told:
    return told()


def roll(log: Told) -> list[RollSeat]:
    """The members as the contract has them, and one who has not waited long enough."""
    seats = [RollSeat(each.address, each.member_class, each.delegate, LONG_AGO) for each in log.members]
    newcomer = replace(seats[0], address="0x" + "ee" * 20, since=LONG_AGO + 1)
    return [*seats, newcomer]


def decisions(log: Told) -> list[Decision]:
    """What the registry has."""
    ballot = str(log.counted.ballot.form.ballot_id)
    return [Decision(ballot, log.counted.result_hash.hex(), {**BEFORE, "artist_share_bp": 7_400})]


def audited(
    log: Told, folder: Path, seats: Sequence[RollSeat] | None = None, decided: Sequence[Decision] | None = None
) -> Report:
    publish(folder, log.entries)
    asked = Asked(
        founding=factory.NOTE.encode(),
        decisions=decisions(log) if decided is None else decided,
        electorate=lambda _: roll(log) if seats is None else seats,
    )
    return verify(open_log(str(folder)), asked, NOW_S)


def test_a_log_whose_members_and_decisions_are_the_chains_holds(log: Told, tmp_path: Path) -> None:
    asked: list[Snapshot] = []
    publish(tmp_path, log.entries)

    def electorate(snapshot: Snapshot) -> list[RollSeat]:
        asked.append(snapshot)
        return roll(log)

    given = Asked(founding=factory.NOTE.encode(), decisions=decisions(log), electorate=electorate)
    report = verify(open_log(str(tmp_path)), given, NOW_S)
    assert said(report) == []
    assert dict(report.checks())["registry"]
    assert not any("not checked on the chain" in line for line in report.trust())
    ballot = log.counted.ballot
    assert asked == [Snapshot(ballot.block_number, ballot.block_hash, ballot.block_timestamp)]


def test_without_a_chain_it_is_said_that_members_were_not_checked(log: Told, tmp_path: Path) -> None:
    publish(tmp_path, log.entries)
    report = verify(open_log(str(tmp_path)), Asked(founding=factory.NOTE.encode()), NOW_S)
    assert any("not checked on the chain" in line for line in report.trust())
    assert "registry" not in dict(report.checks())


def _without(place: int) -> object:
    return lambda seats: [*seats[:place], *seats[place + 1 :]]


def _with(place: int, **fields: object) -> object:
    return lambda seats: [*seats[:place], replace(seats[place], **fields), *seats[place + 1 :]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without(0), "was no member who could vote"),
        (_without(4), "others could vote in ballot"),
        (_with(0, since=LONG_AGO + 1), "was no member who could vote"),
        (_with(0, member_class="artist"), "is counted in another class"),
        (_with(5, member_class="worker"), "is counted in another class"),
        (_with(5, delegate="0x" + "ee" * 20), "is counted for somebody she had not delegated to"),
        (_with(10, since=LONG_AGO), "others could vote in ballot"),
    ],
)
def test_an_electorate_that_is_not_the_contracts_is_found(
    log: Told, tmp_path: Path, change: object, message: str
) -> None:
    report = audited(log, tmp_path, seats=change(roll(log)))  # type: ignore[operator]
    assert any(message in finding for finding in said(report)), said(report)
    assert {finding.check for finding in report.findings.first} == {"registry"}


def test_the_case_of_an_address_and_a_voters_own_delegation_are_no_matter(log: Told, tmp_path: Path) -> None:
    seats = [replace(seat, address=seat.address.lower(), delegate=seat.delegate.lower()) for seat in roll(log)]
    # Whoever votes herself may have delegated to anybody.
    seats[0] = replace(seats[0], delegate=seats[1].address)
    assert said(audited(log, tmp_path, seats=seats)) == []


def test_a_block_that_the_chain_has_not_is_found_and_a_node_that_does_not_answer_is_no_verdict(
    log: Told, tmp_path: Path
) -> None:
    publish(tmp_path, log.entries)

    def gone(_: Snapshot) -> list[RollSeat]:
        raise BlockGone

    def down(_: Snapshot) -> list[RollSeat]:
        raise ChainUnread

    report = verify(open_log(str(tmp_path)), Asked(founding=factory.NOTE.encode(), electorate=gone), NOW_S)
    assert "was read at a block that the chain has not" in said(report)[0]
    with pytest.raises(ChainUnread):
        verify(open_log(str(tmp_path)), Asked(founding=factory.NOTE.encode(), electorate=down), NOW_S)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: [], "is in force, and the registry has no decision of it"),
        (lambda found: [replace(found[0], result_hash="00" * 32)], "the registry has another count of ballot"),
        (lambda found: [replace(found[0], numbers=BEFORE)], "the registry has another artist_share_bp by ballot"),
        (lambda found: [replace(found[0], ballot="0" * 36), *found], "and the log has no count of it"),
        (lambda found: [*found, replace(found[0], ballot="0" * 36)], None),
    ],
)
def test_decisions_that_are_not_the_logs_are_found_but_for_those_to_be_published(
    log: Told, tmp_path: Path, change: object, message: str | None
) -> None:
    found = said(audited(log, tmp_path, decided=change(decisions(log))))  # type: ignore[operator]
    assert [message is not None and message in finding for finding in found] == [True] * (message is not None)


# --- The command ---


class Chain:
    """A chain that can be read, and what of it was asked for."""

    def __init__(self, log: Told) -> None:
        self.log, self.asked = log, list[tuple[object, ...]]()

    def anchors(
        self, rpc_url: str, contract: str, *, origin: str, chain_id: int | None, code_hash: str | None
    ) -> Sequence[Anchored]:
        return []

    def decisions(
        self, rpc_url: str, contract: str, *, chain_id: int | None, code_hash: str | None
    ) -> Sequence[Decision]:
        self.asked.append((rpc_url, contract, chain_id, code_hash))
        return decisions(self.log)

    def roll(
        self, rpc_url: str, contract: str, snapshot: Snapshot, *, chain_id: int | None, code_hash: str | None
    ) -> Sequence[RollSeat]:
        self.asked.append((rpc_url, contract, chain_id, code_hash))
        return roll(self.log)[1:]


def shown(chain: Chain, folder: Path, *args: str) -> Result:
    command = command_of(chain.anchors, chain.decisions, chain.roll)
    note = FoundingNote(
        ORIGIN,
        tuple(key.verifier for key in KEYS),
        chain=(
            ("anchor", CONTRACT),
            ("chain_id", str(CHAIN_ID)),
            ("membership", CONTRACT),
            ("membership_code_hash", "0xaa"),
            ("rate_registry", REGISTRY),
            ("rate_registry_code_hash", "0xbb"),
        ),
    )
    (folder / "note").write_text(founding.written(note, KEYS), encoding="utf-8")
    publish(folder / "log", chain.log.entries)
    state = ("--state", str(folder / "state"), "--founding", str(folder / "note"), "--chain", "http://node.example")
    return CliRunner().invoke(command, [str(folder / "log"), *state, *args])


def test_the_command_asks_the_contracts_that_the_founding_note_tells(log: Told, tmp_path: Path) -> None:
    chain = Chain(log)
    result = shown(chain, tmp_path, "--json")
    assert chain.asked == [
        ("http://node.example", REGISTRY, CHAIN_ID, "0xbb"),
        ("http://node.example", CONTRACT, CHAIN_ID, "0xaa"),
    ]
    report = json.loads(result.stdout)
    assert (result.exit_code, report["verdict"]) == (1, "does not hold")
    assert [check for check, holds in report["checks"].items() if not holds] == ["registry"]
    assert report["findings"][0]["at"] == next(n for n, (kind, _) in enumerate(log.entries) if kind == entries.BALLOT)


def test_a_chain_that_does_not_answer_is_no_verdict(log: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object, **__: object) -> list[RollSeat]:
        raise ChainUnread(reason="no answer")

    monkeypatch.setattr(Chain, "roll", down)
    result = shown(Chain(log), tmp_path)
    assert result.exit_code == 2
    assert "The chain cannot be read. (reason=no answer)" in result.output
