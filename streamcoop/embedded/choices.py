"""What the founders of a co-op choose, as they type it: per cent, days and money, and no settings' units.

Pure: a form's fields in, the settings it stands for out, or what is wrong with which field.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, Final

from babel import Locale
from babel.numbers import get_territory_currencies
from email_validator import EmailNotValidError, validate_email
from pydantic import ValidationError

from ledger.constitution import CLASSES, PARAMETERS, Bound, UnsuitableConstitution
from ledger.errors import DomainError
from ledger.money import MICRO, UnsuitableCreditPrice
from ledger.store import terms
from streamcoop.founding import first_terms, founding_of, minor_digits
from streamcoop.settings import PREFIX, Settings

NAME_LENGTH_MAX = 100
# No number anybody types for a co-op is longer.
NUMBER_LENGTH_MAX = 20
BASIS_POINTS, HOUR, DAY, MS = 100, 3_600, 86_400, 1_000
MONEY = 0
"""Stands for as many minor units as the currency has."""

TEXTS: Final = ("coop_name", "log_origin")
NUMBERS: Final[Mapping[str, int]] = {
    "credit_price_minor": MONEY,
    "payout_minimum_minor": MONEY,
    "share_minor": MONEY,
    "vat_bp": BASIS_POINTS,
    "payment_fee_bp": BASIS_POINTS,
    "artist_share_bp": BASIS_POINTS,
    "quorum_bp": BASIS_POINTS,
    "supporters_min": 1,
    "delegation_cap": 1,
    "waiting_seconds": DAY,
    "discussion_seconds": DAY,
    "ballot_seconds_min": DAY,
    "ballot_seconds_max": DAY,
    "quiet_seconds": HOUR,
    "extension_seconds_max": HOUR,
    "timelock_seconds": DAY,
    "office_delay_seconds": DAY,
    "share_refund_seconds": DAY,
}
"""The settings that are numbers, and how many of each setting's units are in what is typed."""
PARAMETER_UNITS: Final[Mapping[str, int]] = {
    "artist_share_bp": BASIS_POINTS,
    "community_cut_bp": BASIS_POINTS,
    "reserve_cut_bp": BASIS_POINTS,
    "first_price_micro": MICRO,
    "plays": 1,
    "payout_minimum_minor": MONEY,
    "listen_ms_max": MS,
}
"""The same of the numbers that members vote on."""
ENDS: Final = ("lowest", "highest", "step_max")
LIMITS: Final = (
    *(f"{name}.{end}" for name in PARAMETERS for end in ENDS),
    *(f"quorum.{name}" for name in CLASSES),
)
"""The fields of how far votes may go."""
PEOPLE: Final = ("operator_email", "second_officer_email")
CURRENCY: Final = "currency"
# The usual amounts are euros; in another currency they would found a co-op whose credit costs next to nothing.
USUAL_CURRENCY: Final = "EUR"
AMOUNTS: Final = (
    *(name for name, unit in NUMBERS.items() if unit == MONEY),
    *(f"{name}.{end}" for name, unit in PARAMETER_UNITS.items() if unit == MONEY for end in ENDS),
)
# The rest of a service's settings is not chosen here, and what is founded does not depend on it.
_PARTS: Final = dict.fromkeys(("database_url", "broker_url", "objects_url", "chain_rpc_url", "secret_key"), "")

# Why a constitution cannot be, as `ledger.constitution` says it: beside which field it is told, and by which word.
_REASONS: Final = {
    "a ballot has a supporter, a voter and a time": ("ballot_seconds_max", "times"),
    "the funds' bounds would let one cut point pass the other": ("community_cut_bp.lowest", "funds"),
}

Form = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with a field: a word that the page has a sentence for, and the number that belongs into it."""

    kind: str
    number: str = ""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a co-op is founded with: settings by their names without the prefix, and its officers' addresses."""

    settings: Mapping[str, str]
    operator_email: str
    second_officer_email: str
    configured: Settings
    founding: terms.Founding


class NotYetRight(Exception):
    """Fields are wrong. `wrong` is by the field's name; under the empty name what is wrong with all of it."""

    def __init__(self, wrong: Mapping[str, Wrong]) -> None:
        super().__init__(", ".join(wrong))
        self.wrong = dict(wrong)


@cache
def currencies() -> tuple[str, ...]:
    """The currencies that are in use somewhere (ISO 4217), by their codes."""
    used = (str(code) for territory in Locale("en").territories for code in get_territory_currencies(str(territory)))
    return tuple(sorted(set(used)))


def configured(**chosen: Any) -> Settings:
    """The settings that a co-op would be founded with: the environment's, and over them what is chosen."""
    return Settings(_env_file=None, **_PARTS, **chosen)  # type: ignore[call-arg,arg-type]  # as in plan.py


def usual(people: Mapping[str, str]) -> dict[str, str]:
    """The form before anything is typed: what the environment or the project says."""
    settings = configured()
    units = _units(settings.currency)
    constitution = settings.constitution()
    bounds = {
        _bound_field(name, end): _typed(getattr(bound, end), units[name])
        for name, bound in constitution.parameters.items()
        for end in ENDS
    }
    quorums = {_quorum_field(name): _typed(part, BASIS_POINTS) for name, part in constitution.class_quorum_bp.items()}
    numbers = {name: _typed(getattr(settings, name), units[name]) for name in NUMBERS}
    texts = {name: getattr(settings, name) or "" for name in TEXTS}
    return {**texts, CURRENCY: settings.currency, **numbers, **bounds, **quorums, **people}


def settings_of(field: str) -> str:
    """The setting that a field is a part of; empty for one that is none."""
    if field in PEOPLE:
        return ""
    name, dot, _ = field.partition(".")
    return name if not dot else "class_quorum_bp" if name == "quorum" else "parameter_bounds"


def choose(form: Form, fixed: frozenset[str], now: datetime) -> Chosen:
    """What a whole form stands for. `fixed` are the settings that the environment has decided.

    Raises NotYetRight.
    """
    wrong: dict[str, Wrong] = {}
    values: dict[str, Any] = {}
    currency = configured().currency if CURRENCY in fixed else form[CURRENCY]
    if currency not in currencies():
        raise NotYetRight({CURRENCY: Wrong("currency")})
    units = _units(currency)
    for name in TEXTS:
        values[name] = form[name].strip()
    if not values["coop_name"] or len(values["coop_name"]) > NAME_LENGTH_MAX:
        wrong["coop_name"] = Wrong("name", str(NAME_LENGTH_MAX))
    values["log_origin"] = values["log_origin"] or None
    values[CURRENCY] = currency
    for name in NUMBERS:
        _read(form, name, units[name], values, wrong)
    _read_bounds(form, units, values, wrong)
    quorums: dict[str, int] = {}
    for name in CLASSES:
        _read(form, _quorum_field(name), BASIS_POINTS, quorums, wrong)
    values["class_quorum_bp"] = {name: quorums.get(_quorum_field(name), 0) for name in CLASSES}
    wrong |= _wrong_people(form)
    untouched = usual({})
    if currency != USUAL_CURRENCY == untouched[CURRENCY]:
        wrong |= {name: Wrong("euros", currency) for name in AMOUNTS if form[name] == untouched[name]}
    wrong = {name: why for name, why in wrong.items() if settings_of(name) not in fixed}
    if wrong:
        raise NotYetRight(wrong)
    chosen = {name: value for name, value in values.items() if name not in fixed and value is not None}
    settings, founding = _sound(chosen, units, now)
    return Chosen(
        {name.upper(): _env(value) for name, value in chosen.items()},
        form["operator_email"].strip(),
        form["second_officer_email"].strip(),
        settings,
        founding,
    )


def as_environment(settings: Mapping[str, str]) -> list[str]:
    """The lines of an environment file that found the same co-op elsewhere."""
    return [f"{PREFIX}{name}={value}" for name, value in sorted(settings.items())]


def _units(currency: str) -> dict[str, int]:
    """How many units of its setting are in one of what is typed, by field."""
    money = 10 ** minor_digits(currency)
    return {name: unit or money for name, unit in {**NUMBERS, **PARAMETER_UNITS}.items()}


def _bound_field(parameter: str, end: str) -> str:
    return f"{parameter}.{end}"


def _quorum_field(name: str) -> str:
    return f"quorum.{name}"


def _typed(number: int, unit: int) -> str:
    return f"{Decimal(number) / unit:f}"


def _env(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")) if isinstance(value, dict) else str(value)


def _read(form: Form, field: str, unit: int, values: dict[str, Any], wrong: dict[str, Wrong]) -> None:
    """A number that was typed, in the setting's own unit."""
    text = form[field].strip()
    if not text:
        wrong[field] = Wrong("missing")
        return
    try:
        number = Decimal(text) * unit if len(text) <= NUMBER_LENGTH_MAX else Decimal("NaN")
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        wrong[field] = Wrong("number")
    elif number != number.to_integral_value():
        wrong[field] = Wrong("finer", _typed(1, unit))
    else:
        values[field] = int(number)


def _read_bounds(form: Form, units: Mapping[str, int], values: dict[str, Any], wrong: dict[str, Wrong]) -> None:
    quanta = {name: bound.quantum for name, bound in configured().constitution().parameters.items()}
    bounds: dict[str, dict[str, int]] = {}
    for name in PARAMETERS:
        ends: dict[str, Any] = {}
        for end in ENDS:
            _read(form, _bound_field(name, end), units[name], ends, wrong)
        if len(ends) < len(ENDS):
            continue
        bounds[name] = {end: ends[_bound_field(name, end)] for end in ENDS} | {"quantum": quanta[name]}
        try:
            Bound(**bounds[name])
        except UnsuitableConstitution:
            wrong[_bound_field(name, ENDS[0])] = Wrong("bound", _typed(quanta[name], units[name]))
    values["parameter_bounds"] = bounds


def _wrong_people(form: Form) -> dict[str, Wrong]:
    wrong = {}
    for name in PEOPLE:
        try:
            validate_email(form[name].strip(), check_deliverability=False)
        except EmailNotValidError:
            wrong[name] = Wrong("email")
    if form[PEOPLE[0]].strip().casefold() == form[PEOPLE[1]].strip().casefold():
        wrong.setdefault(PEOPLE[1], Wrong("same"))
    return wrong


def _sound(chosen: Mapping[str, Any], units: Mapping[str, int], now: datetime) -> tuple[Settings, terms.Founding]:
    """The settings, if a co-op can be founded with them. Raises NotYetRight."""
    try:
        settings = configured(**chosen)
        founding = founding_of(settings, now)
        terms.require_sound(founding, *first_terms(settings))
    except ValidationError as error:
        raise NotYetRight(dict(_refused(error, units))) from error
    except UnsuitableCreditPrice as error:
        raise NotYetRight({"credit_price_minor": Wrong("price")}) from error
    except DomainError as error:
        parameter = str(error.facts.get("parameter", ""))
        field = parameter if parameter in NUMBERS else _bound_field(parameter, ENDS[0]) if parameter else ""
        raise NotYetRight({field: Wrong("outside" if parameter else "ceiling")}) from error
    return settings, founding


def _refused(error: ValidationError, units: Mapping[str, int]) -> Iterator[tuple[str, Wrong]]:
    """What the settings themselves refuse, in what was typed."""
    for each in error.errors():
        name, facts = str(each["loc"][0]) if each["loc"] else "", each.get("ctx", {})
        limits = {"ge": "low", "gt": "low", "le": "high", "lt": "high"}
        limit = next((word for word in limits if word in facts), None)
        if limit and name in units:
            yield name, Wrong(limits[limit], _typed(int(facts[limit]), units[name]))
        elif name in (*TEXTS, *NUMBERS, CURRENCY):
            yield name, Wrong("form")
        else:
            refusal = getattr(facts.get("error"), "__cause__", None)
            reason = str(refusal.facts.get("reason")) if isinstance(refusal, UnsuitableConstitution) else ""
            field, kind = _REASONS.get(reason, ("", "constitution"))
            yield field, Wrong(kind)
