"""Checking the books: each check finds what it is there for, and nothing in books that are right."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, create_engine, text

from ledger import accounts
from ledger.ids import new_id
from ledger.rates import NetFactors
from ledger.royalties import Share
from ledger.store import checking, closing, commitments, posting
from ledger.store.posting import Transfer
from tests.conftest import Database
from tests.ledger.factories import (
    EPOCH,
    NOW,
    claim,
    close,
    findings,
    found,
    record_now,
    settle_all,
    splits_from,
    top_up,
)

ANN, BOB = UUID(int=0xA), UUID(int=0xB)
ONE, TWO = UUID(int=1), UUID(int=2)
PAID, HELD, RELEASED = UUID(int=0xF1), UUID(int=0xF2), UUID(int=0xF3)
OTHER = "'99999999-9999-4999-8999-999999999999'"

# For each check, changes that it must find. Each is tried alone, by the superuser with the triggers off.
CHANGES = {
    "every balance is the sum of its transfers": [
        "update ledger.account set balance_micro = balance_micro + 1 where code = 'coop:reserve'",
        "update ledger.transfer set amount_micro = amount_micro + 1 where id = (select min(id) from ledger.transfer)",
        "delete from ledger.transfer where id = (select max(id) from ledger.transfer)",
        "insert into ledger.transfer (posting_id, debit_account, credit_account, asset, amount_micro, posted_at)"
        " select posting_id, debit_account, credit_account, asset, 1, posted_at from ledger.transfer limit 1",
    ],
    "a transfer is of one posting, between two accounts of its asset": [
        "update ledger.transfer set posting_id = 0 where id = (select max(id) from ledger.transfer)",
        "update ledger.transfer set asset = 'money' where asset = 'credit'",
        "delete from ledger.account where code = 'plays:clearing'",
        f"delete from ledger.account where code = 'wallet:{ANN}'",
    ],
    "each asset's balances cancel out": [
        "update ledger.account set balance_micro = balance_micro + 1 where code = 'credits:consumed'",
        "update ledger.account set balance_micro = balance_micro - 1 where code = 'bank'",
    ],
    "no account is below what it may hold": [
        f"update ledger.account set balance_micro = -1 where code = 'wallet:{ANN}'",
        "update ledger.account set balance_micro = -1 where code = 'topups:clearing'",
    ],
    "clearing is empty between settlings": [
        "update ledger.account set balance_micro = 1 where code = 'plays:clearing'",
    ],
    "prepaid money is worth exactly the credits in circulation": [
        "update ledger.account set balance_micro = balance_micro + 1 where code = 'topups:clearing'",
        "update ledger.account set balance_micro = balance_micro - 1000 where code = 'credits:issued'",
        "update ledger.account set balance_micro = balance_micro - 1000 where code = 'credits:consumed'",
        "update ledger.founding set credit_price_micro = credit_price_micro + 1000",
    ],
    "each wallet was debited for its settled plays": [
        f"update ledger.play set listener_id = '{BOB}' where listener_id = '{ANN}' and kind = 'buyout'",
        "delete from ledger.play where kind = 'buyout'",
        "update ledger.play set price_micro = price_micro + 1000 where kind = 'buyout'",
    ],
    "each track collected for its settled plays": [
        "delete from ledger.play where kind = 'buyout'",
        f"update ledger.play set track_id = {OTHER} where kind = 'buyout'",
        "update ledger.play set epoch = epoch + 7 where kind = 'buyout'",
        "update ledger.play set kind = 'play' where kind = 'buyout'",
        "update ledger.track_epoch set collected_micro = collected_micro - 1000",
        "update ledger.track_epoch set plays = plays + 1",
        "update ledger.track_epoch set buyouts = buyouts + 1",
        "delete from ledger.track_epoch",
        f"insert into ledger.track_epoch values ({EPOCH}, {OTHER}, 1, 0, 2000)",
    ],
    "progress to ownership is what was paid": [
        "update ledger.progress set paid_micro = paid_micro + 1000",
        "update ledger.progress set plays = plays + 1",
        "update ledger.progress set owned_at = null",
        "delete from ledger.progress",
        "update ledger.progress set epoch = epoch + 1",
        "update ledger.progress set owned_at = now() where owned_at is null",
        f"insert into ledger.progress values ({OTHER}, {OTHER}, 9, 1022000, 1, now())",
    ],
    "monthly spending is what was paid": [
        "update ledger.spending set spent_micro = spent_micro - 1000",
        "delete from ledger.spending",
    ],
    "no play is recorded at an ordinal twice": [
        "insert into ledger.play select gen_random_uuid(), listener_id, track_id, kind, ordinal, price_micro,"
        " completes, epoch, salt, recorded_at from ledger.play where kind = 'play' limit 1",
    ],
    "every queued play is recorded": [
        "delete from ledger.play where id in (select play_id from ledger.play_queue)",
        "update ledger.play_queue set price_micro = price_micro - 1000",
        "update ledger.play_queue set play_id = gen_random_uuid()",
    ],
    "each settled play is told in the log once": [
        "delete from ledger.log_play where play_id in (select play_id from ledger.log_play limit 1)",
        "update ledger.log_play set price_micro = price_micro + 1000",
        "update ledger.log_play set epoch = epoch + 1",
        "insert into ledger.log_play select gen_random_uuid(), batch, epoch, track_id, 0, commitment"
        " from ledger.log_play",
    ],
    "what came into wallets is told in the log": [
        "delete from ledger.log_credit",
        "update ledger.log_credit set credits_micro = credits_micro + 1000",
        "insert into ledger.log_credit select posting_id, gen_random_uuid(), batch, kind, salt, 1, 0, commitment"
        " from ledger.log_credit",
    ],
    "a wallet's line goes on from the one before": [
        "update ledger.log_wallet set opening_micro = opening_micro + 1, closing_micro = closing_micro + 1",
    ],
    "a closed track's gross is its deductions, funds and royalties": [
        "update ledger.track_close set gross_micro = gross_micro + 1",
        "update ledger.track_close set net_micro = net_micro + 1",
        "update ledger.track_close set artists_micro = artists_micro + 1",
        """update ledger.track_close set funds = funds || '{"coop:reserve": 0}'""",
        """update ledger.track_close set deductions = deductions || '{"tax:vat": 0}'""",
        "update ledger.royalty_line set amount_micro = amount_micro + 1",
        "delete from ledger.royalty_line",
    ],
    "what was closed and what is still to close is what was collected": [
        "update ledger.track_close set collected_micro = collected_micro + 1000",
        "update ledger.track_close set plays = plays + 1000",
        "update ledger.track_epoch set collected_micro = collected_micro + 1000",
        "update ledger.account set balance_micro = balance_micro + 1000 where kind = 'track'",
        "delete from ledger.track_close",
    ],
    "nothing collected for a closed epoch is forgotten": [
        "delete from ledger.late",
        "update ledger.account set balance_micro = 2000 where kind = 'track' and balance_micro = 0",
    ],
    "taxes, fees and funds were credited what the closes say": [
        """update ledger.track_close set funds = funds || '{"coop:reserve": 0}'""",
        """update ledger.track_close set deductions = deductions || '{"licensing:other": 1}'""",
        "update ledger.transfer set credit_account = (select id from ledger.account where code = 'coop:operations')"
        " where credit_account = (select id from ledger.account where code = 'coop:reserve')",
    ],
    "held accounts hold the lines not yet released": [
        "delete from ledger.royalty_release",
        f"insert into ledger.royalty_release select id, 1, now() from ledger.royalty_line where payee = '{HELD}'",
        "update ledger.royalty_line set held_because = null",
        "update ledger.account set balance_micro = balance_micro - 1 where kind = 'held'",
    ],
    "payees were credited what their lines say": [
        f"update ledger.royalty_line set payee = {OTHER} where payee = '{PAID}'",
        f"update ledger.royalty_line set held_because = 'disputed' where payee = '{PAID}'",
        f"update ledger.royalty_line set amount_micro = amount_micro + 1 where payee = '{PAID}'",
        f"insert into ledger.royalty_release select id, 1, now() from ledger.royalty_line where payee = '{HELD}'",
        "delete from ledger.royalty_release",
        f"update ledger.transfer set amount_micro = 1 where credit_account ="
        f" (select id from ledger.account where code = 'royalty:{PAID}')",
    ],
}  # fmt: skip


@pytest.fixture
def kept_books(database: Database) -> Database:
    """Books with everything in them: plays settled and queued, a close, money paid, held, released and paid out."""
    founded = found(database.engine, factors=NetFactors(1_900, 200, {"GEMA": 500}))
    with database.engine.begin() as conn:
        top_up(conn, ANN, 5_000_000)
        top_up(conn, BOB, 1_000_000)
    record_now(database.app_url, [claim(ANN, ONE), claim(ANN, TWO, 1, 1_022_000, "buyout"), claim(BOB, ONE)])
    settle_all(database.engine)
    split = (Share(str(PAID), 5_000), Share(str(HELD), 3_000, "disputed"), Share(str(RELEASED), 2_000, "no consent"))
    assert close(database.engine, founded, EPOCH, splits_from({ONE: split, TWO: split}))
    with database.engine.begin() as conn:
        commitments.tell_wallets(conn, EPOCH, None)
        assert closing.release(conn, TWO, RELEASED, NOW)
        due_micro = posting.balance_micro(conn, accounts.royalty(PAID))
        payout = [
            Transfer(accounts.royalty(PAID), accounts.PAYOUTS_CLEARING, due_micro),
            Transfer(accounts.PAYOUTS_CLEARING, accounts.BANK, due_micro),
        ]
        posting.post(conn, new_id(), "payout", payout, NOW)
    record_now(database.app_url, [claim(ANN, ONE, 2, 4_000, epoch=EPOCH), claim(BOB, TWO, epoch=EPOCH + 1)])
    settle_all(database.engine)
    record_now(database.app_url, [claim(BOB, TWO, 2, 4_000, epoch=EPOCH + 1)])
    return database


@pytest.fixture
def superuser(kept_books: Database) -> Iterator[Engine]:
    engine = create_engine(kept_books.superuser_url.replace("postgresql://", "postgresql+psycopg://", 1))
    yield engine
    engine.dispose()


def failing_checks(conn: Connection) -> set[str]:
    return {finding.check for finding in checking.check_books(conn).findings}


def test_right_books_are_balanced(kept_books: Database) -> None:
    with kept_books.engine.connect() as conn:
        report = checking.check_books(conn)
    assert report.findings == ()
    assert report.balanced
    assert report.checks == tuple(checking.CHECKS)
    assert report.plays == 6
    assert report.transfers > 20


def test_every_check_has_changes_that_it_must_find() -> None:
    assert CHANGES.keys() == checking.CHECKS.keys()


def test_every_change_behind_the_services_back_is_found_by_its_check(superuser: Engine) -> None:
    unseen = []
    for check, changes in CHANGES.items():
        for change in changes:
            with superuser.connect() as conn:
                conn.execute(text("set local session_replication_role = replica"))
                conn.execute(text("alter table ledger.account drop constraint account_balance_floor"))
                changed = conn.exec_driver_sql(change)
                assert changed.rowcount > 0, change
                if check not in failing_checks(conn):
                    unseen.append((check, change))
                conn.rollback()
    assert unseen == []


def test_findings_name_what_disagrees_and_are_bounded(superuser: Engine) -> None:
    with superuser.connect() as conn:
        conn.execute(text("set local session_replication_role = replica"))
        conn.execute(text("update ledger.account set balance_micro = balance_micro + 7 where code = 'coop:reserve'"))
        report = checking.check_books(conn)
        found_ = next(f for f in report.findings if f.check == "every balance is the sum of its transfers")
        assert not report.balanced
        assert found_.subject == "coop:reserve"
        assert (found_.kept or 0) - (found_.added_up or 0) == 7
        conn.execute(
            text(
                "insert into ledger.track_epoch select :epoch, gen_random_uuid(), 1, 0, 9 from generate_series(1, 50)"
            ),
            {"epoch": EPOCH},
        )
        assert len(checking.check_books(conn).findings) <= checking.FINDINGS_MAX * len(checking.CHECKS)
        conn.rollback()


def test_erasing_a_listener_leaves_the_books_balanced(kept_books: Database) -> None:
    with kept_books.engine.begin() as conn:
        settle_all(kept_books.engine)
        conn.execute(
            text("update ledger.play set listener_id = null, salt = null where listener_id = :id"), {"id": ANN}
        )
        for table in ("progress", "spending"):
            conn.execute(text(f"delete from ledger.{table} where listener_id = :id"), {"id": ANN})
        conn.execute(text("delete from ledger.listener where id = :id"), {"id": ANN})
    assert not findings(kept_books.engine)


def test_books_are_of_one_instant_while_plays_go_on(kept_books: Database) -> None:
    with kept_books.engine.connect().execution_options(isolation_level="REPEATABLE READ") as conn:
        plays = checking.check_books(conn).plays
        record_now(kept_books.app_url, [claim(ANN, UUID(int=77))])
        settle_all(kept_books.engine)
        report = checking.check_books(conn)
    assert report.balanced
    assert report.plays == plays
