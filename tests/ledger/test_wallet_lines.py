"""A wallet's line in the log is what it held and moved up to a seal, whatever has moved it since."""

from __future__ import annotations

from uuid import uuid4

from sqlalchemy import text

from ledger.ids import new_id
from ledger.royalties import Share
from ledger.store import commitments
from tests.conftest import Database
from tests.ledger.factories import (
    EPOCH,
    claim,
    close,
    found,
    listener_with,
    record_now,
    settle_all,
    splits_from,
    top_up,
)


def lines(database: Database, epoch: int) -> dict[str, tuple[int, int, int, int]]:
    with database.engine.connect() as conn:
        return {str(row[0]): tuple(row[1:]) for row in conn.execute(text(_LINES), {"epoch": epoch})}


_LINES = """
    select listener_id, opening_micro, in_micro, spent_micro, closing_micro from ledger.log_wallet where epoch = :epoch
"""


def told(database: Database, epoch: int) -> None:
    with database.engine.begin() as conn:
        assert commitments.tell_wallets(conn, epoch, None) is None


def test_a_line_told_late_is_the_line_told_at_once(database: Database) -> None:
    founded = found(database.engine)
    all_to_one = (Share(str(uuid4()), 10_000),)
    ann, bob, track = listener_with(database.engine, 50_000), listener_with(database.engine, 40_000), new_id()
    record_now(database.app_url, [claim(ann, track), claim(bob, track)])
    settle_all(database.engine)
    assert close(database.engine, founded, EPOCH, splits_from({track: all_to_one}))

    # All of this belongs to the batch after the seal.
    eve = listener_with(database.engine, 30_000)
    with database.engine.begin() as conn:
        top_up(conn, ann, 7_000)
    record_now(database.app_url, [claim(ann, track, 2, 4_000, epoch=EPOCH + 1), claim(eve, track, epoch=EPOCH + 1)])
    settle_all(database.engine)
    told(database, EPOCH)

    first = lines(database, EPOCH)
    assert first == {str(ann): (0, 50_000, 2_000, 48_000), str(bob): (0, 40_000, 2_000, 38_000)}

    assert close(database.engine, founded, EPOCH + 1, splits_from({track: all_to_one}))
    record_now(database.app_url, [claim(eve, track, 2, 4_000, epoch=EPOCH + 2)])
    settle_all(database.engine)
    told(database, EPOCH + 1)

    assert lines(database, EPOCH) == first
    assert lines(database, EPOCH + 1) == {
        str(ann): (48_000, 7_000, 4_000, 51_000),
        str(bob): (38_000, 0, 0, 38_000),
        str(eve): (0, 30_000, 2_000, 28_000),
    }


def test_a_wallet_that_never_held_anything_has_no_line(database: Database) -> None:
    founded = found(database.engine)
    listener_with(database.engine, 1_000)
    assert close(database.engine, founded, EPOCH, splits_from({}))
    late = uuid4()
    with database.engine.begin() as conn:
        top_up(conn, late, 1_000)
    told(database, EPOCH)
    assert str(late) not in lines(database, EPOCH)
