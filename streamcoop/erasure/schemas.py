"""What the routes of erasure take and give."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field

from streamcoop.accounts.schemas import Password, Payload


class OwnedTrack(BaseModel):
    """A track you own, and what to take along before you go."""

    track_id: UUID
    title: str
    artist: str
    owned_at: datetime
    original: str = Field(description="Where the file is, as its artist uploaded it.")
    certificate: str = Field(description="Where the certificate is that you own it, which names nobody.")


class MembershipLost(BaseModel):
    """A membership of the co-op, which ends. On the chain it was, under an address that leads to nobody."""

    state: str
    address: str
    key_is_kept: bool = Field(description="The co-op keeps its key, which is destroyed: nobody can vote with it then.")


class PublishedRelease(BaseModel):
    """A release that has to be withdrawn first."""

    release_id: UUID
    title: str


class Obstacle(BaseModel):
    """Why the account cannot be erased just now: the problem that asking would be answered with."""

    type: str
    title: str
    consent: str | None = Field(description="The member of the request by which you do without; null where none helps.")


class ErasureOut(BaseModel):
    """What erasing your account would lose, and what stands in its way. Nothing has been erased."""

    currency: str
    credits_left_micro: int = Field(description="Prepaid, and nobody's afterwards: credits are no money and no gift.")
    credits_left_money_micro: int
    tracks_owned: list[OwnedTrack]
    has_more_tracks: bool = Field(description="`GET /api/v1/me/certificates` has all of them.")
    plays: int = Field(description="Their receipts can be had no more. Those you keep still verify.")
    wallet_lines: int = Field(description="Of closed epochs in the shared log, likewise.")
    royalties_due_micro: int
    royalties_held_micro: int
    collected_micro: int = Field(description="Micro-credits not shared out yet, of tracks you are paid for.")
    shares_of_others: int = Field(description="Tracks of others whose split names you.")
    payouts_under_way: int
    share_micro: int = Field(description="The member share the co-op holds: paid back some time after leaving.")
    membership: MembershipLost | None
    releases_published: list[PublishedRelease]
    releases_withdrawn: int = Field(description="They stay for those who own their tracks, under the artist's name.")
    in_the_way: list[Obstacle]
    backups_expire_days: int


class Leaving(Payload):
    """Erasing the account, with the password again."""

    password: Password
    forfeit_credits: bool = Field(default=False, description="The credits that are left may become nobody's.")
    forfeit_royalties: bool = Field(
        default=False, description="Royalties that are due or still to come may become nobody's."
    )
    forfeit_share: bool = Field(default=False, description="The member share may stay with the co-op.")


class LeftOut(BaseModel):
    """An account that is closed; the rest of it is erased within minutes."""

    asked_at: datetime
    plays: int
    credits_forfeited_micro: int = Field(description="They stay in a wallet that is nobody's.")
    credits_forfeited_money_micro: int
    royalties_forfeited_micro: int
    share_forfeited_micro: int
    currency: str
    backups_expire_days: int
