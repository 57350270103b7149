"""Bringing the database to this version's schema, and founding the co-op in it."""

from __future__ import annotations

from datetime import datetime
from importlib.resources import files

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from ledger.epochs import Calendar
from ledger.money import MICRO
from ledger.rates import NetFactors, Rates
from ledger.rules import Rules
from ledger.store import partitions, terms
from ledger.tariff import Tariff
from streamcoop.database import with_driver
from streamcoop.settings import Settings

# ISO 4217: currencies whose minor unit is not a hundredth, and those used without one.
MINOR_DIGITS = {
    "BHD": 3,
    "IDR": 0,
    "IQD": 3,
    "ISK": 0,
    "JPY": 0,
    "JOD": 3,
    "KRW": 0,
    "KWD": 3,
    "OMR": 3,
    "TND": 3,
    "VND": 0,
}
MINOR_DIGITS_USUAL = 2
_MIGRATION_LOCK = 0x5C_00


def config() -> Config:
    """Alembic's configuration: the scripts in this package."""
    configured = Config()
    configured.set_main_option("script_location", str(files("streamcoop").joinpath("migrations")))
    return configured


def migrate(owner_url: str) -> None:
    """Bring the database at `owner_url` to the newest schema. Safe to repeat and to run twice at once."""
    engine = create_engine(with_driver(owner_url))
    with engine.begin() as conn:
        conn.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        conn.execute(text("create schema if not exists coop"))
        configured = config()
        configured.attributes["connection"] = conn
        command.upgrade(configured, "head")
    engine.dispose()


def found(session: Session, settings: Settings, now: datetime) -> bool:
    """Found the co-op with the settings' values unless it was founded before; make the first partitions."""
    conn = session.connection()
    partitions.ensure_partitions(conn, now)
    minor_digits = MINOR_DIGITS.get(settings.currency, MINOR_DIGITS_USUAL)
    founding = terms.Founding(
        coop_name=settings.coop_name,
        currency=settings.currency,
        minor_digits=minor_digits,
        credit_price_micro=settings.credit_price_minor * MICRO // 10**minor_digits,
        epoch_seconds=settings.epoch_seconds,
        epoch_grace_seconds=settings.epoch_grace_seconds,
        free_extra_ms=settings.free_extra_ms,
        token_ms_min=settings.token_ms_min,
        first_epoch=Calendar(settings.epoch_seconds).epoch_at(now),
        founded_at=now,
        constitution=settings.constitution(),
    )
    rates = Rates(artist_share_bp=settings.artist_share_bp)
    factors = NetFactors(settings.vat_bp, settings.payment_fee_bp, settings.licensing_bp)
    rules = Rules(settings.payout_minimum_minor, settings.listen_ms_max)
    return terms.found(conn, founding, Tariff(), rates, rules, factors)
