"""Signed notes, checkpoints and cosignatures, to the letter of C2SP: signed-note, tlog-checkpoint, tlog-cosignature.

Nothing in a note is believed before a known key's signature over it was verified. Keys are Ed25519 and, beside it,
ML-DSA-44 (FIPS 204), which commits to the signer's name and holds against quantum computers.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from ledger.errors import NoteRefused
from ledger.merkle import EMPTY_ROOT, HASH_BYTES

# The specification asks for at least 16 signatures of up to 5 kB each.
NOTE_BYTES_MAX = 1 << 18
SIGNATURES_MAX = 64
NAME_BYTES_MAX = 255
KEY_ID_BYTES = 4
SEED_BYTES = 32
SIZE_MAX = (1 << 63) - 1
TIME_MAX = (1 << 63) - 1

_SIGNATURE_MARK = "— "
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_TIME = struct.Struct(">Q")


class KeyType(IntEnum):
    """What a key signs with, and what it means by it (signed-note, signature types)."""

    ED25519 = 0x01
    ED25519_COSIGNATURE = 0x04
    ML_DSA_44 = 0x06


_PUBLIC_BYTES = {KeyType.ED25519: 32, KeyType.ED25519_COSIGNATURE: 32, KeyType.ML_DSA_44: 1312}
_SIGNATURE_BYTES = {KeyType.ED25519: 64, KeyType.ED25519_COSIGNATURE: 64, KeyType.ML_DSA_44: 2420}


def b64(data: bytes) -> str:
    """Base 64 as notes have it (RFC 4648, section 4)."""
    return base64.b64encode(data).decode("ascii")


def unb64(text: str) -> bytes:
    """The bytes behind it. Raises NoteRefused for any other way to write them."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as malformed:
        raise NoteRefused(reason="not base 64") from malformed
    if b64(data) != text:
        raise NoteRefused(reason="not the only way to write it in base 64")
    return data


def number(text: str) -> int:
    """A decimal number below 2^63 without leading zeroes. Raises NoteRefused."""
    if not _NUMBER.fullmatch(text) or int(text) > SIZE_MAX:
        raise NoteRefused(reason="not a number")
    return int(text)


def require_name(name: str) -> str:
    """A key's name: not empty, without spaces, plus signs and control characters. Raises NoteRefused."""
    if not name or "+" in name or any(c.isspace() or ord(c) < 0x20 for c in name):
        raise NoteRefused(reason="not the name of a key")
    if len(name.encode()) > NAME_BYTES_MAX:
        raise NoteRefused(reason="the name of a key is too long")
    return name


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key under a name. Its text (`str`) is what a log publishes and its readers pin."""

    name: str
    type: KeyType
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes by which its signatures are told."""
        told = self.name.encode() + b"\n" + bytes([self.type]) + self.public
        return sha256(told).digest()[:KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64(bytes([self.type]) + self.public)}"


def parse_verifier_key(text: str) -> VerifierKey:
    """A verifier key from its text. Raises NoteRefused where it is malformed or of another kind."""
    try:
        name, key_id, material = text.split("+", 2)
    except ValueError as malformed:
        raise NoteRefused(reason="a verifier key has three parts") from malformed
    data = unb64(material)
    if not data or data[0] not in _PUBLIC_BYTES:
        raise NoteRefused(reason="a kind of key that is not known here")
    key = VerifierKey(require_name(name), KeyType(data[0]), data[1:])
    if len(key.public) != _PUBLIC_BYTES[key.type]:
        raise NoteRefused(reason="a verifier key of the wrong length")
    if key.key_id.hex() != key_id:
        raise NoteRefused(reason="a verifier key whose id is another key's")
    return key


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line, whoever it is from."""

    name: str
    key_id: bytes
    signature: bytes

    def __str__(self) -> str:
        return f"{_SIGNATURE_MARK}{self.name} {b64(self.key_id + self.signature)}\n"


def parse_signature(line: str) -> Signature:
    """A signature line without its newline. Raises NoteRefused."""
    if not line.startswith(_SIGNATURE_MARK):
        raise NoteRefused(reason="a signature line begins with a dash")
    name, _, encoded = line.removeprefix(_SIGNATURE_MARK).partition(" ")
    data = unb64(encoded)
    if len(data) <= KEY_ID_BYTES:
        raise NoteRefused(reason="a signature is too short")
    return Signature(require_name(name), data[:KEY_ID_BYTES], data[KEY_ID_BYTES:])


@dataclass(frozen=True, slots=True)
class Note:
    """A text that ends in a newline, and signatures that are not verified yet."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return f"{self.text}\n{''.join(map(str, self.signatures))}"


def parse_note(data: bytes) -> Note:
    """A note from its bytes. Raises NoteRefused."""
    if len(data) > NOTE_BYTES_MAX:
        raise NoteRefused(reason="the note is too long")
    if any(byte < 0x20 and byte != 0x0A for byte in data):
        raise NoteRefused(reason="a note holds no control characters")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError as malformed:
        raise NoteRefused(reason="the note is not UTF-8") from malformed
    text, blank, signatures = whole.rpartition("\n\n")
    if not blank or not signatures.endswith("\n"):
        raise NoteRefused(reason="a note is a text, an empty line and signature lines")
    lines = signatures.removesuffix("\n").split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise NoteRefused(reason="too many signatures")
    return Note(text + "\n", tuple(map(parse_signature, lines)))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log: its name, how many entries it has and the root over them."""

    origin: str
    size: int
    root: bytes

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{b64(self.root)}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """A checkpoint from the text of a note. Raises NoteRefused, for extension lines too: not every key signs them."""
    if text.count("\n") > 3:
        raise NoteRefused(reason="a checkpoint with extension lines")
    return parse_head(text)


def parse_head(text: str) -> Checkpoint:
    """What a checkpoint says of its tree, whatever its log has put below it. Raises NoteRefused.

    For witnesses, which cosign any log's checkpoints: of extension lines a cosignature says nothing.
    """
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1]:
        raise NoteRefused(reason="a checkpoint has three lines")
    if not all(lines[:-1]):
        raise NoteRefused(reason="a checkpoint with empty lines")
    origin, size, root = lines[0], number(lines[1]), unb64(lines[2])
    if not origin or len(origin.encode()) > NAME_BYTES_MAX:
        raise NoteRefused(reason="a checkpoint names its log")
    if len(root) != HASH_BYTES or (size == 0 and root != EMPTY_ROOT):
        raise NoteRefused(reason="a checkpoint holds the root of a tree")
    return Checkpoint(origin, size, root)


@dataclass(frozen=True, slots=True)
class Verified:
    """A signature that holds. `time`: when a cosigner says it was given (POSIX seconds); None if the kind has none."""

    key: VerifierKey
    time: int | None


def verified(note: Note, keys: Iterable[VerifierKey]) -> list[Verified]:
    """The signatures by these keys, all of which hold. Raises NoteRefused for one that does not, or if there is none.

    Of unknown keys nothing is said (signed-note): that is how keys are rotated and others cosign.
    """
    known = {(key.name, key.key_id): key for key in keys}
    found: dict[tuple[str, bytes], Verified] = {}
    for line in note.signatures:
        key = known.get((line.name, line.key_id))
        if key is None:
            continue
        if (line.name, line.key_id) in found:
            raise NoteRefused(reason="two signatures by one key", key=key.name)
        found[line.name, line.key_id] = _verify(key, note.text, line.signature)
    if not found:
        raise NoteRefused(reason="no signature by a known key")
    return list(found.values())


def _verify(key: VerifierKey, text: str, signature: bytes) -> Verified:
    time: int | None = None
    if key.type is not KeyType.ED25519:
        if len(signature) < _TIME.size:
            raise NoteRefused(reason="a signature of the wrong length", key=key.name)
        (time,), signature = _TIME.unpack(signature[: _TIME.size]), signature[_TIME.size :]
        if time > TIME_MAX:
            raise NoteRefused(reason="a cosignature of no time", key=key.name)
    if len(signature) != _SIGNATURE_BYTES[key.type]:
        raise NoteRefused(reason="a signature of the wrong length", key=key.name)
    message = _message(key.type, key.name, text, time or 0)
    try:
        if key.type is KeyType.ML_DSA_44:
            MLDSA44PublicKey.from_public_bytes(key.public).verify(signature, message)
        else:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except (InvalidSignature, ValueError) as wrong:
        raise NoteRefused(reason="a signature that does not hold", key=key.name) from wrong
    return Verified(key, time)


def _message(kind: KeyType, name: str, text: str, time: int) -> bytes:
    """What is signed (tlog-cosignature; a plain Ed25519 signature is over the text itself)."""
    if kind is KeyType.ED25519:
        return text.encode()
    if kind is KeyType.ED25519_COSIGNATURE:
        parse_head(text)
        return f"cosignature/v1\ntime {time}\n{text}".encode()
    head = parse_head(text)
    signer, origin = name.encode(), head.origin.encode()
    return b"".join(
        [
            b"subtree/v1\n\0",
            bytes([len(signer)]) + signer,
            _TIME.pack(time),
            bytes([len(origin)]) + origin,
            struct.pack(">QQ", 0, head.size),
            head.root,
        ]
    )


@dataclass(frozen=True)
class SigningKey:
    """A private key under a name, by its seed of 32 random bytes. It is never printed."""

    name: str
    type: KeyType
    seed: bytes

    def __repr__(self) -> str:
        return f"SigningKey({self.name!r}, {self.type!r})"

    @property
    def verifier(self) -> VerifierKey:
        """Its public key."""
        if self.type is KeyType.ML_DSA_44:
            public = MLDSA44PrivateKey.from_seed_bytes(self.seed).public_key().public_bytes_raw()
        else:
            public = Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()
        return VerifierKey(require_name(self.name), self.type, public)

    def sign(self, text: str, time: int) -> Signature:
        """Its signature over a note's text. `time` (POSIX seconds) goes into it if its kind holds one."""
        message = _message(self.type, self.name, text, time)
        stamp = b"" if self.type is KeyType.ED25519 else _TIME.pack(time)
        if self.type is KeyType.ML_DSA_44:
            signature = MLDSA44PrivateKey.from_seed_bytes(self.seed).sign(message)
        else:
            signature = Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)
        return Signature(self.name, self.verifier.key_id, stamp + signature)


def signed(text: str, keys: Sequence[SigningKey], time: int) -> Note:
    """A note of this text with a signature by each key."""
    return Note(text, tuple(key.sign(text, time) for key in keys))
