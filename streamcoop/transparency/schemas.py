"""What the log's own routes answer with."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field


class LogOut(BaseModel):
    """The shared log. Whoever checks it should have its keys from elsewhere too: from its founding note."""

    origin: str
    keys: list[str] = Field(description="Verifier keys (C2SP signed-note).")
    address: str = Field(description="Where its files begin: `streamcoop verify` takes it.")
    batch: int = Field(description="The last batch that is published; 0 before the first.")
    size: int


class Opening(BaseModel):
    """What a play's commitment in the log commits to."""

    play: UUID
    listener: UUID
    track: UUID
    epoch: int
    ordinal: int
    kind: Literal["play", "buyout"]
    price_micro: int


class PlayReceiptOut(BaseModel):
    """What shows that a play was counted. Keep `receipt` as a file; `streamcoop verify --receipts` checks it."""

    opening: Opening
    salt: str = Field(description="Hexadecimal. Whoever has it can show, or see, what the commitment stands for.")
    commitment: str
    publish_by: datetime
    promise: str | None = Field(description="A signed note: the play will be in the log by then.")
    receipt: str | None = Field(description="A tlog-proof (C2SP), once it is.")


class WalletLineOut(BaseModel):
    """A wallet between two seals, in micro-credits."""

    epoch: int
    label: str
    opening_micro: int
    in_micro: int
    spent_micro: int
    closing_micro: int
    is_published: bool


class PayeeNameOut(BaseModel):
    """What the log calls you in a split."""

    split_id: UUID
    track_id: UUID
    effective_epoch: int
    share_bp: int
    name: str
    salt: str


class CertificateOut(BaseModel):
    """A track you own and the certificate of it: a signed note (C2SP) that names nobody."""

    track_id: UUID
    title: str
    artist: str
    owned_at: datetime
    certificate: str


class CertificatePage(BaseModel):
    """Some of your certificates, in the order of the tracks' ids, and the cursor of the next page."""

    items: list[CertificateOut]
    next_cursor: str | None
