"""The worker that publishes: in their order, and nothing where the database is behind the log."""

from __future__ import annotations

import pytest

from ledger.store import batches
from streamcoop.adapters.objects import ObjectStoreUnavailable
from streamcoop.transparency import files, publishing
from tests.transparency.press import Press


def published(press: Press) -> int:
    """What a tick of the worker publishes."""
    from workers.log import publish  # reads its settings where it is imported

    return int(publish())


def test_a_batch_that_has_to_wait_holds_up_those_behind_it(press: Press, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    whole = publishing.publish

    def away(writer: publishing.Writer, batch: publishing.Batch) -> object:
        tried.append(batch.number)
        raise ObjectStoreUnavailable("away")

    press.end_batch()
    waiting = [batch.number for batch in press.waiting()]
    monkeypatch.setattr(publishing, "publish", away)
    assert published(press) == 0
    assert tried == waiting[:1]
    monkeypatch.setattr(publishing, "publish", whole)
    assert published(press) == len(waiting) > 1
    assert [batch.number for batch in press.waiting()] == []
    assert press.require_whole().batches == len(waiting)


def test_a_database_that_is_behind_its_log_ends_no_batch(press: Press, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "is_due", lambda *_: True)
    press.publish()
    assert published(press) == 1
    # The batch that is open here has ended before, in a later state of this database.
    (number,) = (row.number for row in press.label.rows("select number from ledger.log_batch where closed_at is null"))
    press.store.put_bytes(files.rows_key(number), b"of a later state", files.BYTES)
    assert published(press) == 0
    assert press.waiting() == []
