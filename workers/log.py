"""Publishing the shared log: batches are ended when they are due, and become files one after the other."""

from __future__ import annotations

import logging

from ledger.note import Checkpoint, Note
from ledger.store import batches
from streamcoop import metrics
from streamcoop.adapters.objects import ObjectStoreUnavailable, open_store
from streamcoop.adapters.watched_objects import WatchedStore
from streamcoop.clock import now
from streamcoop.database import engine, transaction
from streamcoop.founded import founded
from streamcoop.settings import settings
from streamcoop.transparency import naming, publishing
from streamcoop.transparency.keys import OtherKeysSign, keyring, signing_keys
from workers.alone import alone
from workers.app import app

log = logging.getLogger(__name__)

# A log that was away for long publishes so many batches a tick, and the rest at the next.
BATCHES_A_TICK_MAX = 50
_LOG_LOCK = 0x5C_04


@app.task(name="workers.log.publish")
def publish() -> int:
    """End the open batch if it is due, and publish what has ended; returns how many batches.

    Safe to lose and to repeat. Without a key nothing is published, and batches end with epochs only.
    """
    if settings().log_key is None:
        return 0
    with alone(_LOG_LOCK) as is_alone:
        if not is_alone:
            return 0
        with transaction() as session:
            conn = session.connection()
            if batches.is_due(conn, now(), settings().log_batch_seconds, settings().log_batch_listeners_min):
                batches.end_batch(conn, now())
            waiting = batches.unpublished(conn, BATCHES_A_TICK_MAX)
        if not waiting:
            return 0
        writer = _writer()
        for batch in waiting:
            try:
                head = publishing.publish(writer, batch)
            except publishing.LogForked:
                metrics.LOG_STOPPED.set(1)
                log.critical("the log is not what these rows say: nothing is published", extra={"batch": batch.number})
                raise
            except OtherKeysSign as waits:
                log.warning("log not published", extra={"batch": batch.number, "error": str(waits)})
                return 0
            except ObjectStoreUnavailable as error:
                log.warning("log not published", extra={"batch": batch.number, "error": str(error)})
                return 0
            metrics.LOG_STOPPED.set(0)
            log.info("batch published", extra={"batch": batch.number, "size": head.size, "seals": batch.seals})
    return len(waiting)


def _writer() -> publishing.Writer:
    with transaction() as session:
        origin = naming.name_log(session, settings())
        keys = keyring(session, signing_keys(settings(), origin))
    return publishing.Writer(
        transaction=transaction,
        engine=engine(),
        store=WatchedStore(open_store(settings())),
        keys=keys,
        origin=origin,
        founding=founded(),
        clock=now,
        cosign=_cosignatures,
    )


def _cosignatures(_note: Note, _head: Checkpoint) -> str:
    return ""
