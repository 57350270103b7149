"""The log's press for tests: what a label's people do, published as a worker does it, and audited from the files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from ledger.note import Checkpoint, Note
from ledger.store import batches
from ledger.store.batches import Batch
from ledger.verify.reading import open_log
from ledger.verify.report import Report
from ledger.verify.run import Asked, verify
from streamcoop.adapters.objects import ObjectStore, open_store
from streamcoop.database import engine, transaction
from streamcoop.settings import settings
from streamcoop.transparency import naming, places, publishing
from streamcoop.transparency.keys import keyring, signing_keys, verifier_keys
from streamcoop.transparency.sealing import secret_of
from tests.royalties.label import Label, Person

BATCHES_MAX = 1_000
ORIGIN = "log.example/label"


def _no_cosignatures(_note: Note, _head: Checkpoint) -> str:
    return ""


@dataclass
class Press:
    """A label, and the log of what happens there."""

    label: Label
    folder: Path
    store: ObjectStore
    cosign: Callable[[Note, Checkpoint], str] = field(default=_no_cosignatures)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def writer(self, store: ObjectStore | None = None) -> publishing.Writer:
        with transaction() as session:
            origin = naming.name_log(session, settings())
            keys = keyring(session, signing_keys(settings(), origin))
            first_origin = naming.first_origin(session, settings())
            placed = places.here(session.connection(), store or self.store)
        return publishing.Writer(
            transaction=transaction,
            engine=engine(),
            store=placed,
            keys=keys,
            origin=origin,
            founding=self.label.founding,
            clock=self.label.clock.now,
            secret=secret_of(settings()),
            cosign=self.cosign,
            first_origin=first_origin,
        )

    def end_batch(self) -> int:
        """End the open batch, whatever is in it."""
        with transaction() as session:
            return batches.end_batch(session.connection(), self.label.clock.now())

    def waiting(self) -> list[Batch]:
        with transaction() as session:
            return batches.unpublished(session.connection(), BATCHES_MAX)

    def all_batches(self) -> list[Batch]:
        rows = self.label.rows(
            "select number, opened_at, closed_at, seals from ledger.log_batch"
            " where closed_at is not null order by number"
        )
        return [Batch(*row) for row in rows]

    def publish(self, *, end: bool = True) -> Checkpoint | None:
        """Publish all that has ended, the open batch too unless it is to stay open; the head afterwards."""
        if end:
            self.end_batch()
        head = None
        for batch in self.waiting():
            head = publishing.publish(self.writer(), batch)
        return head

    def audit(self, receipts: Path | None = None, **asked: Any) -> Report:
        """What an auditor finds in the files, who knows the log's keys."""
        known = {"keys": tuple(verifier_keys(settings(), ORIGIN)), "receipts": receipts, **asked}
        now_s = int(self.label.clock.now().timestamp())
        return verify(open_log(str(self.log)), Asked(**known), now_s)

    def require_whole(self, receipts: Path | None = None, **asked: Any) -> Report:
        """An audit that must find nothing wrong."""
        report = self.audit(receipts, **asked)
        assert report.verdict == 0, (report.unreadable, [*map(str, report.findings.first)], report.receipts)
        return report

    def keep_receipt(self, folder: Path, person: Person, path: str, name: str) -> Path:
        """A receipt as its owner gets it, in a file as she would keep it."""
        answer = self.label.call("GET", path, person)
        assert answer.status_code == 200, answer.text
        text = answer.text if answer.headers["content-type"].startswith("text/plain") else answer.json()["receipt"]
        assert text is not None, answer.text
        file = folder / f"{name}.tlog-proof"
        file.write_text(text, encoding="utf-8")
        return file

    def plays_of(self, person: Person) -> list[UUID]:
        rows = self.label.rows("select id from ledger.play where listener_id = :who order by id", who=person.user_id)
        return [row.id for row in rows]


@pytest.fixture
def press(label: Label, tmp_path: Path) -> Press:
    return Press(label, tmp_path / "objects", open_store(settings()))
