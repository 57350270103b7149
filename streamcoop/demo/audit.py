"""The story's end: everybody takes her receipts, and the log is audited as any member would, from published files."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ledger.note import parse_verifier_key
from ledger.verify.reading import open_log
from ledger.verify.receipts import PROMISE_SUFFIX, RECEIPT_SUFFIX
from ledger.verify.report import Report
from ledger.verify.run import Asked, verify
from streamcoop.demo.client import DemoFailed, Json, Person, until
from streamcoop.demo.story import Cast, Say

WAIT_PUBLISHED_S = 180.0


@dataclass(frozen=True, slots=True)
class Audited:
    """What the audit came to."""

    report: Report

    @property
    def holds(self) -> bool:
        return self.report.verdict == 0

    def shown(self, kind: str) -> int:
        """How many receipts of a kind hold."""
        return sum(outcome.kind == kind and outcome.holds for outcome in self.report.receipts)


def audit(cast: Cast, folder: Path, say: Say) -> Audited:
    """Fetch receipts into the folder once all is published, and audit the log with them."""
    say("The shared log is published, and everybody takes her receipts home.")
    folder.mkdir()
    for listener in cast.listeners:
        for play_id in _plays_of(cast, listener):
            path = f"/api/v1/plays/{play_id}/receipt"
            told = until(lambda p=path, who=listener: _receipt(who, p), "a receipt", WAIT_PUBLISHED_S)  # type: ignore[misc]
            _keep(folder, f"play-{play_id}", told)
        for line in until(lambda who=listener: _lines(who), "the wallet's lines", WAIT_PUBLISHED_S):  # type: ignore[misc]
            answer = listener.http.get(f"/api/v1/wallet/lines/{line['epoch']}/receipt")
            if answer.is_error:
                raise DemoFailed(f"no receipt of {listener.name}'s wallet: {answer.text}")
            _keep(folder, f"wallet-{listener.name}-{line['epoch']}", answer.text)
    for number, promise in enumerate(cast.vote_receipts, 1):
        (folder / f"vote-{number}{PROMISE_SUFFIX}").write_text(promise, encoding="utf-8")
    facts = cast.operator.get("/api/v1/log")
    asked = Asked(keys=tuple(map(parse_verifier_key, facts["keys"])), receipts=folder)
    return Audited(verify(open_log(facts["address"]), asked, int(time.time())))


def _plays_of(cast: Cast, listener: Person) -> list[str]:
    months = sorted({at.strftime("%Y-%m") for at in (cast.began_at, datetime.now(UTC))})
    statements = [listener.get("/api/v1/wallet/statement", month=month) for month in months]
    return [line["play_id"] for month in statements for line in month["lines"] if line["play_id"]]


def _receipt(listener: Person, path: str) -> str | None:
    return listener.get(path)["receipt"] or None


def _lines(listener: Person) -> list[Json] | None:
    """All that are told, once they are published and there is one at least."""
    lines = listener.get("/api/v1/wallet/lines")
    return lines if lines and all(line["is_published"] for line in lines) else None


def _keep(folder: Path, name: str, receipt: str) -> None:
    (folder / f"{name}{RECEIPT_SUFFIX}").write_text(receipt, encoding="utf-8")
