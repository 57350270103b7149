"""What the payouts' routes take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, EmailStr, Field

from streamcoop.accounts.schemas import Line, Payload


class Destination(Payload):
    """Where you want your money: an IBAN, a bank and account number, as the treasurer's bank takes it."""

    destination: Line = Field(min_length=4, max_length=200)


class NewRun(Payload):
    """Plan payouts for all payees who have reached the minimum. `request_id` makes it safe to send again."""

    request_id: UUID
    payee: UUID | None = Field(default=None, description="For her alone, and below the minimum too.")
    payee_email: EmailStr | None = Field(default=None, description="The same, by her e-mail address.")


class PayoutOut(BaseModel):
    """A payout."""

    id: UUID
    run_id: UUID
    payee: UUID
    payee_name: str
    destination: str
    amount_minor: int
    currency: str
    state: Literal["planned", "sent", "confirmed", "returned"]
    planned_at: datetime
    sent_at: datetime | None
    settled_at: datetime | None


class RunOut(BaseModel):
    """A run and its payouts."""

    id: UUID
    planned_at: datetime
    payouts: list[PayoutOut]


class RunSummary(BaseModel):
    """A run, how many of its payouts are in each state, and what they add up to."""

    id: UUID
    planned_at: datetime
    planned: int
    sent: int
    confirmed: int
    returned: int
    amount_minor: int
    currency: str


class DueOut(BaseModel):
    """What a run that is planned now would pay."""

    payees: int
    amount_minor: int
    currency: str
