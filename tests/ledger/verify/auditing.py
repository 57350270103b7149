"""Audits of the factory's logs, and changes to what such a log says."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ledger.entries import Entry
from ledger.verify import run
from ledger.verify.memory import Memory
from ledger.verify.reading import open_log
from ledger.verify.report import Report
from tests.ledger import log_factory as factory
from tests.ledger.log_factory import Named

NOW_S = factory.FOUNDED_AT + 365 * factory.DAY_S


def audit(folder: Path, memory: Memory | None = None, **asked: Any) -> Report:
    """What an auditor says who was given the founding note and, if so, other things."""
    asked.setdefault("founding", factory.NOTE.encode())
    return run.verify(open_log(str(folder)), run.Asked(**asked), NOW_S, memory)


def audit_of(folder: Path, named: Sequence[Named], **asked: Any) -> Report:
    """The same of a log of these entries, written into the folder and signed as if all were well."""
    factory.publish(folder, named)
    return audit(folder, **asked)


def said(report: Report) -> list[str]:
    """The findings in words, and why reading ended, if it did."""
    return [*map(str, report.findings.first), *([report.unreadable] if report.unreadable else [])]


def place_of(named: Sequence[Named], kind: str, number: int = 0, **fields: Any) -> int:
    """Where the number-th entry of a kind with these fields stands."""
    places = [n for n, (its, entry) in enumerate(named) if its == kind and fields.items() <= entry.items()]
    return places[number]


def changed(named: Sequence[Named], place: int, change: Mapping[str, Any]) -> list[Named]:
    """The entries, one of them with other fields."""
    copied: list[Named] = copy.deepcopy([*named])
    kind, entry = copied[place]
    copied[place] = kind, {**entry, **change}
    return copied


def entry_of(named: Sequence[Named], kind: str, number: int = 0, **fields: Any) -> Entry:
    """The fields of an entry, free to be changed."""
    return copy.deepcopy(named[place_of(named, kind, number, **fields)][1])


def keep(folder: Path, **files: str) -> Path:
    """A member's folder of receipts (`…_receipt`) and promises (any other name)."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        suffix = ".tlog-proof" if name.endswith("_receipt") else ".promise"
        (folder / f"{name}{suffix}").write_text(text, encoding="utf-8")
    return folder
