"""Witnessing: a log's head is cosigned once it is stored that no other may be.

The row of a log is locked while a head is judged, so of two heads at once one is judged by the other.
"""

from __future__ import annotations

import base64
import hmac
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit
from uuid import uuid4

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from ledger.errors import DomainError, NoteRefused
from ledger.merkle import EMPTY_ROOT
from ledger.note import Note, SigningKey, VerifierKey, parse_note, parse_verifier_key
from ledger.witness import COSIGNING, Evidence, Known, Submission, Verdict, decide, parse_submission
from streamcoop.errors import NotFound
from streamcoop.settings import Settings
from streamcoop.witness.models import LogEvidence, WitnessedLog

log = logging.getLogger(__name__)

LOG_KEYS_MAX = 8
# Of what shows a fork, and of what does not: whoever has a log's key, or old heads of it, could fill the table.
EVIDENCE_MAX = 64


class TooManyLogKeys(DomainError):
    """The log has as many keys as a log may have here."""


def own_keys(settings: Settings) -> list[SigningKey]:
    """What this service cosigns with: a key of each kind, from one secret. None if it has no secret: it is no witness.

    Each has a seed of its own, so that of one that is broken nothing is learnt of the other.
    """
    if settings.witness_key is None:
        return []
    name = settings.witness_name or f"{urlsplit(settings.public_address).hostname}/witness"
    secret = base64.b64decode(settings.witness_key.get_secret_value())
    return [
        SigningKey(name, kind, hmac.digest(secret, f"streamcoop witness {kind.name}".encode(), "sha256"))
        for kind in sorted(COSIGNING)
    ]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a submission is answered with: signature lines if it was cosigned, the known size if it is stale."""

    verdict: Verdict
    cosignatures: str = ""
    size: int = 0


def add_checkpoint(session: Session, body: bytes, keys: Sequence[SigningKey], now: datetime) -> Answer:
    """Judge a submission and note what comes of it. The answer is for after the commit, not before."""
    try:
        submission = parse_submission(body)
    except NoteRefused:
        return Answer(Verdict.MALFORMED)
    row = session.get(WitnessedLog, submission.head.origin, with_for_update=True)
    decided = decide(submission, _known(row) if row else None)
    if row is not None and decided.note is not None:
        if decided.verdict is Verdict.COSIGNED:
            return _cosigned(row, submission, decided.note, keys, now)
        if decided.evidence is not None:
            _keep(session, submission, decided.evidence, now)
        return Answer(decided.verdict, size=row.size)
    return Answer(decided.verdict)


def _known(row: WitnessedLog) -> Known:
    note = parse_note(row.note.encode()) if row.note else None
    return Known(tuple(map(parse_verifier_key, row.keys)), row.size, row.root, note)


def _cosigned(
    row: WitnessedLog, submission: Submission, note: Note, keys: Sequence[SigningKey], now: datetime
) -> Answer:
    # A request that had to wait began before the one it waited for: times must not go back while sizes grow.
    row.cosigned_at = max(now, row.cosigned_at or now)
    row.size, row.root, row.note = submission.head.size, submission.head.root, str(note)
    time = int(row.cosigned_at.timestamp())
    row.cosignatures = "".join(str(key.sign(note.text, time)) for key in keys)
    return Answer(Verdict.COSIGNED, row.cosignatures)


def _keep(session: Session, submission: Submission, evidence: Evidence, now: datetime) -> None:
    """Keep what may be held against the log, once, and as long as there is room for it."""
    head, shown = submission.head, evidence.shows_a_fork
    of_its_worth = LogEvidence.origin == head.origin, LogEvidence.shows_a_fork == shown
    if session.scalars(select(func.count()).select_from(LogEvidence).where(*of_its_worth)).one() >= EVIDENCE_MAX:
        return
    kept = insert(LogEvidence).values(
        id=uuid4(),
        origin=head.origin,
        shows_a_fork=shown,
        size=head.size,
        root=head.root,
        text=str(evidence),
        found_at=now,
    )
    if session.scalar(kept.on_conflict_do_nothing().returning(LogEvidence.id)) and shown:
        log.error("a witnessed log has forked", extra={"origin": head.origin, "size": head.size})


def last_head(session: Session, origin_hash: str) -> str:
    """The last head that was cosigned, with the log's signatures and ours, by its origin's SHA-256. Raises NotFound."""
    digest = func.encode(func.sha256(func.convert_to(WitnessedLog.origin, "UTF8")), "hex")
    row = session.scalars(select(WitnessedLog).where(digest == origin_hash)).one_or_none()
    if row is None or not row.note:
        raise NotFound
    return row.note + row.cosignatures


def add_log(session: Session, text: str, now: datetime) -> VerifierKey:
    """Witness the log whose verifier key this is: its name is the log's origin. Of a known log it is a further key.

    Raises NoteRefused if it is no key, and TooManyLogKeys.
    """
    key = parse_verifier_key(text)
    fresh = insert(WitnessedLog).values(
        origin=key.name, keys=[], size=0, root=EMPTY_ROOT, note="", cosignatures="", added_at=now
    )
    session.execute(fresh.on_conflict_do_nothing())
    row = session.get_one(WitnessedLog, key.name, with_for_update=True)
    if str(key) not in row.keys:
        if len(row.keys) >= LOG_KEYS_MAX:
            raise TooManyLogKeys(origin=key.name, keys=LOG_KEYS_MAX)
        row.keys = [*row.keys, str(key)]
    return key


def logs(session: Session) -> Sequence[WitnessedLog]:
    """The logs that are witnessed, by name."""
    return session.scalars(select(WitnessedLog).order_by(WitnessedLog.origin)).all()


def forks(session: Session) -> tuple[int, datetime | None]:
    """How many witnessed logs have forked, as the evidence that is kept shows, and when the last of it was found."""
    shown = select(func.count(LogEvidence.origin.distinct()), func.max(LogEvidence.found_at))
    count, last_at = session.execute(shown.where(LogEvidence.shows_a_fork)).one()
    return count, last_at


def evidence(session: Session, origin: str | None = None) -> Sequence[LogEvidence]:
    """What is held against a log, or against all: that which shows a fork first, the oldest first."""
    kept = select(LogEvidence).order_by(LogEvidence.shows_a_fork.desc(), LogEvidence.found_at, LogEvidence.id)
    return session.scalars(kept if origin is None else kept.where(LogEvidence.origin == origin)).all()
