"""The log's files in a backup: all that its database of one instant knows as published, and no later head.

Sealed copies are left out. What they hold the backup's own dump holds, and within a backup they would outlast the time
after which what was erased is to be gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, text

from ledger import founding
from ledger.errors import NoteRefused
from ledger.note import NOTE_BYTES_MAX, parse_checkpoint, parse_note
from ledger.store import continuing
from ledger.tiles import ENTRIES, HEIGHT, path, width_of
from streamcoop.adapters.objects import ObjectMissing, ObjectStore, read_whole
from streamcoop.transparency import files, places

BATCHES_PAGE = 1_000

_PUBLISHED = text(
    "select number, first_index, size from ledger.log_batch where published_at is not null order by number"
)


def referred(conn: Connection, store: ObjectStore) -> Iterator[tuple[str, int | None]]:
    """Every file of the log that is never changed; read a page at a time."""
    ends = [each.batch for each in continuing.continued(conn)]
    for row in conn.execute(_PUBLISHED, execution_options={"yield_per": BATCHES_PAGE}):
        yield files.leaves_key(row.number), None
        paths = [files.head_path(row.number), *tiles_of(row.first_index, row.size)]
        for place, end in enumerate([*ends, row.number], 1):
            if row.number <= end:
                for path_in_log in paths:
                    yield files.folder_of(place) + path_in_log, None
    for place in range(1, len(ends) + 2):
        note = files.folder_of(place) + founding.PATH
        if store.exists(note):
            yield note, None


def tiles_of(before: int, size: int) -> Iterator[str]:
    """What a log of `size` entries has that it had not with so many before: tiles that are full since, partial ones."""
    level = 0
    while size >> HEIGHT * level:
        shift = HEIGHT * (level + 1)
        for index in range(before >> shift, (size >> shift) + 1):
            width = width_of(level, index, size)
            if width != width_of(level, index, before):
                for kind in (level, ENTRIES) if level == 0 else (level,):
                    yield path(kind, index, width)
        level += 1


def take_checkpoint(conn: Connection, store: ObjectStore, folder: Path) -> None:
    """Put into the objects of `folder` the head that everybody was shown as of this instant, if there was one.

    With its cosignatures, unless a later one is shown meanwhile.
    """
    log_now, place = places.here(conn, store), places.place_of(conn)
    _take_ended(store, place, folder)
    row = conn.execute(text(f"select number, size from ({_PUBLISHED}) as published order by number desc limit 1"))
    last = row.one_or_none()
    if last is None:
        return
    _put(folder, place, _shown(log_now, last.number, last.size))


def _take_ended(store: ObjectStore, place: int, folder: Path) -> None:
    """The last good heads of the logs that ended, as the founding note of the last one has them."""
    if place == 1:
        return
    note = read_whole(places.at(store, place), files.key_of(founding.PATH), NOTE_BYTES_MAX)
    for number, ended in enumerate(founding.parse(note).lineage, 1):
        _put(folder, number, str(ended.checkpoint).encode())


def _put(folder: Path, place: int, checkpoint: bytes) -> None:
    target = folder / (files.folder_of(place) + files.CHECKPOINT)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(checkpoint)


def _shown(store: ObjectStore, number: int, size: int) -> bytes:
    try:
        shown = read_whole(store, files.key_of(files.CHECKPOINT), NOTE_BYTES_MAX)
        if parse_checkpoint(parse_note(shown).text).size == size:
            return shown
    except (ObjectMissing, NoteRefused):
        pass
    return read_whole(store, files.key_of(files.head_path(number)), NOTE_BYTES_MAX)
