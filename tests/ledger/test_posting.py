"""Posting on PostgreSQL: keys honoured for ever, balances that hold, rows that cannot be changed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors, sql
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from ledger import accounts
from ledger.errors import BooksOutOfBalance, InsufficientBalance, RequestIdReused, UnknownAccount
from ledger.ids import new_id
from ledger.store import closing, posting
from ledger.store.posting import Posted, Transfer
from ledger.store.terms import Founding
from tests.conftest import Database
from tests.ledger.factories import (
    NOW,
    balance_micro,
    claim,
    close,
    findings,
    listener_with,
    record_now,
    settle_all,
    solo,
    splits_from,
    top_up_transfers,
)

pytestmark = pytest.mark.usefixtures("founded")

STORM = 8
APPEND_ONLY = (
    "founding", "tariff", "rates", "net_factors", "posting", "transfer",
    "track_close", "royalty_line", "royalty_release",
)  # fmt: skip


@pytest.fixture
def conn(database: Database, founded: Founding) -> Iterator[Connection]:
    with database.engine.begin() as connection:
        yield connection


def test_a_posting_moves_each_amount_from_debit_to_credit(conn: Connection) -> None:
    listener = uuid4()
    posted = posting.post(conn, new_id(), "top-up", top_up_transfers(listener, 5_000_000), NOW, {"by": "desk"})
    assert (posted.posted_at, posted.note, posted.repeated) == (NOW, {"by": "desk"}, False)
    held = [
        posting.balance_micro(conn, account)
        for account in (accounts.BANK, accounts.TOPUPS_CLEARING, accounts.CREDITS_ISSUED, accounts.wallet(listener))
    ]
    assert held == [-5_000_000, 5_000_000, -5_000_000, 5_000_000]


def test_the_same_key_and_content_again_gets_the_first_answer_and_changes_nothing(conn: Connection) -> None:
    listener, key = uuid4(), new_id()
    first = posting.post(conn, key, "top-up", top_up_transfers(listener, 5_000), NOW, {"b": 1, "a": [2, None]})
    again = posting.post(
        conn, key, "top-up", top_up_transfers(listener, 5_000), NOW + timedelta(days=400), {"a": [2, None], "b": 1}
    )
    assert again == Posted(first.id, first.posted_at, first.note, repeated=True)
    assert posting.balance_micro(conn, accounts.wallet(listener)) == 5_000


@pytest.mark.parametrize("other", ["kind", "amount", "account", "order", "note", "fewer"])
def test_the_same_key_with_another_content_is_refused(conn: Connection, other: str) -> None:
    listener, key = uuid4(), new_id()
    transfers = top_up_transfers(listener, 5_000)
    posting.post(conn, key, "top-up", transfers, NOW, {"by": "desk"})
    kind, note = "top-up", {"by": "desk"}
    match other:
        case "kind":
            kind = "grant"
        case "amount":
            transfers = top_up_transfers(listener, 6_000)
        case "account":
            transfers = top_up_transfers(uuid4(), 5_000)
        case "order":
            transfers = transfers[::-1]
        case "note":
            note = {"by": "card"}
        case "fewer":
            transfers = transfers[:1]
    with pytest.raises(RequestIdReused):
        posting.post(conn, key, kind, transfers, NOW, note)
    assert posting.balance_micro(conn, accounts.wallet(listener)) == 5_000


def test_a_key_is_found_before_the_content_is_weighed(conn: Connection) -> None:
    listener, key = uuid4(), new_id()
    posting.post(conn, new_id(), "top-up", top_up_transfers(listener, 5_000), NOW)
    spending = [Transfer(accounts.wallet(listener), accounts.CREDITS_CONSUMED, 5_000)]
    posting.post(conn, key, "spend", spending, NOW)
    assert posting.post(conn, key, "spend", spending, NOW).repeated


def test_a_storm_of_one_request_has_one_effect_and_one_answer(database: Database) -> None:
    listener, key, start = uuid4(), new_id(), Barrier(STORM)

    def request(number: int) -> Posted:
        start.wait()
        with database.engine.begin() as conn:
            return posting.post(conn, key, "top-up", top_up_transfers(listener, 7_000), NOW + timedelta(seconds=number))

    with ThreadPoolExecutor(STORM) as threads:
        answers = list(threads.map(request, range(STORM)))
    assert len({(answer.id, answer.posted_at) for answer in answers}) == 1
    assert sorted(answer.repeated for answer in answers) == [False] + [True] * (STORM - 1)
    assert balance_micro(database.engine, accounts.wallet(listener)) == 7_000


def test_of_two_contents_racing_for_one_key_one_is_posted_and_the_other_refused(database: Database) -> None:
    key, start = new_id(), Barrier(2)
    listeners = [uuid4(), uuid4()]

    def request(listener: UUID) -> bool:
        start.wait()
        try:
            with database.engine.begin() as conn:
                posting.post(conn, key, "top-up", top_up_transfers(listener, 1_000), NOW)
        except RequestIdReused:
            return False
        return True

    with ThreadPoolExecutor(2) as threads:
        posted = list(threads.map(request, listeners))
    assert sorted(posted) == [False, True]
    held = [balance_micro(database.engine, accounts.wallet(listener)) for listener in listeners]
    assert held == [1_000 if won else 0 for won in posted]


def test_two_threads_moving_between_the_same_accounts_both_ways_neither_deadlock_nor_lose(database: Database) -> None:
    start = Barrier(2)
    there, back = accounts.COMMUNITY, accounts.RESERVE
    with database.engine.begin() as conn:
        posting.post(conn, new_id(), "gift", [Transfer(accounts.BANK, a, 1_000) for a in (there, back)], NOW)

    def move(way: tuple[accounts.Account, accounts.Account]) -> None:
        start.wait()
        for _ in range(50):
            with database.engine.begin() as conn:
                posting.post(conn, new_id(), "move", [Transfer(*way, 1)], NOW)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(move, [(there, back), (back, there)]))
    assert [balance_micro(database.engine, a) for a in (there, back)] == [1_000, 1_000]
    assert not findings(database.engine)


def test_an_account_cannot_give_what_it_does_not_hold(database: Database) -> None:
    listener = listener_with(database.engine, 1_000)
    spend = [Transfer(accounts.wallet(listener), accounts.CREDITS_CONSUMED, 1_001)]
    with pytest.raises(InsufficientBalance) as refused, database.engine.begin() as conn:
        posting.post(conn, new_id(), "spend", spend, NOW)
    assert refused.value.facts == {
        "account": f"wallet:{listener}", "balance_micro": 1_000, "change_micro": -1_001,
    }  # fmt: skip
    assert balance_micro(database.engine, accounts.wallet(listener)) == 1_000
    assert not findings(database.engine)


def test_threads_that_spend_the_same_credits_get_them_once(database: Database) -> None:
    listener, start = listener_with(database.engine, 3_000), Barrier(STORM)

    def spend(_: int) -> bool:
        start.wait()
        try:
            with database.engine.begin() as conn:
                transfer = Transfer(accounts.wallet(listener), accounts.CREDITS_CONSUMED, 1_000)
                posting.post(conn, new_id(), "spend", [transfer], NOW)
        except InsufficientBalance:
            return False
        return True

    with ThreadPoolExecutor(STORM) as threads:
        assert sum(threads.map(spend, range(STORM))) == 3
    assert balance_micro(database.engine, accounts.wallet(listener)) == 0


@pytest.mark.parametrize("amount_micro", [0, -1_000])
def test_an_amount_that_is_not_positive_is_impossible(conn: Connection, amount_micro: int) -> None:
    with pytest.raises(IntegrityError, match="transfer_amount_micro_check"):
        posting.post(conn, new_id(), "spend", [Transfer(accounts.BANK, accounts.COMMUNITY, amount_micro)], NOW)


def test_an_account_cannot_pay_itself(conn: Connection) -> None:
    with pytest.raises(IntegrityError, match="transfer_check"):
        posting.post(conn, new_id(), "gift", [Transfer(accounts.BANK, accounts.BANK, 1_000)], NOW)


@pytest.mark.parametrize(
    "transfer",
    [
        Transfer(accounts.BANK, accounts.CREDITS_CONSUMED, 1_000),
        Transfer(accounts.CREDITS_ISSUED, accounts.TOPUPS_CLEARING, 1_000),
    ],
)
def test_money_cannot_become_credits_in_a_transfer(conn: Connection, transfer: Transfer) -> None:
    with pytest.raises(IntegrityError, match="between two accounts of its asset"):
        posting.post(conn, new_id(), "mix", [transfer], NOW)


@pytest.mark.parametrize("stray", ["posting_id", "debit_account", "credit_account"])
def test_of_many_transfers_not_one_is_of_a_posting_or_account_that_is_not_there(conn: Connection, stray: str) -> None:
    posting.post(conn, new_id(), "gift", [Transfer(accounts.BANK, accounts.COMMUNITY, 1)], NOW)
    columns = ["posting_id", "debit_account", "credit_account"]
    copied = ", ".join(f"case n when 700 then 999999 else {c} end" if c == stray else c for c in columns)
    insert = f"insert into ledger.transfer ({', '.join(columns)}, asset, amount_micro, posted_at)"
    rows = f"select {copied}, asset, 1, posted_at from ledger.transfer, generate_series(1, 1000) as n"
    with pytest.raises(IntegrityError, match="a transfer is of one posting"):
        conn.execute(text(f"{insert} {rows}"))


@pytest.mark.parametrize(
    "statement",
    [
        "delete from ledger.account where code = 'coop:reserve'",
        "update ledger.account set asset = 'credit' where code = 'coop:reserve'",
        "update ledger.account set id = default where code = 'coop:reserve'",
        "truncate ledger.account cascade",
    ],
)
def test_not_even_the_schemas_owner_removes_an_account_or_makes_another_of_it(
    database: Database, statement: str
) -> None:
    with psycopg.connect(database.owner_url) as owner, pytest.raises(psycopg.errors.RestrictViolation):
        owner.execute(statement)


def test_the_database_itself_refuses_a_balance_below_the_floor(database: Database) -> None:
    with pytest.raises(IntegrityError, match="account_balance_floor"), database.engine.begin() as conn:
        conn.execute(text("update ledger.account set balance_micro = -1 where code = 'coop:reserve'"))


def test_both_sides_of_a_movement_must_be_equal() -> None:
    posting.require_balance(5, 5)
    with pytest.raises(BooksOutOfBalance):
        posting.require_balance(5, 6, posting="x")


def test_a_posting_with_too_many_transfers_is_refused(conn: Connection) -> None:
    transfer = Transfer(accounts.BANK, accounts.COMMUNITY, 1)
    with pytest.raises(ValueError, match="at most"):
        posting.post(conn, new_id(), "gift", [transfer] * (posting.TRANSFERS_MAX + 1), NOW)


def test_an_open_postings_key_must_be_new(conn: Connection) -> None:
    key = new_id()
    posting.open_posting(conn, key, "settling", {}, NOW)
    with pytest.raises(RequestIdReused):
        posting.open_posting(conn, key, "settling", {}, NOW)


def test_an_account_that_was_never_opened_holds_nothing_and_has_no_id(conn: Connection) -> None:
    nobody = accounts.wallet(uuid4())
    assert posting.balance_micro(conn, nobody) == 0
    with pytest.raises(UnknownAccount):
        posting.account_id(conn, nobody)


@pytest.fixture
def full_books(database: Database, founded: Founding) -> Database:
    """Books in which every append-only table has a row."""
    listener, track, payee = listener_with(database.engine, 1_000_000), uuid4(), uuid4()
    record_now(database.app_url, [claim(listener, track)])
    settle_all(database.engine)
    close(database.engine, founded, founded.first_epoch, splits_from({track: solo(payee, "no consent")}))
    with database.engine.begin() as conn:
        assert closing.release(conn, track, payee, NOW) > 0
    return database


def test_nothing_kept_can_be_changed_or_removed(full_books: Database) -> None:
    for url, refusals in (
        (full_books.app_url, errors.InsufficientPrivilege),
        (full_books.owner_url, errors.RestrictViolation),
    ):
        with psycopg.connect(url, autocommit=True) as connection:
            for table in APPEND_ONLY:
                name = sql.Identifier("ledger", table)
                column = connection.execute(
                    "select column_name from information_schema.columns where table_schema = 'ledger'"
                    " and table_name = %s and is_identity = 'NO' order by ordinal_position limit 1",
                    (table,),
                ).fetchone()
                assert column is not None
                assert connection.execute(sql.SQL("select count(*) from {}").format(name)).fetchone() != (0,), table
                first = sql.Identifier(column[0])
                for statement in (
                    sql.SQL("update {} set {} = {}").format(name, first, first),
                    sql.SQL("delete from {}").format(name),
                    sql.SQL("truncate {} cascade").format(name),
                ):
                    with pytest.raises(refusals):
                        connection.execute(statement)


def test_the_service_can_neither_remove_plays_nor_rewrite_what_they_cost(full_books: Database) -> None:
    with psycopg.connect(full_books.app_url, autocommit=True) as connection:
        for statement in (
            "delete from ledger.play",
            "truncate ledger.play",
            "update ledger.play set price_micro = 1",
            "update ledger.play set track_id = gen_random_uuid()",
            "update ledger.account set code = 'mine'",
            "delete from ledger.account",
            "update ledger.epoch_close set begun_at = now()",
            "delete from ledger.track_epoch",
            "create table ledger.mine ()",
            "alter table ledger.transfer disable trigger all",
            "set session_replication_role = replica",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(statement)
