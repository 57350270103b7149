"""What the membership's routes take and give."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from eth_utils.address import is_checksum_address, to_checksum_address
from pydantic import AfterValidator, BaseModel, Field

from streamcoop.accounts.schemas import Line, Password, Payload
from streamcoop.membership.wallets import MESSAGE_LENGTH_MAX, SIGNATURE_BYTES_MAX

ADDRESS_LENGTH = 42
NOBODY = "0x" + "0" * 40
INTEGER_MAX = 2**53 - 1
"""The largest whole number that every JSON reader keeps exactly."""

MemberClass = Literal["listener", "artist", "worker"]
MemberState = Literal["applied", "admitting", "member", "leaving", "left", "refused"]
OrderKind = Literal["admission", "removal", "class-change", "rekey", "delegation"]
WebAuthn = dict[str, Any]
_LOWER_CASE = re.compile("0x[0-9a-f]{40}").fullmatch


def _checksummed(address: str) -> str:
    """Wallets tell addresses of their own without a checksum, in lower case: what is typed has one."""
    if _LOWER_CASE(address):
        address = str(to_checksum_address(address))
    if not is_checksum_address(address):
        raise ValueError("not an address with a valid checksum (EIP-55)")
    if address == NOBODY:
        raise ValueError("this address is nobody's")
    return address


def _whole_bytes(text: str) -> str:
    if len(text) % 2:
        raise ValueError("half a byte")
    return text


Address = Annotated[str, Field(min_length=ADDRESS_LENGTH, max_length=ADDRESS_LENGTH), AfterValidator(_checksummed)]
Signature = Annotated[
    str, Field(pattern=r"^0x[0-9a-fA-F]{130}$", description="65 bytes r‖s‖v, hexadecimal, as wallets give them.")
]
LongSignature = Annotated[
    str,
    Field(pattern=r"^0x[0-9a-fA-F]+$", max_length=2 + 2 * SIGNATURE_BYTES_MAX),
    AfterValidator(_whole_bytes),
]
Number = Annotated[int, Field(ge=0, le=INTEGER_MAX)]


# --- Applying ---


class WalletAddress(Payload):
    """An address of a wallet you hold, which you use for nothing else. Everybody can see it, and how it votes."""

    address: Address


class ChallengeOut(BaseModel):
    """The text to sign (EIP-4361) so that the address is known to be yours."""

    message: str
    expires_at: datetime


class WalletProof(Payload):
    """The text this service gave for your address, to the letter, and your wallet's signature of it."""

    message: str = Field(max_length=MESSAGE_LENGTH_MAX)
    signature: LongSignature = Field(description="By `personal_sign`; of a contract, what its ERC-1271 takes.")


class Application(Payload):
    """Asking to be a member. Without a wallet of her own the co-op makes a key and keeps it for her."""

    member_class: MemberClass
    wallet: WalletProof | None = Field(
        default=None,
        description="Proof of an address of your own, which must be used for nothing else: everybody can see it.",
    )


class OrderOut(BaseModel):
    """What was last asked of the chain about a membership."""

    kind: OrderKind
    given_at: datetime
    done_at: datetime | None
    refused_because: str | None = Field(description="Why the contract did not take it, where it did not.")
    held_up_by: str | None = Field(description="Why it has not come further. It is tried again by itself.")


class MembershipOut(BaseModel):
    """A membership as the member sees it."""

    id: UUID
    member_class: MemberClass
    state: MemberState
    address: str
    key_kept_by_coop: bool
    applied_at: datetime
    admitted_at: datetime | None
    ended_at: datetime | None
    share_paid: bool
    share_minor: int = Field(description="The member share, in minor units of the currency.")
    share_refund_due_at: datetime | None = Field(description="Once the membership has ended.")
    last_order: OrderOut | None


# --- Deciding ---


class ApprovalOut(BaseModel):
    """An officer's approval of an admission."""

    user_id: UUID
    officer: str
    deadline: int = Field(description="POSIX seconds by the chain's clock: until then it counts.")
    given_at: datetime


class MemberOut(MembershipOut):
    """A membership as an operator sees it."""

    user_id: UUID
    name: str
    approvals: list[ApprovalOut]


class MembersPage(BaseModel):
    """Members and applicants, oldest application first."""

    items: list[MemberOut]
    next_cursor: UUID | None


class ApprovalAskedOut(BaseModel):
    """What an officer signs to approve an admission (EIP-712, `eth_signTypedData_v4`)."""

    typed_data: dict[str, Any]
    deadline: int


class NewApproval(Payload):
    """An officer's approval. Empty where the service keeps the officer's key."""

    signature: Signature | None = None
    deadline: Number | None = None


class ClassWanted(Payload):
    """The class a membership is to have."""

    member_class: MemberClass


class ShareBooking(Payload):
    """A member share paid in or paid back at the bank. The request's id makes it safe to send again."""

    request_id: UUID


class ShareBooked(BaseModel):
    """A member share as booked."""

    request_id: UUID
    member_id: UUID
    amount_minor: int
    currency: str
    booked_at: datetime
    repeated: bool


class ShareWaiting(BaseModel):
    """A member share that is to be paid in, or paid back from `due_at` on."""

    member_id: UUID
    name: str
    member_class: MemberClass
    amount_minor: int
    applied_at: datetime
    due_at: datetime | None


class SharesWaiting(BaseModel):
    """Member shares that the treasurer has to do with."""

    currency: str
    unpaid: list[ShareWaiting]
    to_refund: list[ShareWaiting]


class DifferenceOut(BaseModel):
    """Where the contract and the table of members do not agree."""

    address: str
    told: str
    found_at: datetime


# --- Keys ---


class PasswordAgain(Payload):
    """Your password, once more."""

    password: Password


class KeyOut(BaseModel):
    """The key the co-op keeps for you. Whoever has it votes in your name."""

    address: str
    private_key: str


class RekeyAskedOut(BaseModel):
    """What your new wallet signs, and the old one where you have one, to move your membership there (EIP-712)."""

    typed_data: dict[str, Any]
    nonce: int
    deadline: int
    also_signed_by_old: bool = Field(description="False where the co-op keeps the old key and signs with it.")


class NewWallet(Payload):
    """Moving your membership to an address of your own, which you use for nothing else."""

    password: Password
    address: Address
    nonce: Number
    deadline: Number
    signature: Signature
    old_signature: Signature | None = Field(
        default=None, description="By the old wallet; not where the co-op keeps it."
    )


class DelegationAskedOut(BaseModel):
    """What is signed to have somebody else vote for you (EIP-712), by wallet or, where the key is kept, by passkey."""

    delegate: str = Field(description="Who votes for you now, as the chain has it; you yourself, or a member.")
    typed_data: dict[str, Any]
    nonce: int
    expiry: int
    passkey: WebAuthn | None = Field(
        description="`PublicKeyCredentialRequestOptionsJSON`, where the co-op keeps the key."
    )


class NewDelegation(Payload):
    """Having another member vote for you wherever you do not vote yourself; yourself again with your own address."""

    to: Address
    nonce: Number
    expiry: Number
    signature: Signature | None = None
    passkey: WebAuthn | None = Field(default=None, description="`AuthenticationResponseJSON`.")


# --- Passkeys ---


class NewPasskeyAsked(Payload):
    """Asking for a passkey to be registered, with the password again: it will vote in your name."""

    password: Password


class PasskeyAskedOut(BaseModel):
    """`PublicKeyCredentialCreationOptionsJSON`."""

    options: WebAuthn


class NewPasskey(Payload):
    """A passkey that the browser made."""

    credential: WebAuthn = Field(description="`RegistrationResponseJSON`.")
    name: Line = Field(min_length=1, max_length=100)


class PasskeyOut(BaseModel):
    """A passkey of yours."""

    id: UUID
    name: str
    created_at: datetime
