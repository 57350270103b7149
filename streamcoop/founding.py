"""What settings found a co-op with: the values that are written once, and the terms that hold from then on."""

from __future__ import annotations

from datetime import datetime

from ledger.epochs import Calendar
from ledger.money import MICRO
from ledger.rates import NetFactors, Rates
from ledger.rules import Rules
from ledger.store import terms
from ledger.tariff import Tariff
from streamcoop.settings import Settings

# ISO 4217: currencies whose minor unit is not a hundredth; and IDR, whose hundredths nobody uses.
_WITHOUT = ("BIF", "CLP", "DJF", "GNF", "IDR", "ISK", "JPY", "KMF", "KRW")
_WITHOUT_TOO = ("PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF")
_THOUSANDTHS = ("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND")
MINOR_DIGITS = dict.fromkeys(_WITHOUT + _WITHOUT_TOO, 0) | dict.fromkeys(_THOUSANDTHS, 3)
MINOR_DIGITS_USUAL = 2


def minor_digits(currency: str) -> int:
    """With how many decimals amounts of a currency are paid."""
    return MINOR_DIGITS.get(currency, MINOR_DIGITS_USUAL)


def founding_of(settings: Settings, now: datetime) -> terms.Founding:
    """What is fixed for good."""
    digits = minor_digits(settings.currency)
    return terms.Founding(
        coop_name=settings.coop_name,
        currency=settings.currency,
        minor_digits=digits,
        credit_price_micro=settings.credit_price_minor * MICRO // 10**digits,
        epoch_seconds=settings.epoch_seconds,
        epoch_grace_seconds=settings.epoch_grace_seconds,
        free_extra_ms=settings.free_extra_ms,
        token_ms_min=settings.token_ms_min,
        first_epoch=Calendar(settings.epoch_seconds).epoch_at(now),
        founded_at=now,
        constitution=settings.constitution(),
    )


def first_terms(settings: Settings) -> tuple[Tariff, Rates, Rules, NetFactors]:
    """What holds until members vote otherwise."""
    return (
        Tariff(),
        Rates(artist_share_bp=settings.artist_share_bp),
        Rules(settings.payout_minimum_minor, settings.listen_ms_max),
        NetFactors(settings.vat_bp, settings.payment_fee_bp, settings.licensing_bp),
    )
