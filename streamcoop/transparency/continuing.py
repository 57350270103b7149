"""Going on after a theft: a log whose key was stolen ends at its last good head, and a new log opens from there.

The new log has another name and other keys, and begins with the very entries of the old one, whose tree it goes on
with: so its first heads have the roots of the old log's, and whoever reads it reads all from the first entry on. The
old log's files stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from ledger import founding as foundings
from ledger.errors import DomainError, NoteRefused, TileRefused
from ledger.founding import FoundingNote, Predecessor, predecessor_of
from ledger.note import Checkpoint, Note, SigningKey, VerifierKey, parse_note, signed, verified
from ledger.store import batches, continuing
from ledger.store.continuing import Told
from ledger.tiles import read_edge
from ledger.verify.lineage import cosigners
from streamcoop.adapters.objects import ObjectConflict, ObjectMissing, ObjectStore, read_whole
from streamcoop.anchoring import service as anchoring
from streamcoop.database import engine, transaction
from streamcoop.settings import Settings
from streamcoop.transparency import files, naming, places, recovering
from streamcoop.transparency.founding import AnotherFoundingNote
from streamcoop.transparency.keeping import tiles_of
from streamcoop.transparency.keys import keyring, keys_from
from streamcoop.transparency.publishing import LOCK

REASON = "the log goes on under another name"


class NoGoodHead(DomainError):
    """This is no head that the log could go on from."""


class NotTheSuccessor(DomainError):
    """This is not the founding note of a log that goes on from this one."""


class StillPublishing(DomainError):
    """A worker publishes: unset STREAMCOOP_LOG_KEY everywhere and start again, so that nothing more is signed."""


@dataclass(frozen=True, slots=True)
class LastGood:
    """Where a log ended: as of which batch, and how many later ones were published all the same."""

    predecessor: Predecessor
    batch: int
    left_out: int


def new_keys(origin: str, secret: str) -> list[SigningKey]:
    """The keys of the log of this name."""
    return keys_from(secret, origin)


def last_good_head(session: Session, store: ObjectStore, settings: Settings, given: Sequence[bytes]) -> LastGood:
    """The head that the log ended with: the one that is given, with one or more witnesses' lines, or that is shown.

    It has to be the one that we signed for a batch, and as many witnesses as the founding note needs have to have
    cosigned it. Raises NoGoodHead, NoteRefused and the store's errors.
    """
    conn = session.connection()
    shown, origin = places.here(conn, store), naming.origin(session, settings)
    try:
        note = read_whole(shown, files.key_of(foundings.PATH), files.FILE_BYTES_MAX).decode()
    except ObjectMissing as missing:
        raise NoGoodHead(reason="the log has no founding note that says who its witnesses are: publish it") from missing
    whole = _merged(given or [read_whole(shown, files.key_of(files.CHECKPOINT), files.FILE_BYTES_MAX)])
    predecessor = predecessor_of(str(whole), note)
    head, told = predecessor.head, predecessor.founding
    batch = continuing.batch_of(conn, head.size, head.root) if head.origin == origin else None
    if batch is None:
        raise NoGoodHead(reason="by these rows no batch was published with it", origin=head.origin, size=head.size)
    ring = keyring(session, ())
    keys = ring.of(batch) or list(told.keys)
    _, kept = files.read_note(shown, files.head_path(batch), keys)
    if kept != head:
        raise NoGoodHead(reason="another head was signed for that batch", batch=batch)
    verified(whole, keys)
    cosigned, _ = cosigners(whole, told)
    if cosigned < told.witnesses_needed:
        raise NoGoodHead(reason="too few witnesses cosigned it", needed=told.witnesses_needed, cosigned=cosigned)
    last = batches.published_head(conn)
    return LastGood(predecessor, batch, 0 if last is None else last.batch - batch)


def _merged(notes: Sequence[bytes]) -> Note:
    """One head with all the signature lines that it was given with. Raises NoGoodHead and NoteRefused."""
    parsed = [*map(parse_note, notes)]
    if len({note.text for note in parsed}) != 1:
        raise NoGoodHead(reason="heads of several sizes or roots were given")
    lines = {(line.name, line.key_id): line for note in parsed for line in note.signatures}
    return Note(parsed[0].text, tuple(lines.values()))


@dataclass(frozen=True, slots=True)
class Opened:
    """The log that goes on."""

    origin: str
    keys: tuple[VerifierKey, ...]


def go_on(settings: Settings, store: ObjectStore, data: bytes, secret: str, clock: Callable[[], datetime]) -> Opened:
    """Open the log of this founding note, which goes on from ours. Safe to repeat and to be killed anywhere.

    Its files are all there before the database says that it is the log: until then nothing has changed. Raises
    NotTheSuccessor, NoGoodHead, NoteRefused, StillPublishing, AnotherFoundingNote and the store's errors.
    """
    told = foundings.parse(data)
    keys = new_keys(told.origin, secret)
    if tuple(key.verifier for key in keys) != told.keys:
        raise NotTheSuccessor(reason="the new secret is of other keys than the note's")
    opened = Opened(told.origin, told.keys)
    with _publishing():
        with transaction() as session:
            conn = session.connection()
            if naming.origin(session, settings) == told.origin:
                _require_published(places.here(conn, store), data)
                return opened
            if recovering.is_behind(conn, store):
                raise NotTheSuccessor(reason=recovering.BEHIND)
            last = _require_successor(session, store, settings, told)
            place, published = places.place_of(conn) + 1, continuing.published(conn, last.batch)
            naming.name_log(session, settings)
        # First, so that the place is this log's and no other's.
        _publish_note(places.at(store, place), data)
        _open(places.at(store, place - 1), places.at(store, place), published, keys, clock)
        _show(places.at(store, place), published[-1], told)
        with transaction() as session:
            continuing.go_on(session.connection(), place, told.origin, last.batch, clock())
            anchoring.forget_beyond(session, last.predecessor.head.size, REASON)
    return opened


@contextmanager
def _publishing() -> Iterator[None]:
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        if not conn.scalar(text("select pg_try_advisory_lock(:key)"), {"key": LOCK}):
            raise StillPublishing
        try:
            yield
        finally:
            conn.execute(text("select pg_advisory_unlock(:key)"), {"key": LOCK})


def _require_successor(session: Session, store: ObjectStore, settings: Settings, told: FoundingNote) -> LastGood:
    named = told.predecessor
    if named is None or named.head.origin != naming.origin(session, settings):
        raise NotTheSuccessor(reason="it goes on from another log, or from none")
    last = last_good_head(session, store, settings, [str(named.checkpoint).encode()])
    if last.predecessor.note != named.note:
        raise NotTheSuccessor(reason="the founding note it names is not the one that is published")
    return last


def _require_published(store: ObjectStore, data: bytes) -> None:
    if read_whole(store, files.key_of(foundings.PATH), files.FILE_BYTES_MAX) != data:
        raise AnotherFoundingNote


def _open(
    old: ObjectStore,
    new: ObjectStore,
    published: Sequence[Told],
    keys: Sequence[SigningKey],
    clock: Callable[[], datetime],
) -> None:
    """The old log's tiles and entries, byte for byte, and a head of the new log as of each batch."""
    origin = keys[0].name
    for batch in published:
        for path in tiles_of(batch.first_index, batch.size):
            key = files.key_of(path)
            new.put_bytes(key, read_whole(old, key, files.FILE_BYTES_MAX), files.BYTES)
        _sign(new, batch.number, Checkpoint(origin, batch.size, batch.root), keys, clock)
    last = published[-1]
    try:
        root = read_edge(last.size, files.reader(new)).root()
    except (FileNotFoundError, TileRefused) as missing:
        raise NoGoodHead(reason=f"its files cannot be read: {missing}") from missing
    if root != last.root:
        raise NoGoodHead(reason="its files lead to another root")


def _sign(
    store: ObjectStore, batch: int, head: Checkpoint, keys: Sequence[SigningKey], clock: Callable[[], datetime]
) -> None:
    note = signed(str(head), keys, int(clock().timestamp()))
    try:
        store.put_bytes(files.key_of(files.head_path(batch)), str(note).encode(), files.TEXT)
    except ObjectConflict:
        # Signed the time before, which did not come to its end.
        _, before = files.read_note(store, files.head_path(batch), [key.verifier for key in keys])
        if before != head:
            raise


def _publish_note(store: ObjectStore, data: bytes) -> None:
    try:
        store.put_bytes(files.key_of(foundings.PATH), data, files.TEXT)
    except ObjectConflict as conflict:
        raise AnotherFoundingNote from conflict


def _show(store: ObjectStore, last: Told, told: FoundingNote) -> None:
    """Show the new log's head, unless one is shown: it went on already, and this database was put back."""
    try:
        files.read_note(store, files.CHECKPOINT, [*told.keys])
    except (ObjectMissing, NoteRefused):
        head = read_whole(store, files.key_of(files.head_path(last.number)), files.FILE_BYTES_MAX)
        store.replace_bytes(files.key_of(files.CHECKPOINT), head, files.TEXT)
