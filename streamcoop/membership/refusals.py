"""What people are told when membership does not take what they ask of it."""

from __future__ import annotations

from http import HTTPStatus

from ledger.errors import DomainError
from streamcoop.problems import register


class AlreadyApplied(DomainError):
    """You are a member, or have applied for membership before."""


class AddressTaken(DomainError):
    """Somebody else is a member, or has applied, with this address."""


class WalletProofRefused(DomainError):
    """This is not the text this service gave you a moment ago for this address, signed by it."""


class MembersOnly(DomainError):
    """Only members of the co-op can do this."""


class ApplicationDecided(DomainError):
    """This application is decided already."""


class AdmissionUnderWay(DomainError):
    """This membership is on its way to the chain: ask again once it is there."""


class OrderUnderWay(DomainError):
    """Something else about this membership is on its way to the chain: ask again once it is there."""


class ContractNotConfigured(DomainError):
    """No membership contract is configured: nobody can be admitted, and nothing voted on."""


class RegistrarKeyMissing(DomainError):
    """No registrar's key is configured: the membership can be read here, not changed."""


class RegisterUnavailable(DomainError):
    """The chain cannot be asked just now: try again in a moment."""


class NotAnOfficer(DomainError):
    """Only the co-op's officers approve admissions: the membership contract does not have you as one."""


class AlreadyApproved(DomainError):
    """You have approved this admission: another officer has to."""


class ApprovalRefused(DomainError):
    """This is not your officer's address's signature over this applicant, this class and this deadline."""


class ApprovalOutdated(DomainError):
    """The approval asked for has another deadline by now: sign what is to be signed now."""


class SharePaid(DomainError):
    """The member share of this membership is paid."""


class ShareNotPaid(DomainError):
    """There is no member share of this membership to be paid back."""


class ShareNotDue(DomainError):
    """The member share is paid back some time after leaving, which the constitution says: not yet."""


class NoKeptKey(DomainError):
    """The co-op keeps no key of yours."""


class SignatureNotYours(DomainError):
    """The signature is not the membership address's over exactly this."""


class DelegateRefused(DomainError):
    """Nobody but a member can vote for you."""


class NoPasskey(DomainError):
    """Register a passkey first: the co-op uses the key it keeps for you only where you sign with one in person."""


class PasskeyRefused(DomainError):
    """The passkey did not sign exactly this, here, for you, after making sure that it is you."""


class PasskeyKnown(DomainError):
    """This passkey is registered already."""


class TooManyPasskeys(DomainError):
    """Remove a passkey before registering another."""


register(
    {
        AlreadyApplied: HTTPStatus.CONFLICT,
        AddressTaken: HTTPStatus.CONFLICT,
        WalletProofRefused: HTTPStatus.BAD_REQUEST,
        MembersOnly: HTTPStatus.FORBIDDEN,
        ApplicationDecided: HTTPStatus.CONFLICT,
        AdmissionUnderWay: HTTPStatus.CONFLICT,
        OrderUnderWay: HTTPStatus.CONFLICT,
        ContractNotConfigured: HTTPStatus.CONFLICT,
        RegistrarKeyMissing: HTTPStatus.CONFLICT,
        RegisterUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
        NotAnOfficer: HTTPStatus.FORBIDDEN,
        AlreadyApproved: HTTPStatus.CONFLICT,
        ApprovalRefused: HTTPStatus.BAD_REQUEST,
        ApprovalOutdated: HTTPStatus.CONFLICT,
        SharePaid: HTTPStatus.CONFLICT,
        ShareNotPaid: HTTPStatus.CONFLICT,
        ShareNotDue: HTTPStatus.CONFLICT,
        NoKeptKey: HTTPStatus.CONFLICT,
        SignatureNotYours: HTTPStatus.BAD_REQUEST,
        DelegateRefused: HTTPStatus.CONFLICT,
        NoPasskey: HTTPStatus.CONFLICT,
        PasskeyRefused: HTTPStatus.BAD_REQUEST,
        PasskeyKnown: HTTPStatus.CONFLICT,
        TooManyPasskeys: HTTPStatus.CONFLICT,
    }
)
