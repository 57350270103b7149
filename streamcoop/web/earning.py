"""What music earns: how a month goes, statements that tell how each royalty came about, and where the money goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated

from babel import Locale, dates
from fastapi import APIRouter, Path, Query, Request, Response

from ledger import accounts as chart
from ledger.epochs import Calendar
from ledger.rates import FEES, LICENSING, VAT
from ledger.store import posting, terms
from streamcoop.clock import Now
from streamcoop.database import Transaction
from streamcoop.errors import NotFound
from streamcoop.founded import Founded
from streamcoop.payouts import routes as payouts
from streamcoop.payouts import service as paying
from streamcoop.royalties import dashboard, statements
from streamcoop.royalties.schemas import RoyaltyLineOut
from streamcoop.web import plots
from streamcoop.web.pages import PageRoute, page
from streamcoop.web.viewer import Looking

EPOCHS_SHOWN = 12
TRACKS_SHOWN = 50
EPOCH_MAX = 2**31 - 1

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/make/earnings")
def earnings(
    request: Request,
    viewer: Looking,
    session: Transaction,
    founding: Founded,
    now: Now,
    epoch: Annotated[int | None, Query(ge=0, le=EPOCH_MAX)] = None,
) -> Response:
    """How an epoch goes, or went: by day, by track, by step of the curve."""
    payee = viewer.require("royalties").user_id
    told = dashboard.dashboard(session, founding, payee, epoch, now)
    epochs = dashboard.epochs(session, founding, payee, now, EPOCHS_SHOWN)
    by_day = {each.day: each for each in told.days}
    days = [(day, by_day.get(day)) for day in sorted({*dashboard.days_of(told), *by_day})]
    by_step = {each.ordinal: each for each in told.steps}
    tariff = terms.in_force(session.connection(), founding, told.epoch).tariff
    steps = [(step, by_step.get(step)) for step in range(1, max(tariff.plays, *by_step, 1) + 1)]
    return page(
        request,
        viewer,
        "make_earnings.html",
        told=told,
        epochs=[(each, _short(viewer.language.locale, founding.calendar, each.epoch)) for each in epochs],
        highest_micro=max((each.collected_money_micro for each in epochs), default=0),
        founding=founding,
        this_epoch=founding.calendar.epoch_at(now),
        calendar=founding.calendar,
        days=days,
        day_bars=plots.bars(("paid",), [[each.collected_money_micro if each else 0] for _, each in days], 0.2),
        steps=steps,
        step_bars=plots.bars(("plays",), [[each.plays if each else 0] for _, each in steps], 0.16),
        paid_bars=plots.bars(("paid",), [[each.collected_money_micro if each else 0] for _, each in steps], 0.16),
        tracks=told.tracks[:TRACKS_SHOWN],
        told_min=dashboard.LISTENERS_TOLD_MIN,
    )


def _short(locale: Locale, calendar: Calendar, epoch: int) -> str:
    """What stands under a narrow bar: a month, or when an epoch began that is shorter."""
    pattern = "d.M. HH:mm" if calendar.seconds else "MMM"
    return str(dates.format_datetime(calendar.starts_at(epoch), pattern, locale=locale))


@router.get("/make/statements")
def list_of_statements(request: Request, viewer: Looking, session: Transaction, founding: Founded) -> Response:
    """The epochs one has a statement of."""
    payee = viewer.require("royalties").user_id
    return page(
        request,
        viewer,
        "make_statements.html",
        closed=statements.closed(session, founding, payee),
        calendar=founding.calendar,
        balance_micro=posting.balance_micro(session.connection(), chart.royalty(payee)),
    )


@dataclass(frozen=True, slots=True)
class Way:
    """How the payee's lines come about, added up: money micro-units but for plays and credits."""

    plays: int
    buyouts: int
    collected_micro: int
    gross_micro: int
    deductions_micro: int
    net_micro: int
    artists_micro: int
    royalty_micro: int


@router.get("/make/statements/{epoch}")
def statement(
    epoch: Annotated[int, Path(ge=0, le=EPOCH_MAX)],
    request: Request,
    viewer: Looking,
    session: Transaction,
    founding: Founded,
    now: Now,
) -> Response:
    """A statement: from plays to royalties, step by step."""
    payee = viewer.require("royalties").user_id
    if not founding.first_epoch <= epoch <= founding.calendar.epoch_at(now):
        raise NotFound
    told = statements.statement(session, founding, payee, epoch)
    mine = [line for line in told.lines if line.payee == payee]
    steps = _added_up(mine)
    left = [steps.gross_micro, steps.net_micro, steps.artists_micro, steps.royalty_micro]
    return page(
        request,
        viewer,
        "make_statement.html",
        told=told,
        epoch=statements.epoch(session, founding, epoch, now),
        calendar=founding.calendar,
        mine=mine,
        others=[line for line in told.lines if line.payee != payee],
        steps=steps,
        went_off=_by_kind(statements.deductions(session, payee, epoch)),
        widths=[plots.place(each, 0, steps.gross_micro) if steps.gross_micro else 0 for each in left],
    )


def _by_kind(deductions: Mapping[str, int]) -> dict[str, int]:
    """What went off as people know it: of all licences together, and nothing that is nothing."""
    kinds = {VAT: 0, FEES: 0, LICENSING: 0}
    for name, micro in deductions.items():
        kinds[LICENSING if name.startswith(LICENSING) else name] += micro
    return {kind: micro for kind, micro in kinds.items() if micro}


def _added_up(lines: Sequence[RoyaltyLineOut]) -> Way:
    return Way(*(sum(getattr(line, each.name) for line in lines) for each in fields(Way)))


@router.get("/make/payouts")
def paid_out(request: Request, viewer: Looking, session: Transaction, founding: Founded, now: Now) -> Response:
    """Where one's money is to go, and what has gone there."""
    payee = viewer.require("royalties")
    rules = terms.in_force(session.connection(), founding, founding.calendar.epoch_at(now)).rules
    return page(
        request,
        viewer,
        "make_payouts.html",
        balance_micro=posting.balance_micro(session.connection(), chart.royalty(payee.user_id)),
        minimum_micro=rules.payout_minimum_minor * founding.minor_micro,
        minor_micro=founding.minor_micro,
        destination=paying.destination(session, payee.user_id),
        payouts=payouts.my_payouts(payee, session, founding),
    )
