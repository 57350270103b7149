"""What is refused, and why. The message of an error is its class's docstring, and its fields say the rest."""

from __future__ import annotations

from typing import Any


class DomainError(Exception):
    """The service refuses this."""

    def __init__(self, **facts: Any) -> None:
        super().__init__(self.__doc__)
        self.facts = facts

    def __str__(self) -> str:
        told = ", ".join(f"{name}={value}" for name, value in self.facts.items())
        return f"{self.__doc__}" + (f" ({told})" if told else "")


class RequestIdReused(DomainError):
    """This request id was used before for something else."""


class InsufficientBalance(DomainError):
    """The account does not hold that much."""


class UnknownAccount(DomainError):
    """There is no such account in the books."""


class SharesDoNotAddUp(DomainError):
    """The shares do not add up to the whole."""


class BooksOutOfBalance(DomainError):
    """The books do not add up: nothing was written."""


class NotYetInForce(DomainError):
    """No terms are in force for this epoch."""


class TermsInThePast(DomainError):
    """Terms can only change from an epoch that has not begun."""


class ProofRefused(DomainError):
    """The proof does not show what it should."""


class NoteRefused(DomainError):
    """The signed note is malformed, or not signed as it should be."""


class TileRefused(DomainError):
    """A file of the log is malformed, or does not belong to its tree."""


class SumsRefused(DomainError):
    """These lines cannot be a tree of sums."""


class NotCanonical(DomainError):
    """This is not canonical JSON."""


class EntryRefused(DomainError):
    """This is no entry of the log."""
