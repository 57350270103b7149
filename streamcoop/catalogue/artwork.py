"""A release's picture: made afresh as a JPEG from whatever was sent, kept under a key of its own."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from ledger.errors import DomainError
from streamcoop.adapters import confined
from streamcoop.adapters.objects import ObjectStore
from streamcoop.catalogue import artwork_child, scratch, service, storage
from streamcoop.clock import now
from streamcoop.database import transaction
from streamcoop.problems import register

PICTURE_BYTES_MAX = 10 << 20
CONTENT_TYPE = "image/jpeg"
CHILD_LIMITS: Final = confined.Limits(cpu_s=20, wall_s=60, memory_bytes=1 << 30, file_bytes=16 << 20)


class UnreadablePicture(DomainError):
    """This is not a picture that can be read: send a JPEG, PNG, WebP or GIF of no more than 50 million pixels."""


register({UnreadablePicture: HTTPStatus.UNSUPPORTED_MEDIA_TYPE})


def replace(store: ObjectStore, owner_id: UUID, release_id: UUID, picture: Path) -> None:
    """Make `picture` the release's artwork. Raises NotFound, UnreadablePicture, StorageUnavailable."""
    with scratch.own_folder("artwork-") as folder:
        keep(store, owner_id, release_id, _encoded(picture, folder))


def keep(store: ObjectStore, owner_id: UUID, release_id: UUID, jpeg: Path, *, if_missing: bool = False) -> bool:
    """Put a JPEG that was made here, then refer to it. A transaction each, so that nothing is left over by a crash.

    With `if_missing` a picture that is there already stays: False. Raises NotFound, StorageUnavailable.
    """
    with transaction() as session:
        release = service.own_release(session, owner_id, release_id)
        if if_missing and release.artwork:
            return False
        key = storage.artwork_key(release_id)
        storage.discard(session, [key], now())
    with storage.storing():
        store.put_file(key, jpeg, CONTENT_TYPE)
    with transaction() as session:
        return _refer(session, owner_id, release_id, key, now(), if_missing=if_missing)


def _refer(session: Session, owner_id: UUID, release_id: UUID, key: str, at: datetime, *, if_missing: bool) -> bool:
    """Make an object that was put the release's artwork; the one before it is discarded."""
    release = service.own_release(session, owner_id, release_id)
    if if_missing and release.artwork:
        return False
    if not storage.keep(session, key):
        raise storage.StorageUnavailable(retry_after_s=storage.RETRY_AFTER_S)
    if release.artwork:
        storage.discard(session, [release.artwork], at)
    release.artwork = key
    return True


def _encoded(picture: Path, folder: Path) -> Path:
    """The picture as a JPEG in `folder`, made by a confined child. Raises UnreadablePicture."""
    source, target = picture.resolve(), folder.resolve()
    outcome = confined.run_python(
        artwork_child.__name__, [str(source), str(target)], CHILD_LIMITS, folder=target, readable=[source]
    )
    jpeg = target / artwork_child.RESULT
    if outcome.ending != "exited" or not jpeg.is_file():
        raise UnreadablePicture
    return jpeg
