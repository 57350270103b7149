"""The command `verify`: an audit for people, or as JSON for programs."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ledger.errors import DomainError
from ledger.founding import PIN
from ledger.note import NOTE_BYTES_MAX, VerifierKey, parse_head, parse_verifier_key
from ledger.verify import run
from ledger.verify.anchors import NoAnchors, ReadAnchors
from ledger.verify.memory import EVIDENCE_BYTES_MAX, Memory, default_folder
from ledger.verify.reading import WHOLE_S_MAX, Log, Unreadable, open_log
from ledger.verify.registry import ChainUnread, ReadDecisions, ReadRoll
from ledger.verify.report import (
    CHECKS,
    DOES_NOT_HOLD,
    HOLDS,
    UNREADABLE,
    BallotTotals,
    EpochTotals,
    Report,
    amount,
    instant,
    label,
    printable,
)
from ledger.witness import parse_evidence, verify_fork

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
# Enough to tell payees apart on a screen; the JSON report has all.
PAYEE_DIGITS = 16
_PINNED = re.compile(rf"{PIN}[0-9a-f]{{64}}").fullmatch
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
NEW_FOLDER = click.Path(path_type=Path, file_okay=False)
WITHOUT_ANCHORS = (
    "Anchors on a chain are compared by `streamcoop verify --chain`, where the whole service is installed."
)


class CannotBegin(click.ClickException):
    """Nothing was audited: that is no verdict on the log."""

    exit_code = UNREADABLE


class _Key(click.ParamType[VerifierKey]):
    name = "verifier key"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> VerifierKey:
        try:
            return value if isinstance(value, VerifierKey) else parse_verifier_key(str(value))
        except DomainError as refused:
            self.fail(str(refused), param, ctx)


class _Founding(click.ParamType[str | Path]):
    """A founding note in a file, or the text that it is known by; an address may follow, as in its QR code."""

    name = "founding note"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str | Path:
        told = str(value).split()
        if not told or not told[0].startswith(PIN):
            return Path(str(FILE.convert(str(value), param, ctx)))
        if not _PINNED(told[0]):
            self.fail("not the SHA-256 of a founding note", param, ctx)
        return told[0]


_OPTIONS = (
    click.argument("where", metavar="ADDRESS|FOLDER"),
    click.option(
        "--key", "keys", type=_Key(), multiple=True, help="The log's verifier key; once for each it signs with."
    ),
    click.option(
        "--founding",
        type=_Founding(),
        metavar="FILE|sha256:…",
        help="The co-op's founding note, as you were given it, or what its QR code says.",
    ),
    click.option(
        "--witness", "witnesses", type=_Key(), multiple=True, help="A witness's verifier key; may be repeated."
    ),
    click.option("--witnesses-needed", type=click.IntRange(0), help="How many witnesses must have cosigned the head."),
    click.option(
        "--predecessor",
        metavar="ADDRESS|FOLDER",
        help="Where the log that this one goes on from is still shown: hold the two together.",
    ),
    click.option(
        "--receipts", type=FOLDER, help="A folder with your receipts (*.tlog-proof) and promises (*.promise)."
    ),
    click.option("--all-receipts", is_flag=True, help="These are all of them: what your wallet spent beyond is wrong."),
    click.option("--epoch", metavar="LABEL", help="Show this epoch's royalty lines, such as 2026-11."),
    click.option("--ballot", metavar="ID", help="Show how this ballot was counted: its id, or its number in the log."),
    click.option("--state", type=NEW_FOLDER, help="What earlier audits saw is kept here."),
    click.option(
        "--within", "whole_s", default=WHOLE_S_MAX, show_default=True, type=click.IntRange(1), help="Seconds."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print the report as JSON."),
)
_CHAIN_OPTIONS = (
    click.option(
        "--chain",
        "rpc_url",
        metavar="RPC",
        help="A node of the chain: compare the log with its anchors there, and ballots with members and decisions.",
    ),
    click.option(
        "--anchor-contract", metavar="ADDRESS", help="Their contract; else the one that the founding note tells."
    ),
    click.option("--chain-independent", is_flag=True, help="You know that the chain is not the operator's own."),
)


def command_of(
    read_anchors: ReadAnchors | None = None,
    read_decisions: ReadDecisions | None = None,
    read_roll: ReadRoll | None = None,
) -> click.Command:
    """The command; it compares the log with a chain where somebody can read it."""

    def audit(
        rpc_url: str | None = None,
        anchor_contract: str | None = None,
        chain_independent: bool = False,
        **asked: Any,
    ) -> None:
        if rpc_url is None and (anchor_contract or chain_independent):
            raise click.UsageError("--anchor-contract and --chain-independent need --chain")
        on_chain = None
        if read_anchors is not None and rpc_url is not None:
            on_chain = _OnChain(read_anchors, read_decisions, read_roll, rpc_url, anchor_contract, chain_independent)
        _verify(**asked, on_chain=on_chain)

    command = click.command(
        "verify",
        help=_verify.__doc__,
        epilog=None if read_anchors else WITHOUT_ANCHORS,
        context_settings={"help_option_names": ["-h", "--help"]},
    )(audit)
    for option in (*_OPTIONS, *(_CHAIN_OPTIONS if read_anchors else ())):
        option(command)
    return command


@dataclass(frozen=True, slots=True)
class _OnChain:
    """Where the anchors are, and who can read them and the rest of the chain."""

    read: ReadAnchors
    read_decisions: ReadDecisions | None
    read_roll: ReadRoll | None
    rpc_url: str
    contract: str | None
    is_independent: bool


def _verify(
    where: str,
    keys: tuple[VerifierKey, ...],
    founding: str | Path | None,
    witnesses: tuple[VerifierKey, ...],
    witnesses_needed: int | None,
    predecessor: str | None,
    receipts: Path | None,
    all_receipts: bool,
    epoch: str | None,
    ballot: str | None,
    state: Path | None,
    whole_s: int,
    as_json: bool,
    on_chain: _OnChain | None,
) -> None:
    """Read a co-op's published log and recompute all of it.

    ADDRESS|FOLDER is where `checkpoint` is found, or a file of evidence: then 0 says that it shows a fork. Exit status
    0 only if all holds, 1 if something does not, 2 if the log could not be read.
    """
    if Path(where).is_file():
        sys.exit(_show_evidence(Path(where), keys, Memory(state or default_folder())))
    note = _read(founding, NOTE_BYTES_MAX) if isinstance(founding, Path) else None
    pin = founding if isinstance(founding, str) else None
    asked = run.Asked(keys, note, witnesses, witnesses_needed, receipts, all_receipts, epoch, ballot, founding_pin=pin)
    try:
        with ExitStack() as opened:
            if predecessor is not None:
                ended = opened.enter_context(closing(open_log(predecessor, whole_s)))
                asked = replace(asked, predecessor=ended)
            report = _audited(where, whole_s, asked, Memory(state or default_folder()), on_chain)
    except (Unreadable, NoAnchors, ChainUnread) as refused:
        raise CannotBegin(str(refused)) from refused
    except OSError as failed:
        raise CannotBegin(f"what earlier audits saw cannot be read or kept: {failed}") from failed
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2))
    else:
        _print(report, epoch, ballot, Console(highlight=False, markup=False, soft_wrap=True))
    sys.exit(report.verdict)


verify_command = command_of()
"""Without the service nobody reads anchors."""


def _read(file: Path, bytes_max: int) -> bytes:
    with file.open("rb") as opened:
        return opened.read(bytes_max + 1)


def _show_evidence(file: Path, keys: tuple[VerifierKey, ...], memory: Memory) -> int:
    """Whether a file shows that a log has forked, by keys that were given or remembered."""
    try:
        evidence = parse_evidence(_read(file, EVIDENCE_BYTES_MAX).decode())
        first, second = (parse_head(note.text) for note in (evidence.first, evidence.second))
        verify_fork(str(evidence), keys or memory.keys(first.origin))
    except (DomainError, UnicodeDecodeError) as refused:
        click.echo(f"This shows no fork: {refused}")
        return DOES_NOT_HOLD
    click.echo(f"{first.origin} signed a log of {first.size} entries and one of {second.size}, and they are not one.")
    return HOLDS


def _audited(where: str, whole_s: int, asked: run.Asked, memory: Memory, on_chain: _OnChain | None) -> Report:
    columns = (TextColumn("verifying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with (
        closing(open_log(where, whole_s)) as log,
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown,
    ):
        task = shown.add_task("entries", total=None)
        if on_chain is not None:
            asked = _with_chain(log, asked, memory, on_chain)
        return run.verify(
            log,
            asked,
            int(time.time()),
            memory,
            lambda done, whole: shown.update(task, completed=done, total=whole),
        )


def _with_chain(log: Log, asked: run.Asked, memory: Memory, on_chain: _OnChain) -> run.Asked:
    """What is asked, with the chain as it is before the log is read: of nothing there the log may then fall short."""
    try:
        origin, note = run.founding_of(log, asked, memory)
    except FileNotFoundError as missing:
        raise Unreadable(reason=f"a file is missing: {missing}") from missing
    facts = {} if note is None else dict(note.chain)
    chain_id = facts.get("chain_id")
    if chain_id is not None and not (chain_id.isascii() and chain_id.isdecimal()):
        raise NoAnchors(reason="the founding note's chain id is none")
    number = None if chain_id is None else int(chain_id)
    asked = _with_anchors(asked, origin, facts, number, on_chain)
    registry, members, rpc_url = facts.get("rate_registry"), facts.get("membership"), on_chain.rpc_url
    if on_chain.read_decisions is not None and registry is not None:
        code_hash = facts.get("rate_registry_code_hash")
        decisions = on_chain.read_decisions(rpc_url, registry, chain_id=number, code_hash=code_hash)
        asked = replace(asked, decisions=decisions)
    if on_chain.read_roll is not None and members is not None:
        code_hash = facts.get("membership_code_hash")
        electorate = partial(on_chain.read_roll, rpc_url, members, chain_id=number, code_hash=code_hash)
        asked = replace(asked, electorate=electorate)
    return asked


def _with_anchors(
    asked: run.Asked, origin: str, facts: dict[str, str], chain_id: int | None, on_chain: _OnChain
) -> run.Asked:
    contract = on_chain.contract or facts.get("anchor")
    if contract is None:
        raise NoAnchors(reason="no founding note tells their contract: name it with --anchor-contract")
    # Of another contract the note says nothing.
    is_told = contract.lower() == facts.get("anchor", "").lower()
    anchors = on_chain.read(
        on_chain.rpc_url,
        contract,
        origin=origin,
        chain_id=chain_id if is_told else None,
        code_hash=facts.get("anchor_code_hash") if is_told else None,
    )
    return replace(asked, anchors=anchors, chain_is_independent=on_chain.is_independent)


# --- For people ---


def _print(report: Report, epoch: str | None, ballot: str | None, console: Console) -> None:
    def say(text: str) -> None:
        console.print(printable(text))

    say(f"{report.coop or 'A log'}: {report.origin or report.address}")
    say(f"  read at {report.address}: {report.entries:,} of {report.size:,} entries in {report.seconds:.1f} s")
    if report.kinds:
        say("  " + ", ".join(f"{count:,} {kind}" for kind, count in sorted(report.kinds.items())))
    if report.unreadable and report.entries:
        say("  as far as it was read:")
    for check, holds in report.checks():
        say(f"  {'✓' if holds else '✗'} {CHECKS[check]}")
    for totals in report.epochs:
        say(f"  {_closed(report, totals)}")
    if epoch is not None:
        _print_lines(report, epoch, console)
    for each in report.ballots:
        say(f"  {_voted(report, each)}")
    if ballot is not None:
        _print_ballot(report, ballot, console)
    for outcome in report.receipts:
        say(f"  {'✓' if outcome.holds else '✗'} {outcome.file}: {outcome.said}")
    _say_findings(report, say)
    say("")
    say("Taken on trust:")
    for line in report.trust():
        say(f"  {line}")
    verdict = {
        HOLDS: "ALL OF IT HOLDS.",
        DOES_NOT_HOLD: "IT DOES NOT HOLD.",
        UNREADABLE: "THE LOG COULD NOT BE READ: that is no verdict on it.",
    }[report.verdict]
    say("")
    say(verdict)


def _say_findings(report: Report, say: Callable[[str], None]) -> None:
    findings = report.findings
    if findings.count:
        say("")
        say(f"What does not hold ({findings.count:,}):")
    for finding in findings.first:
        say(f"  ✗ {finding.check}: {finding}")
    if findings.count > len(findings.first):
        say(f"  and {findings.count - len(findings.first):,} more")
    for told in report.evidence:
        say(f"  evidence: {told}")
    if report.unreadable:
        say("")
        say(f"Not read to its end: {report.unreadable}")


def _closed(report: Report, totals: EpochTotals) -> str:
    def money(amount_micro: int) -> str:
        return amount(amount_micro, report.minor_digits)

    return (
        f"{label(report.calendar, totals.epoch)}: {totals.tracks:,} tracks' plays, "
        f"{amount(totals.collected_micro, 0)} credits, came to {money(totals.gross_micro)} {report.currency}: "
        f"deductions {money(sum(totals.deductions.values()))}, funds {money(sum(totals.funds.values()))}, "
        f"royalties {money(totals.royalties_micro)}, of which {money(totals.held_micro)} held; "
        f"{totals.wallets:,} wallets hold {amount(totals.closing_micro, 0)} credits"
    )


def _print_lines(report: Report, epoch: str, console: Console) -> None:
    if not report.lines:
        console.print(f"  no royalties of {epoch} are shared out in this log")
        return
    title = f"Royalties of {printable(epoch)}, in {printable(report.currency)}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("track", "payee", "share", "royalty", "held because"):
        # A narrow terminal leaves nothing out.
        table.add_column(column, overflow="fold")
    for line in report.lines:
        share = f"{line.share_bp // 100}.{line.share_bp % 100:02} %"
        royalty = amount(line.amount_micro, report.minor_digits)
        table.add_row(line.track, line.payee[:PAYEE_DIGITS], share, royalty, printable(line.held_because or ""))
    console.print(table)
    if report.lines_left_out:
        console.print(f"  and {report.lines_left_out:,} lines more")


def _voted(report: Report, totals: BallotTotals) -> str:
    came = ", ".join(
        f"{each.parameter} {each.status_quo:,}"
        + (f" → {each.result:,}" if each.result != each.status_quo else " stays")
        for each in totals.outcomes
    )
    effective = "; ".join(f"{kind} from {label(report.calendar, epoch)} on" for kind, epoch in totals.effective.items())
    return (
        f"ballot {totals.number} ({totals.ballot}): {came}; {sum(totals.cast.values()):,} of "
        f"{sum(totals.census.values()):,} seats voted" + (f"; {effective}" if effective else "")
    )


def _print_ballot(report: Report, ballot: str, console: Console) -> None:
    found = next((each for each in report.ballots if ballot in (each.ballot, str(each.number))), None)
    if found is None:
        console.print(f"  no ballot {printable(ballot)} is counted in this log")
        return
    console.print(f"Ballot {found.ballot}, closed {instant(found.closed_at)}, entry {found.at}")
    for member_class, weight in found.census.items():
        console.print(f"  {member_class}s: {found.cast[member_class]:,} of {weight:,} seats voted")
    console.print(f"  for the status quo, up to the quorums: {found.phantom_weight:,}")
    console.print(f"  by keys that the co-op keeps: {found.kept_key_weight:,}")
    for each in found.outcomes:
        console.print(f"  {each.parameter}: {each.status_quo:,} before, median {each.median:,}, result {each.result:,}")
    console.print(f"  hash of the result: {found.result_hash}")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("address", "class", *(each.parameter for each in found.outcomes), "seats", "key", "for"):
        table.add_column(column, overflow="fold")
    for vote in found.votes:
        key = "kept" if vote.kept_key else "own"
        values = (f"{value:,}" for value in vote.values)
        table.add_row(vote.address, vote.member_class, *values, str(vote.weight), key, " ".join(vote.delegators))
    console.print(table)
    if found.voters > len(found.votes):
        console.print(f"  and {found.voters - len(found.votes):,} votes more")
