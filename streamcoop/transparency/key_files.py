"""Files of private keys: founders' and officers' own, and the log's next secret. Nobody else may read them.

A key is a line as Go's `golang.org/x/mod/sumdb/note` has it: `PRIVATE+KEY+<name>+<key id>+<base64(type ‖ seed)>`.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from ledger.errors import DomainError, NoteRefused
from ledger.note import SEED_BYTES, KeyType, SigningKey, VerifierKey, b64, require_name, unb64
from streamcoop.embedded.private import PRIVATE_FILE_MODE, sync_folder

PERSON_NAME_MAX = 100
"""Characters. The log's entries hold an officer's verifier key as a text of bounded length."""
KEY_FILE_BYTES_MAX = 1_024

_MARK = "PRIVATE+KEY+"
_SECRET = re.compile(r"[A-Za-z0-9+/]{43}=")


class KeyFileRefused(DomainError):
    """This cannot be the file of a private key."""


def new_key(name: str, path: Path) -> VerifierKey:
    """Make a founder's or an officer's key in a new file; returns what others know it by.

    Raises NoteRefused for a name that cannot be a key's, FileExistsError, and other OSErrors.
    """
    if len(require_name(name)) > PERSON_NAME_MAX:
        raise NoteRefused(reason="the name of a key is too long", most=PERSON_NAME_MAX)
    key = SigningKey(name, KeyType.ED25519, secrets.token_bytes(SEED_BYTES))
    _make(path, written(key))
    return key.verifier


def written(key: SigningKey) -> str:
    """The line in its file."""
    return f"{_MARK}{key.name}+{key.verifier.key_id.hex()}+{b64(bytes([key.type]) + key.seed)}\n"


def read_key(path: Path) -> SigningKey:
    """A founder's or an officer's key. Raises KeyFileRefused and OSError."""
    try:
        name, key_id, material = _read(path).removeprefix(_MARK).split("+", 2)
        seed = unb64(material)
        key = SigningKey(require_name(name), KeyType(seed[0]), seed[1:])
        is_whole = key.type is KeyType.ED25519 and len(key.seed) == SEED_BYTES and key.verifier.key_id.hex() == key_id
    except (ValueError, IndexError, NoteRefused) as malformed:
        raise KeyFileRefused(file=str(path), reason="not what `streamcoop log new-key` makes") from malformed
    if not is_whole:
        raise KeyFileRefused(file=str(path), reason="not an Ed25519 key, or not whole")
    return key


def secret_once(path: Path) -> str:
    """The secret in a file, 32 bytes in base64; made if there is no file. Raises KeyFileRefused and OSError."""
    # One that is there was made the time before, which did not come to its end.
    with suppress(FileExistsError):
        _make(path, base64.b64encode(secrets.token_bytes(SEED_BYTES)).decode() + "\n")
    secret = _read(path)
    if not _SECRET.fullmatch(secret):
        raise KeyFileRefused(file=str(path), reason="not 32 bytes in base64")
    return secret


def _make(path: Path, text: str) -> None:
    """Make the file, mode 0600, durably: whole under its name or not at all. Raises FileExistsError."""
    scratch = path.with_name(f".{path.name}.new")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE_MODE)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(scratch, path)
    finally:
        scratch.unlink()
    sync_folder(path.parent)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode) or mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise KeyFileRefused(file=str(path), reason="others may read it: its mode is to be 0600")
        data = file.read(KEY_FILE_BYTES_MAX + 1)
    if len(data) > KEY_FILE_BYTES_MAX:
        raise KeyFileRefused(file=str(path), reason="too long")
    return data.decode("utf-8", errors="replace").strip()
