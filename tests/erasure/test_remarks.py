"""What people wrote beside top-ups and grants leaves the postings, and each posting's key stands for what it did."""

from __future__ import annotations

import json
from uuid import uuid4

import psycopg
from alembic import command
from psycopg import sql
from sqlalchemy import create_engine, text

from ledger import accounts
from ledger.store import crediting, posting
from ledger.store.posting import Transfer
from streamcoop.database import with_driver
from streamcoop.migrate import config
from tests.conftest import Database
from tests.ledger import factories

REFERENCE, REASON = 'receipt 7, "Lestari" – für Ann', "a gift for Lestari"


def migrated(database: Database, revision: str) -> None:
    engine = create_engine(with_driver(database.owner_url))
    with engine.begin() as conn:
        conn.execute(text("create schema if not exists coop"))
        configured = config()
        configured.attributes["connection"] = conn
        command.upgrade(configured, revision)
    engine.dispose()


def emptied(database: Database) -> None:
    with psycopg.connect(database.superuser_url) as conn:
        for schema in ("coop", "ledger"):
            conn.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(schema)))
    owner = psycopg.conninfo.conninfo_to_dict(database.owner_url)["user"]
    with psycopg.connect(database.superuser_url) as conn:
        conn.execute(sql.SQL("create schema coop authorization {}").format(sql.Identifier(str(owner))))


def test_remarks_leave_the_postings_and_requests_sent_again_are_still_known(database: Database) -> None:
    emptied(database)
    migrated(database, "0008")
    listener, now = uuid4(), factories.NOW
    paid = [*factories.top_up_transfers(listener, 5_000_000), Transfer(accounts.BANK, accounts.COMMUNITY, 7)]
    given = [
        Transfer(accounts.CREDITS_ISSUED, accounts.GRANTS, 1_000_000),
        Transfer(accounts.GRANTS, accounts.wallet(listener), 1_000_000),
        Transfer(accounts.BANK, accounts.TOPUPS_CLEARING, 1_000_000),
    ]
    by = str(uuid4())
    booked = [
        (uuid4(), "top-up", paid, {"amount_minor": 500, "by": by}, {"reference": REFERENCE}),
        (uuid4(), "top-up", paid, {"amount_minor": 500, "by": by}, {"reference": ""}),
        (uuid4(), "grant", given, {"by": by}, {"reason": REASON}),
        (uuid4(), "top-up", paid, {}, {}),
    ]
    engine = create_engine(with_driver(database.app_url))
    with engine.begin() as conn:
        for key, kind, transfers, note, remark in booked:
            posted = posting.post(conn, key, kind, transfers, now, note | remark, 1)
            told = {"posting": posted.id, "listener": listener, "kind": kind, "salt": bytes(32), "hash": key.bytes}
            conn.execute(_TOLD, told)
    engine.dispose()
    migrated(database, "head")
    with engine.begin() as conn:
        kept = conn.scalars(text("select text from ledger.remark order by posting_id")).all()
        assert kept == [REFERENCE, REASON]
        notes = conn.scalars(text("select note from ledger.posting order by id")).all()
        assert notes == [note for _, _, _, note, _ in booked]
        assert "Lestari" not in json.dumps(notes)
        for key, kind, transfers, note, remark in booked:
            said = "".join(remark.values())
            assert crediting.give(conn, key, kind, listener, transfers, now, note, said).repeated
        guard = "select tgenabled from pg_trigger where tgname = 'append_only' and tgrelid = 'ledger.posting'::regclass"
        assert conn.scalar(text(guard)) == "O", "the postings refuse to be changed as before"
    engine.dispose()


_TOLD = text("""
    insert into ledger.log_credit (posting_id, batch, kind, listener_id, salt, credits_micro, money_micro, commitment)
    values (:posting, 1, :kind, :listener, :salt, 1, 0, :hash)
""")
