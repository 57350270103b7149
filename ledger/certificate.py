"""Certificates of ownership: signed notes that say that whoever was given them owns a track. They outlive the co-op.

A certificate names the recording and no person. It proves nothing about who bears it but that she was given it; its id
is drawn anew each time and kept nowhere. The day stands in it and no time, which would tell one play from others.

    streamcoop certificate v1
    <origin>
    track <id>
    sha256 <of the original, hexadecimal>
    title <a JSON string, in ASCII>
    artist <a JSON string, in ASCII>
    owned_at <POSIX seconds of the beginning of a day in UTC>
    certificate <id>

    — <origin> <signature>

It is signed by the log's Ed25519 key; its ML-DSA-44 key signs heads only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from ledger.errors import NoteRefused
from ledger.note import KeyType, Note, SigningKey, VerifierKey, number, parse_note, require_name, signed, verified

HEAD = "streamcoop certificate v1"
TEXT_MAX = 1_000
DAY_S = 86_400

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
_DIGEST = re.compile(r"[0-9a-f]{64}").fullmatch
_FIELDS = ("track", "sha256", "title", "artist", "owned_at", "certificate")


@dataclass(frozen=True, slots=True)
class Certificate:
    """That the bearer owns a recording: what is said, whoever signed it. `owned_at` is a day's first POSIX second."""

    origin: str
    track: UUID
    sha256: bytes
    title: str
    artist: str
    owned_at: int
    certificate: UUID

    def __str__(self) -> str:
        told = (
            str(self.track),
            self.sha256.hex(),
            json.dumps(self.title),
            json.dumps(self.artist),
            str(self.owned_at // DAY_S * DAY_S),
            str(self.certificate),
        )
        lines = [f"{name} {value}" for name, value in zip(_FIELDS, told, strict=True)]
        return "\n".join([HEAD, self.origin, *lines, ""])


def make(told: Certificate, keys: Sequence[SigningKey]) -> str:
    """The signed note of a certificate."""
    return str(signed(str(told), [key for key in keys if key.type is KeyType.ED25519], 0))


def parse(note: Note) -> Certificate:
    """The certificate a note tells, in the one way to write it. Raises NoteRefused; signatures are another matter."""
    lines = note.text.split("\n")
    if len(lines) != len(_FIELDS) + 3 or lines[0] != HEAD or lines[-1]:
        raise NoteRefused(reason="not a certificate")
    values = []
    for name, line in zip(_FIELDS, lines[2:-1], strict=True):
        if not line.startswith(f"{name} "):
            raise NoteRefused(reason="not a certificate")
        values.append(line.removeprefix(f"{name} "))
    track, sha256, title, artist, owned_at, certificate = values
    if not (_UUID(track) and _UUID(certificate) and _DIGEST(sha256)):
        raise NoteRefused(reason="not a certificate")
    told = Certificate(
        require_name(lines[1]),
        UUID(track),
        bytes.fromhex(sha256),
        _text(title),
        _text(artist),
        number(owned_at),
        UUID(certificate),
    )
    if str(told) != note.text:
        raise NoteRefused(reason="not the only way to write a certificate")
    return told


def _text(line: str) -> str:
    try:
        told = json.loads(line)
    except (ValueError, RecursionError) as malformed:
        raise NoteRefused(reason="not a JSON string") from malformed
    if type(told) is not str or len(told) > TEXT_MAX:
        raise NoteRefused(reason="not a title")
    return told


def verify(data: bytes, keys: Iterable[VerifierKey]) -> Certificate:
    """A certificate signed by a key of the log. Raises NoteRefused."""
    note = parse_note(data)
    verified(note, [key for key in keys if key.type is KeyType.ED25519])
    return parse(note)
