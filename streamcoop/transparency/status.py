"""How the log stands: what is published, what waits, and whether it can go on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from ledger.errors import NoteRefused
from ledger.store import batches
from ledger.store.batches import Head, Waiting
from streamcoop.adapters.objects import ObjectMissing
from streamcoop.transparency import files
from streamcoop.transparency.keys import OtherKeysSign
from streamcoop.transparency.publishing import LogForked, Writer, require_unforked
from streamcoop.transparency.recovering import why_behind


@dataclass(frozen=True, slots=True)
class Status:
    """`batch` is the last that is published. `stopped`: why no further one can be, where something has to be done."""

    origin: str
    size: int
    batch: int | None
    published_at: datetime | None
    waiting: int
    waiting_since: datetime | None
    stopped: str | None


def status(session: Session, writer: Writer) -> Status:
    """The log by these rows, held against its files; nothing is written. Raises the store's errors."""
    conn = session.connection()
    head, waiting = batches.published_head(conn), batches.waiting(conn)
    return Status(
        origin=writer.origin,
        size=head.size if head else 0,
        batch=head.batch if head else None,
        published_at=head.published_at if head else None,
        waiting=waiting.count,
        waiting_since=waiting.since,
        stopped=_why_stopped(session, writer, head, waiting),
    )


def _why_stopped(session: Session, writer: Writer, head: Head | None, waiting: Waiting) -> str | None:
    if not writer.keys.own:
        return "STREAMCOOP_LOG_KEY is not set: nothing is signed"
    behind = why_behind(session.connection(), writer.store)
    if behind is not None:
        return behind
    try:
        if head is not None:
            _require_ours(writer, head, waiting)
        for batch in batches.unpublished(session.connection(), 1):
            writer.keys.signing(batch.number)
            require_unforked(writer, batch)
    except OtherKeysSign as waits:
        return f"batch {waits.facts['batch']} waits for STREAMCOOP_LOG_KEY to be the key it is to be signed with"
    except LogForked as forked:
        return f"the log is not what these rows say: {forked}"
    return None


def _require_ours(writer: Writer, head: Head, waiting: Waiting) -> None:
    """Raise LogForked unless the files end as the rows do."""
    try:
        _, signed = files.read_note(writer.store, files.head_path(head.batch), writer.keys.of(head.batch))
        _, shown = files.read_note(writer.store, files.CHECKPOINT, writer.keys.all)
    except (ObjectMissing, NoteRefused) as missing:
        raise LogForked(f"the head as of batch {head.batch} cannot be read: {missing}") from missing
    if (signed.size, signed.root) != (head.size, head.root):
        raise LogForked(f"batch {head.batch} was signed with another head")
    # The next batch's head may be shown already, and not yet be noted.
    if shown.size > head.size and not waiting.count:
        raise LogForked(f"{shown.size} entries are published, of which {head.size} are known here")
