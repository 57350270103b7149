"""`streamcoop status`: the picture on one screen, and whether somebody should look."""

from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamcoop.operations.exposition import figures
from streamcoop.operations.service import PART_S_MAX, Away, Epochs, Head, LastMinute, Picture, Standing
from streamcoop.transparency.recovering import BEHIND

# The alert rules in deploy/prometheus/alerts.yml draw the line at the same places.
SETTLING_LAG_MAX = timedelta(seconds=60)
CLOSE_OVERDUE_MAX = timedelta(minutes=15)
QUEUE_AGE_MAX = timedelta(minutes=10)
QUEUE_MESSAGES_MAX = 1_000
RECORDING_AGE_MAX = timedelta(hours=1)
ANCHOR_AGE_MAX = timedelta(hours=2)
LOG_BATCH_AGE_MAX = timedelta(hours=1)
PAYOUT_AGE_MAX = timedelta(days=7)
# Evidence stays for ever: for so long it is news.
FORK_TOLD = timedelta(days=1)
BOOKS_CHECK_AGE_MAX = timedelta(hours=3)


class Verdict(IntEnum):
    """The exit status."""

    WELL = 0
    ATTENTION = 1
    CANNOT_TELL = 2


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the screen. `verdict` is its own."""

    about: str
    told: str
    verdict: Verdict = Verdict.WELL


@dataclass(frozen=True, slots=True)
class Screen:
    """All lines, and what follows from them: a trouble that is known outweighs what cannot be told."""

    lines: list[Line]

    @property
    def verdict(self) -> Verdict:
        """The exit status."""
        found = {line.verdict for line in self.lines}
        return next((v for v in (Verdict.ATTENTION, Verdict.CANNOT_TELL) if v in found), Verdict.WELL)


def is_ready(public_address: str) -> bool | Away:
    """Whether the API says that it can serve."""
    try:
        with urllib.request.urlopen(f"{public_address}/readyz", timeout=PART_S_MAX):  # noqa: S310  # our own
            return True
    except urllib.error.HTTPError:
        return False
    except OSError as error:
        return Away(type(error).__name__)


def screen(picture: Picture, ready: bool | Away, minute: LastMinute | Away) -> Screen:
    """The lines of a picture."""
    lines = [_service(ready)]
    if isinstance(picture.database, Away):
        lines.append(_away("database", picture.database))
    else:
        lines += _database(picture.database, minute, picture.at)
    lines.append(_queues(picture))
    lines.append(_chain(picture.chain))
    lines.append(_away("objects", picture.objects) if isinstance(picture.objects, Away) else Line("objects", "answer"))
    # Where a part is away it says so itself.
    if picture.is_behind is True:
        lines.append(Line("recovery", f"READ-ONLY: {BEHIND}", Verdict.ATTENTION))
    return Screen(lines)


def _away(about: str, part: Away) -> Line:
    return Line(about, f"could not be reached within {PART_S_MAX} s ({part.why})", Verdict.CANNOT_TELL)


def _judged(about: str, told: str, is_well: bool) -> Line:
    return Line(about, told, Verdict.WELL if is_well else Verdict.ATTENTION)


def _service(ready: bool | Away) -> Line:
    if isinstance(ready, Away):
        return _away("service", ready)
    return _judged("service", "is up and can record plays" if ready else "is up but not ready", ready)


def _database(standing: Standing, minute: LastMinute | Away, at: datetime) -> list[Line]:
    plays = (
        "could not be counted in time"
        if isinstance(minute, Away)
        else f"{minute.recorded:,} recorded in the last minute, {minute.settled:,} of them settled"
    )
    lag = f"{standing.unsettled_plays:,} plays wait, the oldest for {_span(standing.settling_lag)}"
    orders = f"{standing.orders:,} orders to the registrar, {standing.orders_held_up:,} of them held up"
    differences = standing.register_differences
    register = f"; {differences:,} DIFFERENCES from the contract" if differences else ""
    return [
        Line("plays", plays),
        _judged(
            "settling",
            lag if standing.unsettled_plays else "nothing waits",
            standing.settling_lag <= SETTLING_LAG_MAX,
        ),
        _epochs(standing.epochs),
        _judged(
            "media",
            f"{standing.recordings_waiting:,} uploads wait, the oldest for {_span(standing.oldest_recording)}"
            if standing.recordings_waiting
            else "nothing waits",
            standing.oldest_recording <= RECORDING_AGE_MAX,
        ),
        _judged(
            "members",
            f"{orders}; {standing.ballots_waiting:,} ballots wait for the chain{register}",
            not standing.orders_held_up and not differences,
        ),
        _judged(
            "anchors",
            f"{standing.anchors:,} epochs wait to be anchored, the oldest for {_span(standing.oldest_anchor)}"
            if standing.anchors
            else "nothing waits",
            standing.oldest_anchor <= ANCHOR_AGE_MAX,
        ),
        _log(standing, at),
        *_forks(standing, at),
        _payouts(standing, at),
        _books(standing, at),
    ]


def _epochs(epochs: Epochs) -> Line:
    current, first_open = epochs.calendar.label(epochs.current), epochs.calendar.label(epochs.first_open)
    told = f"now {current}; open from {first_open} on"
    if epochs.overdue:
        told += f", its close is due for {_span(epochs.overdue)}"
    if epochs.late_tracks:
        told += f"; {epochs.late_tracks:,} tracks have late plays"
    return _judged("epochs", told, epochs.overdue <= CLOSE_OVERDUE_MAX)


def _log(standing: Standing, at: datetime) -> Line:
    if standing.log_batches:
        waits = f"{standing.log_batches:,} batches wait, the earliest for {_span(standing.oldest_log_batch)}"
        return _judged("log", f"{waits}; `streamcoop log status`", standing.oldest_log_batch <= LOG_BATCH_AGE_MAX)
    published_at = standing.log_published_at
    return Line(
        "log", "nothing is published yet" if published_at is None else f"published {_span(at - published_at)} ago"
    )


def _forks(standing: Standing, at: datetime) -> list[Line]:
    if standing.last_fork_at is None:
        return []
    age = at - standing.last_fork_at
    told = f"{standing.forked_logs:,} witnessed logs FORKED, last seen {_span(age)} ago; `streamcoop witness evidence`"
    return [_judged("witness", told, age > FORK_TOLD)]


def _payouts(standing: Standing, at: datetime) -> Line:
    told = [
        f"{count:,} {state}, the oldest for {_span(at - oldest)}" for state, (count, oldest) in standing.payouts.items()
    ]
    is_well = all(at - oldest <= PAYOUT_AGE_MAX for _, oldest in standing.payouts.values())
    return _judged("payouts", "; ".join(sorted(told)) or "none under way", is_well)


def _books(standing: Standing, at: datetime) -> Line:
    books = standing.books
    if books is None or books.ended_at is None:
        return Line("books", "not added up yet" if books is None else "the first check is under way")
    age = at - books.ended_at
    if books.findings:
        return Line("books", f"DO NOT BALANCE: {books.findings} findings, {_span(age)} ago", Verdict.ATTENTION)
    return _judged("books", f"balanced {_span(age)} ago", age <= BOOKS_CHECK_AGE_MAX)


def _queues(picture: Picture) -> Line:
    if isinstance(picture.broker, Away):
        return _away("queues", picture.broker)
    busy = [queue for queue in picture.broker if queue.messages]
    told = [
        f"{queue.name} {queue.messages:,}"
        + (f" (for {_span(picture.at - queue.oldest_at)})" if queue.oldest_at else "")
        for queue in busy
    ]
    is_well = all(
        queue.messages <= QUEUE_MESSAGES_MAX
        and (queue.oldest_at is None or picture.at - queue.oldest_at <= QUEUE_AGE_MAX)
        for queue in busy
    )
    return _judged("queues", ", ".join(told) or "empty", is_well)


def _chain(chain: Head | Away) -> Line:
    return _away("chain", chain) if isinstance(chain, Away) else Line("chain", f"answers; newest block {chain.block:,}")


def _span(span: timedelta) -> str:
    """A span of time as one number: `8 s`, `3 min`, `5 h`, `12 d`."""
    seconds = max(int(span.total_seconds()), 0)
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds // unit:,} {name}"
    return f"{seconds} s"


_MARKS = {
    Verdict.WELL: ("✓", "green"),
    Verdict.ATTENTION: ("!", "bold red"),
    Verdict.CANNOT_TELL: ("?", "bold yellow"),
}
_SENTENCES = {
    Verdict.WELL: "All is well.",
    Verdict.ATTENTION: "Something needs attention: docs/operations.md says what to do.",
    Verdict.CANNOT_TELL: "Not all of it can be told.",
}


def show(shown: Screen, console: Console) -> None:
    """Print it."""
    table = Table.grid(padding=(0, 2))
    for line in shown.lines:
        mark, style = _MARKS[line.verdict]
        table.add_row(Text(mark, style), line.about, Text(line.told, "" if line.verdict is Verdict.WELL else style))
    console.print(table)
    console.print(_SENTENCES[shown.verdict], style=_MARKS[shown.verdict][1])


def as_json(shown: Screen, picture: Picture, minute: LastMinute | Away) -> dict[str, object]:
    """The same for programs: each line, and the figures under their names as metrics."""
    lines = {
        line.about: {"verdict": line.verdict.name.lower().replace("_", "-"), "told": line.told} for line in shown.lines
    }
    last = None if isinstance(minute, Away) else {"recorded": minute.recorded, "settled": minute.settled}
    return {
        "at": picture.at.isoformat(),
        "verdict": shown.verdict.name.lower().replace("_", "-"),
        "lines": lines,
        "last_minute": last,
        "figures": {
            f"{name}{{{label}}}" if label else name: value
            for name, values in figures(picture).items()
            for label, value in values.items()
        },
    }
