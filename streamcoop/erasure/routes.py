"""Erasing an account over HTTP."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Request, Response

from ledger.errors import DomainError
from ledger.store.terms import Founding
from streamcoop.accounts import passwords, throttle
from streamcoop.accounts import service as accounts
from streamcoop.accounts.principals import COOKIE, InSession, digest_of
from streamcoop.accounts.routes import cookie_flags, network
from streamcoop.clock import Now
from streamcoop.database import Transaction, transaction
from streamcoop.erasure import service
from streamcoop.erasure.schemas import (
    ErasureOut,
    Leaving,
    LeftOut,
    MembershipLost,
    Obstacle,
    OwnedTrack,
    PublishedRelease,
)
from streamcoop.errors import NotFound, NotPermitted, NotSignedIn
from streamcoop.founded import Founded
from streamcoop.problems import answers, slug
from streamcoop.traffic import TooManyRequests

router = APIRouter(prefix="/api/v1", tags=["accounts"])
_IN_THE_WAY = (
    accounts.LastOperator,
    service.MusicPublished,
    service.PayoutUnderWay,
    service.AdmissionPending,
    service.ShareHeld,
    service.CreditsLeft,
    service.RoyaltiesDue,
)


@router.get("/me/erasure", responses=answers(NotSignedIn, NotPermitted))
def erasure(principal: InSession, session: Transaction, founding: Founded, now: Now) -> ErasureOut:
    """What erasing your account would lose, and what stands in its way. Changes nothing."""
    lost = service.losses(session, founding, principal.user_id, now)
    tracks, has_more = service.tracks_owned(session, founding, principal.user_id, now)
    member = lost.member
    return ErasureOut(
        currency=founding.currency,
        credits_left_micro=lost.credits_left_micro,
        credits_left_money_micro=founding.credit_price.value_micro(lost.credits_left_micro),
        tracks_owned=[
            OwnedTrack(
                track_id=owned.track_id,
                title=title.title,
                artist=title.artist,
                owned_at=owned.owned_at,
                original=f"/api/v1/tracks/{owned.track_id}/original",
                certificate=f"/api/v1/tracks/{owned.track_id}/certificate",
            )
            for owned, title in tracks
        ],
        has_more_tracks=has_more,
        plays=lost.kept.plays,
        wallet_lines=lost.kept.lines,
        royalties_due_micro=lost.owed.due_micro,
        royalties_held_micro=lost.owed.held_micro,
        collected_micro=lost.owed.collected_micro,
        shares_of_others=lost.owed.shares_of_others,
        payouts_under_way=lost.payouts_under_way,
        share_micro=lost.share_micro,
        membership=None
        if member is None
        else MembershipLost(state=member.state, address=member.address, key_is_kept=member.kept_key is not None),
        releases_published=[
            PublishedRelease(release_id=release.id, title=release.title)
            for release in lost.releases
            if release.state == "published"
        ],
        releases_withdrawn=sum(release.state == "withdrawn" for release in lost.releases),
        in_the_way=[_obstacle(obstacle) for obstacle in lost.obstacles],
        backups_expire_days=service.BACKUPS_EXPIRE.days,
    )


def _obstacle(error: DomainError) -> Obstacle:
    kind = type(error)
    return Obstacle(type=f"/problems/{slug(kind)}", title=kind.__doc__ or "", consent=service.CONSENTS.get(kind))


@router.delete(
    "/me",
    status_code=202,
    responses=answers(
        NotSignedIn,
        NotPermitted,
        NotFound,
        accounts.WrongPassword,
        *_IN_THE_WAY,
        TooManyRequests,
        throttle.SignInPaused,
        passwords.SignInsOverloaded,
    ),
)
async def leave(
    asked: Leaving, principal: InSession, request: Request, response: Response, founding: Founded, now: Now
) -> LeftOut:
    """Erase your account. You are signed out everywhere at once; what you played is made nobody's within minutes.

    Look at `GET /api/v1/me/erasure` first: it tells what is lost, and the tracks you own stay yours only by the files
    and certificates you take along.
    """
    left = await passwords.in_turn(_leave, asked, principal.user_id, network(request), founding, now)
    for secret in (request.cookies.get(COOKIE), request.headers.get("Authorization", "").rpartition(" ")[2]):
        if secret:
            request.app.state.principals.forget(digest_of(secret))
    response.delete_cookie(COOKIE, **cookie_flags(request))
    return left


def _leave(asked: Leaving, user_id: UUID, network_: str, founding: Founding, at: datetime) -> LeftOut:
    """Guessing the password here counts like failing to sign in."""
    with transaction() as session:
        doors = throttle.doors(accounts.user(session, user_id).email, network_)
        throttle.attempt(session, doors, at)
    consents = {name for name in service.CONSENTS.values() if getattr(asked, name)}
    try:
        with transaction() as session:
            lost = service.ask(session, founding, user_id, asked.password.get_secret_value(), consents, at)
    except accounts.WrongPassword:
        raise
    except DomainError:
        _was_right(doors, at)
        raise
    _was_right(doors, at)
    return LeftOut(
        asked_at=at,
        plays=lost.kept.plays,
        credits_forfeited_micro=lost.credits_left_micro,
        credits_forfeited_money_micro=founding.credit_price.value_micro(lost.credits_left_micro),
        royalties_forfeited_micro=lost.owed.due_micro + lost.owed.held_micro,
        share_forfeited_micro=lost.share_micro,
        currency=founding.currency,
        backups_expire_days=service.BACKUPS_EXPIRE.days,
    )


def _was_right(doors: list[throttle.Door], at: datetime) -> None:
    with transaction() as session:
        throttle.succeeded(session, doors, at)
