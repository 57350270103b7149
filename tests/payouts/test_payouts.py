"""Payouts: reserved when planned, paid when the bank has, given back when it cannot; never twice."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

from ledger import accounts
from ledger.rules import Rules
from ledger.store import posting, terms
from ledger.store.posting import Transfer
from ledger.store.terms import Founding
from streamcoop.accounts import service as people
from streamcoop.errors import NotFound
from streamcoop.payouts import service
from streamcoop.payouts.models import Payout
from tests.conftest import Database
from tests.ledger.factories import NOW, findings, found

MINIMUM_MINOR = 1_000
TREASURER = uuid4()
MINOR_MICRO = 10_000


@pytest.fixture
def founding(database: Database) -> Founding:
    return found(database.engine, rules=Rules(payout_minimum_minor=MINIMUM_MINOR))


@pytest.fixture
def session(database: Database, founding: Founding) -> Iterator[Session]:
    with Session(database.engine, expire_on_commit=False) as session, session.begin():
        yield session


def a_payee(session: Session, earned_micro: int, destination: str | None = "DE89 3704 0044 0532 0130 00") -> UUID:
    """An artist to whom so much is payable."""
    payee = people.open_account(session, f"{uuid4()}@example.com", "a long password", "Payee", ["artist"], NOW).id
    # Only the payouts are looked at here: what is payable comes straight from outside.
    owed = Transfer(accounts.BANK, accounts.royalty(payee), earned_micro)
    posting.post(session.connection(), uuid4(), "test", [owed], NOW)
    if destination:
        service.set_destination(session, payee, destination)
    return payee


def payable_micro(session: Session, payee: UUID) -> int:
    return posting.balance_micro(session.connection(), accounts.royalty(payee))


def plan(session: Session, founding: Founding, run_id: UUID | None = None) -> list[Payout]:
    run = service.plan(session, founding, run_id or uuid4(), TREASURER, NOW)
    return service.payouts_of_run(session, run.id)


def test_whole_minor_units_are_paid_and_the_rest_stays(session: Session, founding: Founding) -> None:
    payee = a_payee(session, 12_345_678)

    (payout,) = plan(session, founding)
    service.mark_sent(session, payout.run_id, NOW)
    service.confirm(session, founding, payout.id, NOW)

    assert payout.amount_minor == 1_234
    assert payable_micro(session, payee) == 5_678
    assert posting.balance_micro(session.connection(), accounts.PAYOUTS_CLEARING) == 0
    assert posting.balance_micro(session.connection(), accounts.BANK) == -5_678


@pytest.mark.parametrize(
    ("earned_micro", "destination"), [(MINIMUM_MINOR * MINOR_MICRO - 1, "bank 1"), (50_000_000, None)]
)
def test_below_the_minimum_or_without_a_destination_nothing_is_paid(
    session: Session, founding: Founding, earned_micro: int, destination: str | None
) -> None:
    payee = a_payee(session, earned_micro, destination)

    assert plan(session, founding) == []
    assert payable_micro(session, payee) == earned_micro


def test_the_minimum_is_the_one_in_force_when_a_run_is_planned(session: Session, founding: Founding) -> None:
    payee = a_payee(session, 6 * MINOR_MICRO)
    epoch = founding.calendar.epoch_at(NOW) + 1
    terms.adopt_rules(session.connection(), Rules(payout_minimum_minor=5), epoch, "ballot:1", NOW)

    assert plan(session, founding) == []
    later = service.plan(session, founding, uuid4(), TREASURER, founding.calendar.starts_at(epoch))
    assert [payout.payee for payout in service.payouts_of_run(session, later.id)] == [payee]


def test_a_run_for_one_payee_pays_her_alone_and_less_than_the_minimum(session: Session, founding: Founding) -> None:
    leaving, rich, poor = (a_payee(session, earned) for earned in (12_345, 20_000_000, MINOR_MICRO - 1))
    for payee, amounts in ((leaving, [1]), (poor, [])):
        run = service.plan(session, founding, uuid4(), TREASURER, NOW, payee)
        assert [payout.amount_minor for payout in service.payouts_of_run(session, run.id)] == amounts
    assert payable_micro(session, rich) == 20_000_000


def test_one_payout_at_a_time_per_payee(session: Session, founding: Founding) -> None:
    payee = a_payee(session, 20_000_000)
    (first,) = plan(session, founding)
    posting.post(
        session.connection(), uuid4(), "test", [Transfer(accounts.BANK, accounts.royalty(payee), 30_000_000)], NOW
    )

    assert plan(session, founding) == []
    service.mark_sent(session, first.run_id, NOW)
    assert plan(session, founding) == []
    service.confirm(session, founding, first.id, NOW)
    (second,) = plan(session, founding)
    assert second.amount_minor == 3_000


def test_the_same_run_again_is_answered_alike(session: Session, founding: Founding) -> None:
    a_payee(session, 20_000_000)
    run_id = uuid4()

    assert [p.id for p in plan(session, founding, run_id)] == [p.id for p in plan(session, founding, run_id)]


def test_a_returned_payout_is_the_payees_again_and_can_be_paid_anew(session: Session, founding: Founding) -> None:
    payee = a_payee(session, 20_000_000)
    (payout,) = plan(session, founding)
    service.mark_sent(session, payout.run_id, NOW)

    for _ in range(2):
        assert service.give_back(session, founding, payout.id, NOW).state == "returned"
    assert payable_micro(session, payee) == 20_000_000
    with pytest.raises(service.PayoutSettled):
        service.confirm(session, founding, payout.id, NOW)
    assert len(plan(session, founding)) == 1


def test_what_was_not_sent_cannot_be_confirmed_and_what_is_paid_cannot_come_back(
    session: Session, founding: Founding
) -> None:
    a_payee(session, 20_000_000)
    (payout,) = plan(session, founding)

    with pytest.raises(service.PayoutNotSent):
        service.confirm(session, founding, payout.id, NOW)
    service.mark_sent(session, payout.run_id, NOW)
    service.mark_sent(session, payout.run_id, NOW + timedelta(days=1))
    assert payout.sent_at == NOW
    service.confirm(session, founding, payout.id, NOW)
    with pytest.raises(service.PayoutSettled):
        service.give_back(session, founding, payout.id, NOW)


def test_unknown_runs_and_payouts_are_not_found(session: Session, founding: Founding) -> None:
    with pytest.raises(NotFound):
        service.mark_sent(session, uuid4(), NOW)
    with pytest.raises(NotFound):
        service.confirm(session, founding, uuid4(), NOW)


def test_runs_and_confirmations_at_the_same_time_pay_once(database: Database, founding: Founding) -> None:
    with Session(database.engine) as session, session.begin():
        payee = a_payee(session, 20_000_000)

    def planned(_: int) -> list[UUID]:
        with Session(database.engine) as session, session.begin():
            return [payout.id for payout in plan(session, founding)]

    def confirmed(payout_id: UUID) -> None:
        with Session(database.engine) as session, session.begin():
            service.confirm(session, founding, payout_id, NOW)

    with ThreadPoolExecutor(8) as threads:
        (payout_id,) = [id_ for ids in threads.map(planned, range(8)) for id_ in ids]
        with Session(database.engine) as session, session.begin():
            payout = session.get_one(Payout, payout_id)
            service.mark_sent(session, payout.run_id, NOW)
        list(threads.map(confirmed, [payout_id] * 8))
    with Session(database.engine) as session, session.begin():
        assert payable_micro(session, payee) == 0
        assert posting.balance_micro(session.connection(), accounts.PAYOUTS_CLEARING) == 0
        assert posting.balance_micro(session.connection(), accounts.BANK) == 0
    # The royalty above had no lines: nothing else may disagree.
    wrong = {finding.check for finding in findings(database.engine)}
    assert wrong <= {"payees were credited what their lines say"}


def test_what_is_due_is_what_a_run_then_plans(session: Session, founding: Founding) -> None:
    a_payee(session, 12_345_678)
    a_payee(session, 20_000_000)
    a_payee(session, MINIMUM_MINOR * MINOR_MICRO - 1)

    due = service.due(session, founding, NOW)
    planned = plan(session, founding)

    assert due == service.Due(len(planned), sum(payout.amount_minor for payout in planned)) == service.Due(2, 3_234)
    assert service.due(session, founding, NOW) == service.Due(0, 0)


def test_runs_are_told_latest_first_with_what_became_of_their_payouts(session: Session, founding: Founding) -> None:
    a_payee(session, 20_000_000)
    a_payee(session, 30_000_000)
    first = plan(session, founding)
    service.mark_sent(session, first[0].run_id, NOW)
    service.confirm(session, founding, first[0].id, NOW)
    empty = service.plan(session, founding, uuid4(), TREASURER, NOW + timedelta(hours=1))

    told = service.runs(session, 10)

    assert [each.run.id for each in told] == [empty.id, first[0].run_id]
    assert [each.states for each in told] == [{}, {"confirmed": 1, "sent": 1}]
    assert [each.amount_minor for each in told] == [0, 5_000]
    assert [each.run.id for each in service.runs(session, 1)] == [empty.id]
    with pytest.raises(NotFound):
        service.run(session, uuid4())
