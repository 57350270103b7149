"""What is to be anchored, as whoever publishes the log stores it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from streamcoop.anchoring import service
from streamcoop.anchoring.service import AnchorDiffers, AnchorOutOfOrder
from tests.anchoring.conftest import FIRST, Head
from tests.conftest import Database

NOW = datetime(2026, 12, 2, 1, tzinfo=UTC)


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    with Session(database.engine) as session:
        yield session


def intend(session: Session, head: Head, now: datetime = NOW) -> None:
    service.intend_anchor(session, *astuple(head), now)


def test_again_with_the_same_values_changes_nothing(session: Session) -> None:
    intend(session, Head())
    intend(session, Head().next)
    intend(session, Head(), NOW + timedelta(hours=1))
    assert service.waiting(session) == (2, NOW)


@pytest.mark.parametrize(
    "other",
    [Head(size=1_001), Head(root=b"\x12" * 32), Head(gross_micro=1), Head(royalties_micro=1)],
    ids=["size", "root", "gross", "royalties"],
)
def test_again_with_other_values_is_refused(session: Session, other: Head) -> None:
    intend(session, Head())
    with pytest.raises(AnchorDiffers):
        intend(session, other)


def test_an_earlier_epoch_or_a_smaller_log_is_refused(session: Session) -> None:
    intend(session, Head())
    session.commit()
    for late in (Head(epoch=FIRST - 1), replace(Head().next, size=999)):
        with pytest.raises(AnchorOutOfOrder):
            intend(session, late)
        session.rollback()
    assert service.waiting(session)[0] == 1


def test_a_root_that_is_no_hash_is_refused(session: Session) -> None:
    with pytest.raises(IntegrityError):
        intend(session, Head(root=b"short"))


def test_the_earliest_goes_first(session: Session) -> None:
    assert service.first_unfinished(session, NOW) is None
    intend(session, Head())
    intend(session, Head().next)
    assert service.first_unfinished(session, NOW) == FIRST
