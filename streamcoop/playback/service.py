"""Opening plays and recording them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from uuid import UUID

from ledger.errors import DomainError
from ledger.ids import new_id
from ledger.recording import Claim, Kind, Recorded, Refused, Standing, decide, quote
from ledger.store.recording import Outcome
from ledger.tariff import Progress, Tariff
from streamcoop import metrics
from streamcoop.accounts.principals import Principal
from streamcoop.catalogue.lookup import Playable, PlayableRendition
from streamcoop.errors import NotFound
from streamcoop.playback.desk import PlaybackDesk
from streamcoop.playback.rule import Meter, Rule
from streamcoop.playback.tokens import Codec, PlayToken, PlayTokenRefused, seal, unseal
from streamcoop.problems import register


class InsufficientCredit(DomainError):
    """Your wallet does not cover the next play."""


class OverBudget(DomainError):
    """This would go beyond the monthly budget you have set."""


class StoppedBefore(DomainError):
    """You have asked to stop before this play of a track."""


class PriceMoved(DomainError):
    """This track has moved on since the play was opened, perhaps on another device: the price is another."""


class AlreadyOwned(DomainError):
    """You own this track already: open it again and play it free."""


class PlayIdReused(DomainError):
    """This play was recorded with another content."""


class TooEarly(DomainError):
    """The play does not count yet: listen on, or ask to skip ahead."""


class NotMetered(DomainError):
    """This play costs nothing, so there is nothing to record."""


class NoRendition(DomainError):
    """The track has no rendition of this kind."""


register(
    {
        InsufficientCredit: HTTPStatus.PAYMENT_REQUIRED,
        OverBudget: HTTPStatus.FORBIDDEN,
        StoppedBefore: HTTPStatus.FORBIDDEN,
        PriceMoved: HTTPStatus.CONFLICT,
        AlreadyOwned: HTTPStatus.CONFLICT,
        PlayIdReused: HTTPStatus.CONFLICT,
        TooEarly: HTTPStatus.TOO_EARLY,
        NotMetered: HTTPStatus.CONFLICT,
        NoRendition: HTTPStatus.NOT_FOUND,
    }
)

REFUSALS: dict[str, type[DomainError]] = {
    "insufficient-credit": InsufficientCredit,
    "over-budget": OverBudget,
    "stopped-before": StoppedBefore,
    "price-moved": PriceMoved,
    "already-owned": AlreadyOwned,
    "id-reused": PlayIdReused,
}
for _reason in REFUSALS:
    metrics.PLAYS_REFUSED.labels(_reason)


@dataclass(frozen=True, slots=True)
class Opened:
    """A play that was opened: the token and what it promises. `refused`: what recording would say now."""

    token: PlayToken
    sealed: str
    track: Playable
    progress: Progress
    tariff: Tariff
    rule: Rule
    left_micro: int
    refused: Refused | None


def found_track(track: Playable | None, listener: Principal | None) -> Playable:
    """A track that a listener may open: published, or her own. Raises NotFound.

    A withdrawn track is found too; whether she owns it is for the caller to ask.
    """
    own = track is not None and listener is not None and track.artist_owner_id == listener.user_id
    if track is None or not (own or track.release_state in {"published", "withdrawn"}):
        raise NotFound
    return track


async def owned_track(desk: PlaybackDesk, listener: Principal, track_id: UUID, now: datetime) -> Playable:
    """A track that is hers: by her plays, or because it is her own music. Raises NotFound."""
    epoch = desk.calendar.epoch_at(now)
    tariff = (await desk.terms_in(epoch)).tariff
    quoted = await desk.quoted(listener.user_id, track_id, epoch)
    track, standing = found_track(quoted.track, listener), quoted.standing
    if track.artist_owner_id != listener.user_id and not tariff.owns(standing.progress[track_id]):
        raise NotFound
    return track


async def open_play(
    desk: PlaybackDesk, listener: Principal, track_id: UUID, kind: Kind, codec: Codec, now: datetime
) -> Opened:
    """Open a play or a buy-out: mint its id and promise its price. Writes nothing."""
    play_id = new_id()
    epoch = desk.calendar.epoch_at(now)
    terms = await desk.terms_in(epoch)
    tariff, rule = terms.tariff, terms.rule
    quoted = await desk.quoted(listener.user_id, track_id, epoch)
    track, standing = found_track(quoted.track, listener), quoted.standing
    progress = standing.progress[track_id]
    own, owned = track.artist_owner_id == listener.user_id, tariff.owns(progress)
    if track.release_state != "published" and not (own or owned):
        raise NotFound
    if codec not in track.renditions:
        raise NoRendition(codec=codec)
    free = own or owned
    if free and kind == "buyout":
        raise AlreadyOwned
    ordinal, price_micro = (progress.plays + 1, 0) if free else quote(kind, progress, tariff)
    token = PlayToken(
        kind=kind,
        codec=codec,
        ordinal=ordinal,
        play_id=play_id,
        listener_id=listener.user_id,
        session_id=listener.session_id,
        track_id=track_id,
        price_micro=price_micro,
        expires_ms=_ms(now) + rule.token_ms(track.duration_ms),
        meter=_meter(rule, track, track.renditions[codec]),
    )
    refused = None if free else _refusal(token, desk, standing, tariff)
    sealed, left_micro = seal(token, desk.secret_key), tariff.left_micro(progress)
    return Opened(token, sealed, track, progress, tariff, rule, left_micro, refused)


def _meter(rule: Rule, track: Playable, rendition: PlayableRendition) -> Meter:
    return Meter(
        size=rendition.size,
        header_bytes=rendition.header_bytes,
        duration_ms=rendition.duration_ms,
        listen_ms=rule.listen_ms(track.duration_ms),
        free_ms=rule.free_ms(track.duration_ms),
    )


def _refusal(token: PlayToken, desk: PlaybackDesk, standing: Standing, tariff: Tariff) -> Refused | None:
    decision = decide(claim_of(token, desk), standing, tariff)
    return decision if isinstance(decision, Refused) else None


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def claim_of(token: PlayToken, desk: PlaybackDesk) -> Claim:
    """What a token claims; its epoch is the one it was opened in."""
    opened = datetime.fromtimestamp(token.opened_ms / 1000, UTC)
    return Claim(
        token.play_id,
        token.listener_id,
        token.track_id,
        token.kind,
        token.ordinal,
        token.price_micro,
        desk.calendar.epoch_at(opened),
    )


def read_token(desk: PlaybackDesk, text: str, listener: Principal, now: datetime) -> PlayToken:
    """A token presented by the listener and session it was given to. Raises PlayTokenRefused or PlayTokenExpired."""
    token = unseal(text, desk.secret_key, _ms(now))
    if (token.listener_id, token.session_id) != (listener.user_id, listener.session_id):
        raise PlayTokenRefused
    return token


async def record_play(desk: PlaybackDesk, token: PlayToken, skip_ahead: bool, now: datetime) -> Outcome:
    """Make a play count. Raises TooEarly before T (unless skipping ahead) and the refusals of `decide`.

    What is recorded already, perhaps by skipping ahead, is answered again whenever it is asked for.
    """
    if not token.metered:
        raise NotMetered
    early_ms = token.counts_from_ms - _ms(now)
    if early_ms > 0 and not skip_ahead and not await desk.has_recorded(token.play_id):
        raise TooEarly(retry_after_s=-(-early_ms // 1000), retry_after_ms=early_ms)
    return accepted(desk, await desk.record(claim_of(token, desk)))


def accepted(desk: PlaybackDesk, outcome: Outcome) -> Outcome:
    """The outcome if the play is recorded; otherwise its refusal is raised."""
    decision = outcome.decision
    if isinstance(decision, Recorded):
        return outcome
    facts: dict[str, Any] = {}
    if decision.price_micro:
        facts = {
            "ordinal": decision.ordinal,
            "price_micro": decision.price_micro,
            "price_money_micro": desk.credit_price.value_micro(decision.price_micro),
        }
    if decision.missing_micro:
        facts["missing_micro"] = decision.missing_micro
    raise REFUSALS[decision.reason](**facts)
