"""Attesting what the bank held when an epoch's last batch was closed: two officers, one after the other."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy.orm import Session

from ledger import attestation, entries
from ledger.errors import DomainError
from ledger.note import KeyType, SigningKey, VerifierKey
from ledger.store import attestations
from ledger.store.attestations import Attestation, Sealed
from ledger.store.terms import Founding
from streamcoop.settings import Settings
from streamcoop.transparency import naming

EPOCHS_MAX = 10_000
"""Further back no epoch is attested."""


class NotSealed(DomainError):
    """No epoch of this name is sealed in the log."""


class NoOfficer(DomainError):
    """The founding note names no such officer."""


class AttestedBefore(DomainError):
    """The epoch is attested, and it stays as it is."""


class SaidAlready(DomainError):
    """This officer has spoken already: it is for another one to say the same."""


class OfficersDisagree(DomainError):
    """The other officer has said another sum: find out which is right, and withdraw what is not."""


class NotAsTheBooks(DomainError):
    """By the books the bank holds another sum, and every audit would find that this one does not fit."""


class NothingToWithdraw(DomainError):
    """No officer alone has said anything of this epoch."""


@dataclass(frozen=True, slots=True)
class Said:
    """What came of an officer's word. `batch` is where it is told, once it is the second."""

    epoch: int
    bank_micro: int
    batch: int | None


def sealed_epoch(session: Session, founded: Founding, told: str) -> Sealed:
    """The epoch of this label or number. Raises NotSealed."""
    for sealed in attestations.sealed(session.connection(), EPOCHS_MAX):
        if told in (str(sealed.epoch), founded.calendar.label(sealed.epoch)):
            return sealed
    raise NotSealed(epoch=told)


def attest(
    session: Session,
    settings: Settings,
    founded: Founding,
    officers: Collection[VerifierKey],
    told: tuple[str, int],
    officer: SigningKey,
    *,
    may_differ: bool = False,
) -> Said:
    """An officer says that at the end of an epoch (its label or number) the bank held so many micro-units.

    The first officer's word is kept, the second's completes it and the log tells it. `officers` are the founding
    note's; `may_differ` lets a sum stand that is not the books'.

    Raises NoOfficer, NotSealed, NotAsTheBooks, AttestedBefore, SaidAlready and OfficersDisagree.
    """
    conn, own, (label, bank_micro) = session.connection(), officer.verifier, told
    # The log holds an officer's key as a text of bounded length.
    if own not in officers or own.type is not KeyType.ED25519 or len(str(own)) > entries.TEXT_MAX:
        raise NoOfficer(key=own.name)
    sealed = sealed_epoch(session, founded, label)
    by_books_micro = attestations.bank_micro(conn, sealed.batch)
    if bank_micro != by_books_micro and not may_differ:
        raise NotAsTheBooks(books_micro=by_books_micro, said_micro=bank_micro)
    naming.name_log(session, settings)
    # By this name every auditor knows whose bank it is, whatever the log is called later.
    origin = naming.first_origin(session, settings)
    signed = attestation.text(origin, sealed.epoch, sealed.batch, bank_micro, founded.currency)
    signature = attestation.signature(officer, signed)
    if attestations.intend(conn, sealed, bank_micro, str(own), signature):
        return Said(sealed.epoch, bank_micro, None)
    first = attestations.of_epoch(conn, sealed.epoch)
    if first is None:  # withdrawn just now
        raise OfficersDisagree(second_micro=bank_micro)
    _require_second(first, own, bank_micro)
    attestation.verified(signed, [*first.officers, str(own)], [*first.signatures, signature])
    return Said(sealed.epoch, bank_micro, attestations.complete(conn, sealed.epoch, str(own), signature))


def _require_second(first: Attestation, own: VerifierKey, bank_micro: int) -> None:
    if first.batch is not None:
        raise AttestedBefore(epoch=first.epoch)
    if str(own) in first.officers:
        raise SaidAlready(key=own.name)
    if first.bank_micro != bank_micro:
        raise OfficersDisagree(first_micro=first.bank_micro, second_micro=bank_micro)


def withdraw(session: Session, founded: Founding, label: str) -> None:
    """Forget what one officer alone has said of an epoch. Raises NotSealed and NothingToWithdraw."""
    sealed = sealed_epoch(session, founded, label)
    if not attestations.withdraw(session.connection(), sealed.epoch):
        raise NothingToWithdraw(epoch=label)
