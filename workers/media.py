"""Making what listeners are sent of an uploaded recording, and finding the work that got lost.

No transaction is open while ffmpeg runs. Every rendition has a fixed object key and its own row, so a worker that
is killed anywhere loses at most the rendition it was making.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from uuid import UUID

from celery.exceptions import SoftTimeLimitExceeded

from ledger.errors import DomainError
from streamcoop import metrics, tracing
from streamcoop import work as asking
from streamcoop.adapters import audio
from streamcoop.adapters.objects import ObjectConflict, ObjectStore, ObjectStoreUnavailable, open_store
from streamcoop.adapters.watched_objects import WatchedStore
from streamcoop.catalogue import rendering, scratch, storage, uploads
from streamcoop.catalogue.models import RenditionCodec
from streamcoop.catalogue.rendering import LeaseLost, Work
from streamcoop.clock import now
from streamcoop.database import ReadOnly, transaction
from streamcoop.settings import settings
from workers.app import app

log = logging.getLogger(__name__)

PREVIEW_MS_MAX = 45_000
RENEW_EVERY_S = rendering.LEASE.total_seconds() / 4
SWEEP_MAX = 200


@cache
def _store() -> ObjectStore:
    return WatchedStore(open_store(settings()))


@app.task(name=asking.RENDER)
def render(track_id: str) -> None:
    """Make a track's renditions. Safe to repeat, to run twice at once, and to be killed anywhere."""
    with transaction() as session:
        work = rendering.claim(session, UUID(track_id), now())
    if work is None:
        return
    facts = {"track": track_id, "attempt": work.attempt}
    try:
        with tracing.span("render", attempt=work.attempt):
            _render(work)
        metrics.RENDERINGS.labels(metrics.RENDERED).inc()
        log.info("rendered", extra=facts)
    except LeaseLost:
        log.warning("lease lost", extra=facts)
    except (audio.AudioTooCostly, SoftTimeLimitExceeded):
        # On a machine that is busy just now; a file that is a bomb costs its attempts and no more.
        _put_off(work, uploads.AudioTooCostly())
    except audio.AudioRefused as error:
        metrics.RENDERINGS.labels(metrics.REFUSED).inc()
        log.info("recording refused", extra=facts | {"refusal": type(error).__name__})
        with _unless_lost(), transaction() as session:
            rendering.fail(session, work, uploads.refusal(error))
    except ReadOnly:
        raise
    except Exception:
        # The store or the database is away, the disk is full, ffmpeg is missing: for the operator to see, not to fix.
        log.exception("rendering failed", extra=facts)
        _put_off(work, rendering.NotRendered())


@app.task(name="workers.media.sweep")
def sweep() -> None:
    """Find uploads that died, tracks that wait for a worker, objects nobody refers to, and files left on the disk."""
    for track_id, key, size in _dead_uploads():
        _end_upload(track_id, key, size)
    with transaction() as session:
        waiting = rendering.due(session, now(), SWEEP_MAX)
    for track_id in waiting:
        asking.ask(asking.RENDER, track_id)
    _delete_discarded()
    scratch.sweep(now())


def _render(work: Work) -> None:
    """Make what is missing, then declare the track ready. Raises LeaseLost, and what goes wrong."""
    with _kept(work), scratch.own_folder("render-") as folder:
        original = folder / "original"
        _store().fetch_to(work.original, original)
        limits = audio.AudioLimits(settings().duration_s_max)
        about = audio.inspect(original, limits.duration_s_max)
        program = settings().ffmpeg
        lengths = dict(work.done)
        for codec in ("mp3", "opus"):
            if codec not in lengths:
                made = audio.render(original, folder / codec, codec, limits, inspection=about, program=program)
                lengths[codec] = _add(work, codec, folder / codec, made)
        if "preview" not in lengths:
            length_ms = max(1, min(PREVIEW_MS_MAX, lengths["mp3"] // 2))
            made = audio.clip(original, folder / "preview", length_ms, limits, inspection=about, program=program)
            _add(work, "preview", folder / "preview", made)
        if about.lossless and about.format != "flac" and "flac" not in lengths:
            with _if_possible(work, "flac"):
                made = audio.render(original, folder / "flac", "flac", limits, inspection=about, program=program)
                _add(work, "flac", folder / "flac", made)
        waveform = None
        with _if_possible(work, "waveform"):
            waveform = audio.waveform(original, folder, limits, inspection=about, program=program)
        with transaction() as session:
            rendering.finish(session, work, lengths["mp3"], waveform)


@contextmanager
def _if_possible(work: Work, what: str) -> Iterator[None]:
    """A track that can be heard does not fail for want of this."""
    try:
        yield
    except audio.AudioRefused as error:
        log.warning("done without", extra={"track": str(work.track_id), "what": what, "error": type(error).__name__})


def _add(work: Work, codec: RenditionCodec, path: Path, made: audio.Rendition) -> int:
    """Put a rendition, then write it down; returns its length in ms. Raises LeaseLost."""
    key = storage.rendition_key(work.track_id, codec)
    try:
        _store().put_file(key, path, made.content_type)
    except ObjectConflict:
        # Left by an attempt that was killed before its row, with another ffmpeg. While we hold the track nobody
        # refers to it.
        with transaction() as session:
            rendering.renew(session, work, now())
        _store().delete(key)
        _store().put_file(key, path, made.content_type)
    with transaction() as session:
        rendering.add_rendition(session, work, codec, made)
    path.unlink()
    return made.duration_ms


def _put_off(work: Work, problem: DomainError) -> None:
    metrics.RENDERINGS.labels(metrics.PUT_OFF).inc()
    with _unless_lost(), transaction() as session:
        rendering.put_off(session, work, problem, now())


@contextmanager
def _unless_lost() -> Iterator[None]:
    """What cannot be written because the track is another's now need not be written."""
    with suppress(LeaseLost):
        yield


@contextmanager
def _kept(work: Work) -> Iterator[None]:
    """Renews the lease from a thread for as long as the block lasts."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(RENEW_EVERY_S):
            try:
                with transaction() as session:
                    rendering.renew(session, work, now())
            except LeaseLost:
                return
            # The next turn tries again, and the lease outlives several.
            except Exception as error:
                log.warning("lease not renewed", extra={"error": type(error).__name__})

    thread = threading.Thread(target=renew, name=f"lease of {work.track_id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _dead_uploads() -> list[tuple[UUID, str, int]]:
    with transaction() as session:
        return uploads.dead(session, now(), SWEEP_MAX)


def _end_upload(track_id: UUID, key: str, size: int) -> None:
    """Go on with an upload whose object came whole; remove the row of one whose did not."""
    try:
        whole = _store().exists(key) and _store().size(key) == size
    except ObjectStoreUnavailable:
        return
    try:
        with transaction() as session:
            if whole:
                uploads.confirm(session, track_id, key, now())
            else:
                uploads.give_up(session, track_id)
    except storage.StorageUnavailable:  # deleted since we looked
        return
    log.info("dead upload ended", extra={"track": str(track_id), "stored": whole})


def _delete_discarded() -> None:
    with transaction() as session:
        keys = storage.due(session, now(), SWEEP_MAX)
    deleted = []
    try:
        for key in keys:
            _store().delete(key)
            deleted.append(key)
    except ObjectStoreUnavailable as error:
        log.warning("objects not deleted", extra={"error": str(error)})
    with transaction() as session:
        storage.deleted(session, deleted)
