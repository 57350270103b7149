"""What the membership's routes take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from eth_utils.address import is_checksum_address
from pydantic import AfterValidator, BaseModel, Field

from streamcoop.accounts.schemas import Payload

ADDRESS_LENGTH = 42
NOBODY = "0x" + "0" * 40

MemberClass = Literal["listener", "artist", "worker"]
MemberState = Literal["applied", "admitting", "member", "refused"]


def _checksummed(address: str) -> str:
    if not is_checksum_address(address):
        raise ValueError("not an address with a valid checksum (EIP-55)")
    if address == NOBODY:
        raise ValueError("this address is nobody's")
    return address


Address = Annotated[str, Field(min_length=ADDRESS_LENGTH, max_length=ADDRESS_LENGTH), AfterValidator(_checksummed)]


class Application(Payload):
    """Asking to be a member. Without an address of her own the co-op makes a key and keeps it for her."""

    member_class: MemberClass
    address: Address | None = Field(
        default=None, description="Address of a key the applicant holds, used for nothing else. Everybody can see it."
    )


class MembershipOut(BaseModel):
    """A membership as the member sees it."""

    id: UUID
    member_class: MemberClass
    state: MemberState
    address: str
    key_kept_by_coop: bool
    applied_at: datetime
    admitted_at: datetime | None


class MemberOut(MembershipOut):
    """A membership as an operator sees it."""

    user_id: UUID
    name: str
    held_up_by: str | None = Field(description="Why an admission has not come further. It is tried again by itself.")


class MembersPage(BaseModel):
    """Members and applicants, oldest application first."""

    items: list[MemberOut]
    next_cursor: UUID | None
