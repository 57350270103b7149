"""Publishing the shared log: batches are ended when they are due, and become files one after the other."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from functools import partial
from itertools import takewhile

from sqlalchemy import Connection

from ledger.note import Note
from ledger.store import batches
from ledger.store.batches import Batch
from ledger.witness import parse_witnesses
from streamcoop import metrics
from streamcoop.adapters.objects import ObjectMissing, ObjectStore, ObjectStoreUnavailable, open_store
from streamcoop.adapters.watched_objects import WatchedStore
from streamcoop.clock import now
from streamcoop.database import engine, transaction
from streamcoop.founded import founded
from streamcoop.settings import settings
from streamcoop.transparency import files, naming, places, publishing, recovering, sealing
from streamcoop.transparency.cosigning import Cosigners
from streamcoop.transparency.keys import OtherKeysSign, keyring, signing_keys
from streamcoop.transparency.sealing import CopyRefused, secret_of
from workers.alone import alone
from workers.app import app

log = logging.getLogger(__name__)

# A log that was away for long publishes so many batches a tick, and the rest at the next.
BATCHES_A_TICK_MAX = 50
COSIGN_AGAIN_S = 60.0
# What this process remembers of witnesses, and when it last asked again; to forget costs a request.
_witnesses_know: dict[str, int] = {}
_cosigned_s = [float("-inf")]


@app.task(name="workers.log.publish")
def publish() -> int:
    """End the open batch if it is due, and publish what has ended; returns how many batches.

    Safe to lose and to repeat. Without a key nothing is published, and batches end with epochs only.
    """
    if settings().log_key is None:
        return 0
    with alone(publishing.LOCK) as is_alone:
        if not is_alone:
            return 0
        store = WatchedStore(open_store(settings()))
        with transaction() as session:
            conn = session.connection()
            if _is_behind(conn, store):
                return 0
            if batches.is_due(conn, now(), settings().log_batch_seconds, settings().log_batch_listeners_min):
                batches.end_batch(conn, now())
            waiting = batches.unpublished(conn, BATCHES_A_TICK_MAX)
        if not waiting and not settings().log_witnesses:
            return 0
        writer, cosigners = _writer(store)
        if not waiting:
            _cosign_again(writer, cosigners)
        # One that has to wait holds up those behind it.
        return sum(1 for _ in takewhile(partial(_published, writer), waiting))


def _is_behind(conn: Connection, store: ObjectStore) -> bool:
    """Whether this database was put back to an older state: then no batch may end, or it would go its own way."""
    try:
        why = recovering.why_behind(conn, store)
    except ObjectStoreUnavailable as error:
        log.warning("the log cannot be looked at", extra={"error": str(error)})
        return True
    if why is not None:
        metrics.LOG_STOPPED.set(1)
        log.critical(why)
    return why is not None


def _published(writer: publishing.Writer, batch: Batch) -> bool:
    """Publish a batch; False if it has to wait. Raises LogForked and CopyRefused."""
    facts = {"batch": batch.number, "seals": batch.seals}
    try:
        head = publishing.publish(writer, batch)
    except (publishing.LogForked, CopyRefused):
        metrics.LOG_STOPPED.set(1)
        log.critical("the log is not what these rows say: nothing is published", extra=facts)
        raise
    except (OtherKeysSign, ObjectStoreUnavailable) as waits:
        log.warning("log not published", extra=facts | {"error": str(waits)})
        return False
    metrics.LOG_STOPPED.set(0)
    log.info("batch published", extra=facts | {"size": head.size})
    return True


def _cosign_again(writer: publishing.Writer, cosigners: Cosigners) -> None:
    """Ask those who have not cosigned the head that is shown, now and then: one that was away is back some time."""
    if time.monotonic() < _cosigned_s[0] + COSIGN_AGAIN_S:
        return
    _cosigned_s[0] = time.monotonic()
    with suppress(ObjectMissing, ObjectStoreUnavailable):
        note, head = files.read_note(writer.store, files.CHECKPOINT, writer.keys.all)
        if cosigners.missing(note):
            own = {key.name for key in writer.keys.all}
            ours = tuple(line for line in note.signatures if line.name in own)
            publishing.show(writer, Note(note.text, ours), head)


@app.task(name="workers.log.expire_copies")
def expire_copies() -> int:
    """Delete the sealed copies that are old enough; returns how many. Safe to lose and to repeat."""
    with transaction() as session:
        last = sealing.last_expired(session.connection(), now())
    return sealing.expire(WatchedStore(open_store(settings())), last)


def _writer(store: ObjectStore) -> tuple[publishing.Writer, Cosigners]:
    with transaction() as session:
        origin = naming.name_log(session, settings())
        keys = keyring(session, signing_keys(settings(), origin))
        store, first_origin = places.here(session.connection(), store), naming.first_origin(session, settings())
    cosigners = Cosigners(parse_witnesses(settings().log_witnesses), store, _witnesses_know)
    writer = publishing.Writer(
        transaction=transaction,
        engine=engine(),
        store=store,
        keys=keys,
        origin=origin,
        founding=founded(),
        clock=now,
        cosign=cosigners.cosign,
        secret=secret_of(settings()),
        first_origin=first_origin,
    )
    return writer, cosigners
