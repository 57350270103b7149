"""What members are told when a ballot does not take what they ask of it."""

from __future__ import annotations

from http import HTTPStatus

from ledger.errors import DomainError
from streamcoop.problems import register


class BallotUnderWay(DomainError):
    """There is a ballot on this under way: only one at a time."""


class QuestionsRefused(DomainError):
    """The constitution does not let members vote on this, or not like this."""


class BallotNotProposed(DomainError):
    """This ballot gathers no supporters any more."""


class BallotNotOpen(DomainError):
    """This ballot takes no votes now."""


class BallotNotCounted(DomainError):
    """Votes are published when the ballot is closed."""


class BallotOver(DomainError):
    """This ballot has ended."""


class NotProposer(DomainError):
    """Only whoever proposed the ballot can withdraw it, and only until it opens."""


class NoVoteInThisBallot(DomainError):
    """Your membership had no vote at this ballot's snapshot: not in the contract then, or not for long enough."""


class ValuesRefused(DomainError):
    """A vote says one whole number for each of the ballot's questions, within the bounds the constitution sets."""


class SignatureRefused(DomainError):
    """The signature is not your membership address's over this vote, this ballot, this chain and this contract."""


class VoteExpired(DomainError):
    """The vote was to be taken before its deadline, which is past."""


class VoteSuperseded(DomainError):
    """A vote with this number or a higher one was taken before: sign anew with the next."""


class TooManyVotes(DomainError):
    """You have replaced your vote in this ballot too often."""


class TooManyComments(DomainError):
    """You have said much on this ballot: the rest belongs where members meet."""


register(
    {
        BallotUnderWay: HTTPStatus.CONFLICT,
        QuestionsRefused: HTTPStatus.BAD_REQUEST,
        BallotNotProposed: HTTPStatus.CONFLICT,
        BallotNotOpen: HTTPStatus.CONFLICT,
        BallotNotCounted: HTTPStatus.CONFLICT,
        BallotOver: HTTPStatus.CONFLICT,
        NotProposer: HTTPStatus.FORBIDDEN,
        NoVoteInThisBallot: HTTPStatus.FORBIDDEN,
        ValuesRefused: HTTPStatus.BAD_REQUEST,
        SignatureRefused: HTTPStatus.BAD_REQUEST,
        VoteExpired: HTTPStatus.CONFLICT,
        VoteSuperseded: HTTPStatus.CONFLICT,
        TooManyVotes: HTTPStatus.CONFLICT,
        TooManyComments: HTTPStatus.CONFLICT,
    }
)
