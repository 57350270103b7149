"""Change any one thing in a log and sign it anew: the audit fails, but for what only its owner, or nobody, can know."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ledger import entries
from ledger.constitution import CLASSES
from ledger.errors import EntryRefused
from ledger.verify.audit import Audit
from ledger.verify.ballots import Ballots
from ledger.verify.command import verify_command
from ledger.verify.report import CHECKS, Findings
from tests.ledger import log_factory as factory
from tests.ledger.log_factory import Named, story

# What is not told by anything else in the log. Roots are checked by whoever has a line below them; counts only by them
# too; the rest is the word of whoever says it.
SAID_ONCE = {
    (entries.FOUNDING, "coop"),
    (entries.FOUNDING, "minor_digits"),
    (entries.FOUNDING, "epoch_seconds"),
    (entries.FOUNDING, "founded_at"),
    (entries.BATCH, "opened_at"),
    (entries.BATCH, "closed_at"),
    (entries.TARIFF, "first_price_micro"),
    (entries.TARIFF, "plays"),
    (entries.TARIFF, "version"),
    (entries.RATES, "version"),
    (entries.RULES, "version"),
    (entries.NET_FACTORS, "version"),
    # That no ballot decided terms is told as what has to be taken on trust.
    (entries.RATES, "decided_by"),
    (entries.RULES, "decided_by"),
    (entries.TRACK, "artist"),
    (entries.TRACK, "sha256"),
    (entries.SPLIT, "payee"),
    (entries.PLAYS, "count"),
    (entries.PLAYS, "root"),
    (entries.TOP_UPS, "count"),
    (entries.TOP_UPS, "root"),
    (entries.GRANTS, "count"),
    (entries.GRANTS, "root"),
    (entries.PAYOUTS, "count"),
    (entries.SHARES, "count"),
    (entries.BALLOT, "text_sha256"),
    (entries.BALLOT, "opened_at"),
    # What the chain tells: see `test_registry`.
    (entries.BALLOT, "block_number"),
    (entries.BALLOT, "block_hash"),
    (entries.BALLOT, "block_timestamp"),
    *((entries.BALLOT, member_class) for member_class in CLASSES),
    (entries.DELEGATIONS, "address"),
    (entries.BALLOT_STOPPED, "ballot"),
    (entries.BALLOT_STOPPED, "opened_at"),
    (entries.BALLOT_STOPPED, "stopped_at"),
    (entries.BALLOT_STOPPED, "because"),
    (entries.ROYALTIES, "held_because"),
    (entries.LATE, "held_because"),
    (entries.WALLETS, "count"),
    (entries.WALLETS, "root"),
    # Of rates and rules to come, any epoch that has not begun.
    (entries.RATES, "effective_epoch"),
    (entries.RULES, "effective_epoch"),
}
# Nothing rests yet on plays of an epoch that is not closed.
SAID_ONCE_IN_AN_OPEN_EPOCH = SAID_ONCE | {(entries.PLAYS, "epoch"), (entries.PLAYS, "sum_micro")}


def _others(value: Any) -> Iterator[Any]:
    """Other values of the same form."""
    if type(value) is int:
        yield from (value + 1, value - 1)
    elif type(value) is str:
        first = "0" if value[:1] != "0" else "1"
        yield first + value[1:]
        yield value[:-1] + ("0" if value[-1:] != "0" else "1")
    elif value is None:
        yield "held"


def _changes(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Each value with one leaf of it changed, and the leaf's name."""
    if isinstance(value, dict):
        for key, held in value.items():
            for leaf, changed in _changes(held, key):
                yield leaf, {**value, key: changed}
            if name:
                yield name, {k: v for k, v in value.items() if k != key}
    elif isinstance(value, list):
        for place, held in enumerate(value):
            for leaf, changed in _changes(held, name):
                yield leaf, [*value[:place], changed, *value[place + 1 :]]
            yield name, [*value[:place], *value[place + 1 :]]
        yield name, [*value, value[-1]]
    else:
        for other in _others(value):
            yield name, other


@functools.cache
def _story() -> list[Named]:
    told = story()
    told.maker.stop_ballot("the block of its snapshot is no longer part of the chain")
    (stopped,) = told.maker._told[entries.BALLOT_STOPPED]
    return [*told.entries, (entries.BALLOT_STOPPED, {**stopped, "stopped_at": stopped["opened_at"]})]


def _findings(data: list[bytes]) -> Findings:
    findings = Findings()
    officers = [officer.verifier for officer in factory.OFFICERS]
    ballots = Ballots(findings, contract=(factory.CHAIN_ID, factory.CONTRACT.lower()))
    audit = Audit(findings, factory.VERIFIERS, officers, ballots=ballots)
    for entry in data:
        audit.take(entry)
    audit.end()
    # What the head and the founding entry say of one another is compared outside.
    if audit.founding.get("origin") != factory.ORIGIN:
        findings.add("founding", 0, "another log")
    if ballots.constitution != factory.CONSTITUTION:
        findings.add("founding", 0, "another constitution")
    assert findings.failed <= CHECKS.keys()
    return findings


@pytest.mark.parametrize("place", range(len(_story())))
def test_no_entry_can_be_changed_in_any_field_without_being_seen(place: int) -> None:
    data = [entries.encode(*named) for named in _story()]
    assert _findings(data).count == 0
    kind, entry = _story()[place]
    unseen: set[tuple[str, str]] = set()
    for name, changed in _changes(copy.deepcopy(entry), ""):
        try:
            written = entries.encode(kind, changed)
        except EntryRefused:
            continue
        if not _findings([*data[:place], written, *data[place + 1 :]]).count:
            unseen.add((kind, name))
    assert unseen <= (SAID_ONCE_IN_AN_OPEN_EPOCH if _is_open(place) else SAID_ONCE)


def _is_open(place: int) -> bool:
    return place > max(n for n, (kind, _) in enumerate(_story()) if kind == entries.SEAL)


@pytest.mark.parametrize("place", range(len(_story())))
def test_no_entry_can_be_left_out_or_told_twice_without_being_seen(place: int) -> None:
    data = [entries.encode(*named) for named in _story()]
    kind = _story()[place][0]
    left_out = _findings([*data[:place], *data[place + 1 :]]).count
    # That an attestation or the release of a line is missing, is no fault of the log; what a ballot has decided may be
    # in force later, and is told until then.
    assert left_out or _is_open(place) or kind in (entries.ATTESTATION, entries.RELEASE, entries.RATES)
    assert _findings([*data[: place + 1], data[place], *data[place + 1 :]]).count


def test_texts_of_the_log_give_no_orders_to_a_terminal(tmp_path: Path) -> None:
    named = _story()
    name = "Co-op\x1b[2J\u009b2J\nALL OF IT HOLDS.\u202e"
    factory.publish(tmp_path / "log", [(named[0][0], {**named[0][1], "coop": name}), *named[1:]])
    for args in ([], ["--json"]):
        shown = CliRunner().invoke(verify_command, [str(tmp_path / "log"), "--state", str(tmp_path / "state"), *args])
        assert shown.exit_code == 0
        assert not {sign for sign in shown.output if not sign.isprintable()} - {"\n"}
        assert shown.output.count("\nALL OF IT HOLDS.") == (not args)
