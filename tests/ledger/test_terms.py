"""Founding and terms: written once, in force from an epoch on, never changed behind it."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import NoResultFound

from ledger import accounts
from ledger.constitution import CeilingTooHigh, Constitution, OutsideConstitution
from ledger.errors import DomainError, NotYetInForce, TermsInThePast
from ledger.money import UnsuitableCreditPrice
from ledger.rates import NetFactors, Rates
from ledger.rules import Rules
from ledger.store import posting, terms
from ledger.tariff import Tariff
from tests.conftest import Database
from tests.ledger.factories import EPOCH, NOW, found, founding


def test_a_founding_is_read_as_it_was_written_and_opens_the_fixed_accounts(database: Database) -> None:
    found(database.engine, founding(epoch_seconds=3_600, minor_digits=3))
    with database.engine.connect() as conn:
        founded = terms.founding(conn)
        assert founded == founding(epoch_seconds=3_600, minor_digits=3)
        assert len(posting.account_ids(conn, [account.code for account in accounts.FIXED])) == len(accounts.FIXED)
    assert founded.calendar.seconds == 3_600
    assert [founding(minor_digits=digits).minor_micro for digits in (0, 2, 3)] == [1_000_000, 10_000, 1_000]


def test_a_co_op_is_founded_once(database: Database) -> None:
    first = found(database.engine)
    with database.engine.begin() as conn:
        assert not terms.found(conn, founding(coop_name="Other"), Tariff(1_000), Rates(), Rules(), NetFactors())
    with database.engine.connect() as conn:
        assert terms.founding(conn) == first
        assert terms.in_force(conn, first, EPOCH).tariff == Tariff()


def test_a_price_that_would_not_convert_exactly_founds_nothing(database: Database) -> None:
    with pytest.raises(UnsuitableCreditPrice), database.engine.begin() as conn:
        terms.found(conn, founding(credit_price_micro=1_500), Tariff(), Rates(), Rules(), NetFactors())
    with database.engine.connect() as conn, pytest.raises(NoResultFound):
        terms.founding(conn)


@pytest.mark.parametrize(
    ("rates", "rules", "factors", "refusal"),
    [
        (Rates(9_500), Rules(), NetFactors(), OutsideConstitution),
        (Rates(), Rules(listen_ms_max=5_000), NetFactors(), OutsideConstitution),
        (Rates(), Rules(), NetFactors(0, 9_995), CeilingTooHigh),
    ],
)
def test_terms_that_the_constitution_does_not_permit_found_nothing(
    database: Database, rates: Rates, rules: Rules, factors: NetFactors, refusal: type[DomainError]
) -> None:
    with pytest.raises(refusal), database.engine.begin() as conn:
        terms.found(conn, founding(constitution=Constitution()), Tariff(), rates, rules, factors)
    with database.engine.connect() as conn, pytest.raises(NoResultFound):
        terms.founding(conn)


def test_terms_hold_from_their_epoch_on_and_of_several_the_newest(database: Database) -> None:
    founded = found(database.engine, factors=NetFactors(1_900, 200, {"GEMA": 500}))
    with database.engine.begin() as conn:
        terms.adopt_tariff(conn, Tariff(4_000, 5), EPOCH + 2, "ballot:1", NOW)
        terms.adopt_rates(conn, Rates(6_500), EPOCH + 1, "ballot:2", NOW)
        newest = terms.adopt_rates(conn, Rates(6_600), EPOCH + 1, "ballot:3", NOW)
        terms.adopt_rates(conn, Rates(8_000), EPOCH + 9, "ballot:4", NOW)
        terms.adopt_rules(conn, Rules(500, 30_000), EPOCH + 2, "ballot:5", NOW)
        terms.adopt_net_factors(conn, NetFactors(2_000), EPOCH + 1, "treasurer", NOW)
    with database.engine.connect() as conn:
        first, second, third = (terms.in_force(conn, founded, EPOCH + n) for n in range(3))
    assert (first.tariff, first.terms.rates, first.decided_by["rates"]) == (Tariff(), Rates(), "founding")
    assert first.terms.net_factors == NetFactors(1_900, 200, {"GEMA": 500})
    assert (second.tariff, second.terms.rates) == (Tariff(), Rates(6_600))
    assert (second.versions["rates"], second.decided_by["rates"]) == (newest, "ballot:3")
    assert second.terms.net_factors == NetFactors(2_000)
    assert (third.tariff, third.terms.rates) == (Tariff(4_000, 5), Rates(6_600))
    assert (second.rules, third.rules) == (Rules(), Rules(500, 30_000))
    assert (third.decided_by["rules"], third.decided_by["tariff"]) == ("ballot:5", "ballot:1")
    assert third.numbers() == {
        "artist_share_bp": 6_600,
        "community_cut_bp": 1_000,
        "reserve_cut_bp": 3_000,
        "first_price_micro": 4_000,
        "plays": 5,
        "payout_minimum_minor": 500,
        "listen_ms_max": 30_000,
    }


def test_nothing_is_in_force_before_the_founding(database: Database) -> None:
    founded = found(database.engine)
    with database.engine.connect() as conn, pytest.raises(NotYetInForce):
        terms.in_force(conn, founded, EPOCH - 1)


@pytest.mark.parametrize("ahead", [-1, 0])
def test_terms_cannot_change_in_an_epoch_that_has_begun(ahead: int) -> None:
    with pytest.raises(TermsInThePast):
        terms.require_future(founding(), EPOCH + ahead, NOW)
    terms.require_future(founding(), EPOCH + 1, NOW)


@pytest.mark.usefixtures("founded")
@pytest.mark.parametrize("ahead", [-1, 0])
def test_terms_of_an_epoch_that_has_begun_cannot_be_adopted(database: Database, ahead: int) -> None:
    epoch = EPOCH + ahead
    with database.engine.connect() as conn:
        with pytest.raises(TermsInThePast):
            terms.adopt_tariff(conn, Tariff(4_000), epoch, "ballot:1", NOW)
        with pytest.raises(TermsInThePast):
            terms.adopt_rates(conn, Rates(6_500), epoch, "ballot:1", NOW)
        with pytest.raises(TermsInThePast):
            terms.adopt_rules(conn, Rules(500), epoch, "ballot:1", NOW)
        with pytest.raises(TermsInThePast):
            terms.adopt_net_factors(conn, NetFactors(2_000), epoch, "law", NOW)
