"""The migrations and the models are held against each other."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from ledger.constitution import Bound, Constitution
from ledger.rules import Rules
from ledger.store import terms
from streamcoop import models
from streamcoop.database import Base, with_driver
from streamcoop.migrate import migrate
from tests.conftest import Database
from tests.erasure.test_remarks import emptied, migrated
from tests.ledger.factories import EPOCH


def test_the_migrated_schema_is_that_of_the_models(database: Database) -> None:
    assert models.__all__
    engine = create_engine(with_driver(database.owner_url))
    with engine.connect() as conn:
        options = {"include_schemas": True, "include_name": lambda name, type_, _: type_ != "schema" or name == "coop"}
        differences = compare_metadata(MigrationContext.configure(conn, opts=options), Base.metadata)
    engine.dispose()
    # Alembic's own table is in no model.
    strangers = [d for d in differences if not (d[0] == "remove_table" and d[1].name == "alembic_version")]
    assert strangers == []


def test_migrating_again_changes_nothing(database: Database) -> None:
    migrate(database.owner_url)
    migrate(database.owner_url)


def test_the_service_may_read_its_version_and_not_change_it(database: Database) -> None:
    with database.engine.connect() as conn:
        may = "select has_table_privilege('streamcoop_app', 'coop.alembic_version', :what)"
        assert conn.scalar(text(may), {"what": "select"})
        assert not conn.scalar(text(may), {"what": "update"})


@pytest.mark.parametrize(
    ("listen_ms_max", "share_bp", "bounds"),
    [
        (45_000, 7_000, {}),
        (2_000, 7_000, {"listen_ms_max": Bound(2_000, 60_000, 15_000)}),
        (90_000, 9_000, {"listen_ms_max": Bound(10_000, 90_000, 15_000)}),
    ],
)
def test_a_co_op_from_before_has_the_usual_constitution_as_wide_as_it_needs_it(
    database: Database, listen_ms_max: int, share_bp: int, bounds: dict[str, Bound]
) -> None:
    emptied(database)
    migrated(database, "0010")
    engine = create_engine(with_driver(database.owner_url))
    with engine.begin() as conn:
        conn.execute(_FOUNDED_BEFORE, {"epoch": EPOCH, "listen": listen_ms_max})
        conn.execute(_RATES_BEFORE, {"epoch": EPOCH, "share": share_bp})
        conn.execute(_TARIFF_BEFORE, {"epoch": EPOCH})
        conn.execute(_FACTORS_BEFORE, {"epoch": EPOCH})
    migrated(database, "head")
    with engine.connect() as conn:
        founded = terms.founding(conn)
        in_force = terms.in_force(conn, founded, EPOCH)
        batch = conn.scalar(text("select number from ledger.log_batch where closed_at is null"))
        assert conn.scalars(text("select batch from ledger.rules")).all() == [batch]
    usual = Constitution()
    assert founded.constitution == Constitution({**usual.parameters, **bounds})
    assert in_force.rules == Rules(listen_ms_max=listen_ms_max)
    founded.constitution.require(in_force.numbers())
    engine.dispose()


_FOUNDED_BEFORE = text("""
    insert into ledger.founding (coop_name, currency, minor_digits, credit_price_micro, epoch_seconds,
        epoch_grace_seconds, listen_ms_max, free_extra_ms, token_ms_min, first_epoch, founded_at)
    values ('Before', 'EUR', 2, 1000000, 0, 7200, :listen, 15000, 1800000, :epoch, now())
""")
_RATES_BEFORE = text("""
    insert into ledger.rates (effective_epoch, artist_share_bp, community_cut_bp, reserve_cut_bp, decided_by,
        decided_at, batch) values (:epoch, :share, 1000, 3000, 'founding', now(), 1)
""")
_TARIFF_BEFORE = text("""
    insert into ledger.tariff (effective_epoch, first_price_micro, plays, decided_by, decided_at, batch)
    values (:epoch, 2000, 9, 'founding', now(), 1)
""")
_FACTORS_BEFORE = text("""
    insert into ledger.net_factors (effective_epoch, vat_bp, fees_bp, licensing_bp, decided_by, decided_at, batch)
    values (:epoch, 0, 0, '{}', 'founding', now(), 1)
""")
