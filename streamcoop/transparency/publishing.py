"""Publishing: a batch's private rows are sealed away, its entries become files, then a signed head covers them, then
everybody is shown that head.

Whatever was done before a crash is done again with the same bytes, since a batch that has ended changes no more. The
writer never signs what contradicts a head that was signed: each batch's is in the object store, written once, and
rows that would lead to another one (a database that was put back to an earlier state) stop it before a file is written.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO
from uuid import UUID

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from ledger.errors import NoteRefused, TileRefused
from ledger.note import Checkpoint, Note, signed
from ledger.store import batches, commitments
from ledger.store.batches import Batch
from ledger.store.telling import LEAF, entries_of
from ledger.store.terms import Founding
from ledger.tiles import Edge, Tile, read_edge
from streamcoop.adapters.objects import ObjectConflict, ObjectMissing, ObjectStore
from streamcoop.anchoring import service as anchoring
from streamcoop.catalogue import lookup
from streamcoop.governance import counting
from streamcoop.transparency import files
from streamcoop.transparency.keys import Keyring
from streamcoop.transparency.sealing import seal

log = logging.getLogger(__name__)

TRACKS_CHUNK = 1_000
PLACES_CHUNK = 5_000
LOCK = 0x5C_04
"""PostgreSQL's advisory lock of whoever publishes."""

Transaction = Callable[[], AbstractContextManager[Session]]


class LogForked(Exception):
    """What these rows say is not what the log says already: nothing is signed until somebody has looked."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the plays of a track and epoch are told, and where their leaves begin in the batch's file."""

    track_id: UUID
    epoch: int
    index: int
    first_leaf: int
    count: int


@dataclass(frozen=True, slots=True)
class Writer:
    """All that publishing needs besides the batch."""

    transaction: Transaction
    engine: Engine
    store: ObjectStore
    keys: Keyring
    origin: str
    founding: Founding
    clock: Callable[[], datetime]
    secret: bytes
    """What the private rows behind a batch are sealed with."""
    cosign: Callable[[Note, Checkpoint], str]
    """Signature lines of witnesses for a head, as many as were to be had."""
    first_origin: str | None = None
    """What the log was called at its first entry, if it goes on under another name."""

    @property
    def named(self) -> str:
        """The name in its first entry."""
        return self.first_origin or self.origin


def prepare(writer: Writer, batch: Batch) -> None:
    """Tell what was not told while the batch was open: tracks that are first played in it, wallets at its end."""
    while True:
        with writer.transaction() as session:
            conn = session.connection()
            untold = commitments.untold_tracks(conn, batch.number, TRACKS_CHUNK)
            if not untold:
                break
            recordings = lookup.recordings(session, untold)
            if len(recordings) < len(untold):
                raise LogForked(f"tracks that were played in batch {batch.number} are not in the catalogue")
            commitments.tell_tracks(conn, batch.number, writer.founding.first_epoch, recordings)
    if batch.seals is None:
        return
    after: UUID | None = UUID(int=0)
    while after is not None:
        with writer.transaction() as session:
            after = commitments.tell_wallets(session.connection(), batch.seals, after)


def publish(writer: Writer, batch: Batch) -> Checkpoint:
    """Publish a batch; the batches before it are published. Safe to repeat and to be killed anywhere.

    Raises LogForked, OtherKeysSign where it waits for the keys that are to sign it, ObjectStoreUnavailable, and
    CopyRefused where the private rows behind it are not safe.
    """
    writer.keys.signing(batch.number)
    prepare(writer, batch)
    first, before = require_unforked(writer, batch)
    seal(writer.store, writer.engine, writer.secret, writer.named, batch.number, writer.clock)
    try:
        with tempfile.NamedTemporaryFile() as leaves:
            head, places = _built(writer, batch, before, lambda tile: files.put(writer.store, tile), leaves)
            leaves.flush()
            writer.store.put_file(files.leaves_key(batch.number), Path(leaves.name), files.BYTES)
    except ObjectConflict as conflict:
        raise LogForked(f"another file is there: {conflict}") from conflict
    _keep_places(writer, batch.number, places)
    head_note = _sign(writer, batch.number, head)
    show(writer, head_note, head)
    _note(writer, batch, first, head)
    return head


def accept(writer: Writer, batch: Batch) -> Checkpoint | None:
    """Note as published a batch whose head was signed before, since these rows lead to it. None: none was signed.

    Signs and writes nothing; the batches before it are published. Raises LogForked.
    """
    note = _signed_before(writer, batch.number)
    if note is None:
        return None
    first, before = _edge_before(writer, batch.number)
    head, places = _built(writer, batch, before, _write_nothing)
    _require_same(note[1], head)
    _keep_places(writer, batch.number, places)
    _note(writer, batch, first, head)
    return head


def _note(writer: Writer, batch: Batch, first: int, head: Checkpoint) -> None:
    with writer.transaction() as session:
        conn = session.connection()
        batches.mark_published(conn, batch.number, first, head.size, head.root, writer.clock())
        if batch.seals is not None:
            gross_micro, royalties_micro = batches.sealed_totals(conn, batch)
            anchoring.intend_anchor(
                session, batch.seals, head.size, head.root, gross_micro, royalties_micro, writer.clock()
            )


def require_unforked(writer: Writer, batch: Batch) -> tuple[int, Edge]:
    """The size of the log before a batch, and the edge it goes on from.

    Raises LogForked where files are missing, or the batch leads to another head than was signed.
    """
    first, before = _edge_before(writer, batch.number)
    note = _signed_before(writer, batch.number)
    if note is None:
        return first, before
    # This is seen before a file is written: one that was written is never taken away.
    head, _ = _built(writer, batch, before, _write_nothing)
    _require_same(note[1], head)
    return _edge_before(writer, batch.number)


def _edge_before(writer: Writer, number: int) -> tuple[int, Edge]:
    """The size of the log before a batch, and the edge it goes on from. Raises LogForked where files are missing."""
    if number == 1:
        return 0, Edge()
    try:
        _, head = files.read_note(writer.store, files.head_path(number - 1), writer.keys.of(number - 1))
        return head.size, read_edge(head.size, files.reader(writer.store))
    except (ObjectMissing, FileNotFoundError, NoteRefused, TileRefused) as missing:
        raise LogForked(f"the log as of batch {number - 1} cannot be read: {missing}") from missing


def _signed_before(writer: Writer, number: int) -> tuple[Note, Checkpoint] | None:
    try:
        return files.read_note(writer.store, files.head_path(number), writer.keys.of(number))
    except ObjectMissing:
        return None
    except NoteRefused as refused:
        raise LogForked(f"the head of batch {number} is not ours: {refused}") from refused


def _require_same(signed_head: Checkpoint, head: Checkpoint) -> None:
    if signed_head != head:
        raise LogForked(
            f"size {head.size} and root {head.root.hex()}, but {signed_head.size} and another root were signed"
        )


def _write_nothing(_: Tile) -> None:
    pass


def _built(
    writer: Writer, batch: Batch, edge: Edge, put: Callable[[Tile], None], leaves: IO[bytes] | None = None
) -> tuple[Checkpoint, list[Place]]:
    """Append the batch's entries and put what they complete: the head, and where plays are told, by their `leaves`."""
    places: list[Place] = []
    first_leaf = 0
    with writer.engine.connect().execution_options(isolation_level="REPEATABLE READ") as conn, conn.begin():
        conn.execute(text("set transaction read only"))
        # A day of plays is sorted and read for longer than a statement of ours usually may take.
        conn.execute(text("set local statement_timeout = 0"))
        ballots = counting.told_in(conn, batch.number)
        for told in entries_of(conn, batch, writer.named, ballots):
            if told.track_id is not None:
                count = len(told.leaves) // LEAF.size
                places.append(Place(told.track_id, told.epoch, edge.size, first_leaf, count))
                if leaves is not None:
                    leaves.write(told.leaves)
                first_leaf += count
            for tile in edge.append(told.data):
                put(tile)
    for tile in edge.partial():
        put(tile)
    return Checkpoint(writer.origin, edge.size, edge.root()), places


def _keep_places(writer: Writer, number: int, places: Sequence[Place]) -> None:
    for some in _chunks(places, PLACES_CHUNK):
        with writer.transaction() as session:
            session.execute(
                _KEEP_PLACES,
                {
                    "batch": number,
                    "tracks": [place.track_id for place in some],
                    "epochs": [place.epoch for place in some],
                    "indices": [place.index for place in some],
                    "firsts": [place.first_leaf for place in some],
                    "counts": [place.count for place in some],
                },
            )


def _chunks(places: Sequence[Place], size: int) -> Iterator[Sequence[Place]]:
    for begin in range(0, len(places), size):
        yield places[begin : begin + size]


_KEEP_PLACES = text("""
    insert into ledger.log_plays (track_id, epoch, batch, index, first_leaf, count)
    select track_id, epoch, :batch, index, first_leaf, count
      from unnest(cast(:tracks as uuid[]), cast(:epochs as integer[]), cast(:indices as bigint[]),
                  cast(:firsts as bigint[]), cast(:counts as bigint[]))
           as told (track_id, epoch, index, first_leaf, count)
        on conflict (track_id, epoch, batch) do update
       set index = excluded.index, first_leaf = excluded.first_leaf, count = excluded.count
     where (log_plays.index, log_plays.first_leaf, log_plays.count)
           is distinct from (excluded.index, excluded.first_leaf, excluded.count)
""")


def _sign(writer: Writer, number: int, head: Checkpoint) -> Note:
    """The batch's signed head: this one, or the one of the same tree that was signed before."""
    note = signed(str(head), writer.keys.signing(number), int(writer.clock().timestamp()))
    try:
        writer.store.put_bytes(files.key_of(files.head_path(number)), str(note).encode(), files.TEXT)
    except ObjectConflict:
        before = _signed_before(writer, number)
        if before is None:
            raise
        _require_same(before[1], head)
        return before[0]
    return note


def show(writer: Writer, note: Note, head: Checkpoint) -> None:
    """Put a head where everybody looks, with the cosignatures that were to be had, unless a later one is there."""
    try:
        _, shown = files.read_note(writer.store, files.CHECKPOINT, writer.keys.all)
    except ObjectMissing:
        pass
    else:
        if shown.size > head.size:
            return
    cosigned = str(note) + writer.cosign(note, head)
    writer.store.replace_bytes(files.key_of(files.CHECKPOINT), cosigned.encode(), files.TEXT)
