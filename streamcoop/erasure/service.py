"""Erasing an account: what it would lose, what stands in its way, and the steps to its end.

What names a person goes with the request itself: sessions, tokens, address, name, password, her key, where her money
went, what she said of ballots. From then on her wallet is closed and nothing new is written. A worker goes on with what
there may be much of, a chunk a transaction, each leaving a state that the next can start from. It comes to its end only
after a while, for whoever had looked her up just before may have written after.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from ledger import accounts as chart
from ledger.errors import DomainError
from ledger.store import erasing, owning
from ledger.store.erasing import Kept
from ledger.store.owning import Owned
from ledger.store.terms import Founding
from streamcoop.accounts import service as accounts
from streamcoop.catalogue import lookup
from streamcoop.catalogue import service as catalogue
from streamcoop.catalogue.lookup import TrackTitle
from streamcoop.catalogue.models import Release
from streamcoop.erasure.models import Erasure
from streamcoop.errors import NotFound
from streamcoop.governance import proposing
from streamcoop.library import leaving as library
from streamcoop.membership import service as membership
from streamcoop.membership import shares
from streamcoop.membership.models import Member
from streamcoop.moderation import service as moderation
from streamcoop.payouts import service as payouts
from streamcoop.problems import register
from streamcoop.royalties import leaving as royalties
from streamcoop.royalties.leaving import Owed
from streamcoop.wallet import service as wallet

TRACKS_LISTED_MAX = 1_000
BACKUPS_EXPIRE = timedelta(days=30)
# Longer than a request lasts and than a process remembers who somebody is.
QUIET_FOR = timedelta(minutes=1)


class MusicPublished(DomainError):
    """You have music published: withdraw it first, so that nobody pays for what nobody is paid for."""


class PayoutUnderWay(DomainError):
    """A payout is on its way to you: ask again once it has arrived or come back."""


class AdmissionPending(DomainError):
    """Something about your membership is on its way to the chain: ask again once it is there."""


class ShareHeld(DomainError):
    """The co-op holds your member share: leave and wait until it is paid back, or say `forfeit_share`."""


class CreditsLeft(DomainError):
    """There are credits in your wallet, which would be nobody's: use them, or say `forfeit_credits`."""


class RoyaltiesDue(DomainError):
    """Royalties are due to you or still to come: wait for the payout, or say `forfeit_royalties`."""


register(
    {
        MusicPublished: HTTPStatus.CONFLICT,
        PayoutUnderWay: HTTPStatus.CONFLICT,
        AdmissionPending: HTTPStatus.CONFLICT,
        ShareHeld: HTTPStatus.CONFLICT,
        CreditsLeft: HTTPStatus.CONFLICT,
        RoyaltiesDue: HTTPStatus.CONFLICT,
    }
)

CONSENTS: dict[type[DomainError], str] = {
    CreditsLeft: "forfeit_credits",
    RoyaltiesDue: "forfeit_royalties",
    ShareHeld: "forfeit_share",
}
"""What somebody may do without, by the member of her request that says so."""


@dataclass(frozen=True, slots=True)
class Losses:
    """What goes with an account, and what stands in the way of that."""

    credits_left_micro: int
    kept: Kept
    owed: Owed
    payouts_under_way: int
    member: Member | None
    share_micro: int
    releases: list[Release]
    obstacles: list[DomainError]


def losses(session: Session, founding: Founding, user_id: UUID, now: datetime) -> Losses:
    """What erasing an account would lose. Credits that plays not yet settled have used up are gone already."""
    conn = session.connection()
    held = wallet.wallet(conn, user_id, now)
    left_micro = held.balance_micro - held.unsettled_micro
    owed, under_way = royalties.owed(session, user_id), payouts.under_way_to(session, user_id)
    releases = catalogue.releases_of_owner(session, user_id)
    member = _member(session, user_id)
    obstacles: list[DomainError] = []
    if accounts.is_last_operator(session, user_id):
        obstacles.append(accounts.LastOperator())
    if published := [str(release.id) for release in releases if release.state == "published"]:
        obstacles.append(MusicPublished(releases=published))
    if under_way:
        obstacles.append(PayoutUnderWay())
    if membership.is_waiting_for_chain(session, user_id):
        obstacles.append(AdmissionPending())
    share_micro = shares.held_of_user_micro(session, user_id)
    if share_micro:
        obstacles.append(ShareHeld(share_micro=share_micro))
    if left_micro:
        money_micro = founding.credit_price.value_micro(left_micro)
        obstacles.append(CreditsLeft(credits_left_micro=left_micro, credits_left_money_micro=money_micro))
    if owed.is_something(founding.minor_micro):
        obstacles.append(
            RoyaltiesDue(
                royalties_due_micro=owed.due_micro,
                royalties_held_micro=owed.held_micro,
                collected_micro=owed.collected_micro,
                shares_of_others=owed.shares_of_others,
            )
        )
    return Losses(left_micro, erasing.kept(conn, user_id), owed, under_way, member, share_micro, releases, obstacles)


def _member(session: Session, user_id: UUID) -> Member | None:
    try:
        return membership.of_user(session, user_id)
    except NotFound:
        return None


def tracks_owned(
    session: Session, founding: Founding, user_id: UUID, now: datetime
) -> tuple[list[tuple[Owned, TrackTitle]], bool]:
    """The first TRACKS_LISTED_MAX tracks she owns, and whether there are more."""
    calendar = founding.calendar
    found = owning.owned(session.connection(), calendar, user_id, calendar.epoch_at(now), None, TRACKS_LISTED_MAX + 1)
    titles = lookup.titles(session, {owned.track_id for owned in found})
    listed = [(owned, titles[owned.track_id]) for owned in found[:TRACKS_LISTED_MAX] if owned.track_id in titles]
    return listed, len(found) > TRACKS_LISTED_MAX


def ask(
    session: Session, founding: Founding, user_id: UUID, password: str, consents: set[str], now: datetime
) -> Losses:
    """Close an account for good and have the rest of it erased; returns what it loses.

    Raises WrongPassword, and of what stands in the way the first that she has not consented to do without.
    """
    accounts.require_password(session, user_id, password)
    conn = session.connection()
    erasing.close_wallet(conn, user_id, now)
    # A top-up that is being booked is waited for.
    conn.execute(text("select from ledger.account where code = :code for no key update"), _wallet_of(user_id))
    lost = losses(session, founding, user_id, now)
    for obstacle in lost.obstacles:
        if CONSENTS.get(type(obstacle)) not in consents:
            raise obstacle
    _forget(session, user_id, now)
    session.add(Erasure(user_id=user_id, asked_at=now))
    return lost


def _wallet_of(user_id: UUID) -> dict[str, str]:
    return {"code": chart.wallet(user_id).code}


def _forget(session: Session, user_id: UUID, now: datetime) -> None:
    """Whatever names a person or lets her in. Safe to repeat."""
    accounts.erase(session, user_id)
    membership.forget(session, user_id, now)
    payouts.forget(session, user_id)
    royalties.forget(session, user_id)
    library.hide(session, user_id)
    proposing.forget_comments(session, user_id)
    moderation.forget(session, user_id)


# --- Its steps ---


def unfinished(session: Session, most: int) -> list[UUID]:
    """Accounts whose erasure has not come to its end, the longest asked for first."""
    rows = select(Erasure.user_id).where(Erasure.ended_at.is_(None)).order_by(Erasure.asked_at, Erasure.user_id)
    return list(session.scalars(rows.limit(most)))


def go_on(session: Session, user_id: UUID, now: datetime) -> bool:
    """The next step of an erasure; False where there is nothing to do just now. Safe to repeat.

    Plays that are not settled yet are waited for: settling has to know whose they are. Each step begins at the
    beginning, so that of a backup that was put back an erasure's row alone leads to its end.
    """
    found = select(Erasure).where(Erasure.user_id == user_id, Erasure.ended_at.is_(None))
    erasure = session.scalar(found.with_for_update(skip_locked=True))
    if erasure is None:
        return False
    conn = session.connection()
    erasing.close_wallet(conn, user_id, now)
    _forget(session, user_id, now)
    if library.erase_chunk(session, user_id):
        return True
    if erasing.has_unsettled(conn, user_id):
        return False
    if erasing.erase_chunk(conn, user_id) or catalogue.erase_drafts(session, user_id, now):
        return True
    if now >= erasure.asked_at + QUIET_FOR:
        erasure.ended_at = now
    return False
