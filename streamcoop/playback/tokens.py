"""Play tokens: opaque, encrypted and authenticated, bound to a listener and her session.

Opening a play writes nothing; all that was promised stands in the token, and all that streaming and
recording it need, so that neither looks the track up again. Being ciphertext, it can stand in an
address without telling an access log who listens to what.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import struct
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Literal
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ledger.errors import DomainError
from ledger.ids import minted_ms
from ledger.recording import Kind
from streamcoop.playback.rule import Meter
from streamcoop.problems import register

Codec = Literal["mp3", "opus"]

TOKEN_LENGTH_MAX = 300
_DAY_MS = 86_400_000
_FORM = struct.Struct(">BBBxH16s16s16s16sqqqIIII")
_FORM_VERSION = 2
_NONCE_BYTES = 12
_KINDS: tuple[Kind, ...] = ("play", "buyout")
_CODECS: tuple[Codec, ...] = ("mp3", "opus")


class PlayTokenRefused(DomainError):
    """This play token is not valid here: open the play again."""


class PlayTokenExpired(DomainError):
    """This play token has expired: open the play again."""


register({PlayTokenRefused: HTTPStatus.FORBIDDEN, PlayTokenExpired: HTTPStatus.GONE})


@dataclass(frozen=True, slots=True)
class PlayToken:
    """What was promised when a play was opened. `price_micro` = 0: not metered (owned, or the listener's own).

    `meter` measures the rendition of `codec`, which never changes, by the listening rule of the epoch of the opening.
    """

    kind: Kind
    codec: Codec
    ordinal: int
    play_id: UUID
    listener_id: UUID
    session_id: UUID
    track_id: UUID
    price_micro: int
    expires_ms: int
    meter: Meter

    @property
    def opened_ms(self) -> int:
        """When the play was opened (its id was minted then), in milliseconds since 1970."""
        return minted_ms(self.play_id)

    @property
    def counts_from_ms(self) -> int:
        """When the play begins to count: T after its opening, a buy-out at once."""
        return self.opened_ms + (self.meter.listen_ms if self.kind == "play" else 0)

    @property
    def metered(self) -> bool:
        """Whether this play has a price."""
        return self.price_micro > 0


@lru_cache(maxsize=8)
def _cipher(secret_key: bytes, day: int) -> AESGCM:
    """A key a day, so that random nonces never come near their limit under one key (NIST SP 800-38D, 8.3)."""
    derived = HKDF(SHA256(), 32, salt=None, info=b"streamcoop play token %d" % day).derive(secret_key)
    return AESGCM(derived)


def seal(token: PlayToken, secret_key: bytes) -> str:
    """The token as its holder gets it."""
    form = _FORM.pack(
        _FORM_VERSION,
        _KINDS.index(token.kind),
        _CODECS.index(token.codec),
        token.ordinal,
        token.play_id.bytes,
        token.listener_id.bytes,
        token.session_id.bytes,
        token.track_id.bytes,
        token.price_micro,
        token.expires_ms,
        token.meter.size,
        token.meter.header_bytes,
        token.meter.duration_ms,
        token.meter.listen_ms,
        token.meter.free_ms,
    )
    day = token.opened_ms // _DAY_MS
    header = day.to_bytes(4, "big") + secrets.token_bytes(_NONCE_BYTES)
    sealed = header + _cipher(secret_key, day).encrypt(header[4:], form, header)
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def unseal(text: str, secret_key: bytes, now_ms: int) -> PlayToken:
    """The token behind `text`. Raises PlayTokenRefused for a forgery and PlayTokenExpired for one past its time."""
    if len(text) > TOKEN_LENGTH_MAX:
        raise PlayTokenRefused
    try:
        sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        header, rest = sealed[: 4 + _NONCE_BYTES], sealed[4 + _NONCE_BYTES :]
        day = int.from_bytes(header[:4], "big")
        if not -1 <= now_ms // _DAY_MS - day <= 31:
            raise PlayTokenExpired
        form = _cipher(secret_key, day).decrypt(header[4:], rest, header)
        version, kind, codec, ordinal, play, listener, session, track, price_micro, expires_ms, *measures = (
            _FORM.unpack(form)
        )
    except (InvalidTag, ValueError, binascii.Error, struct.error) as forged:
        raise PlayTokenRefused from forged
    if version != _FORM_VERSION:
        raise PlayTokenRefused
    if now_ms >= expires_ms:
        raise PlayTokenExpired
    return PlayToken(
        kind=_KINDS[kind],
        codec=_CODECS[codec],
        ordinal=ordinal,
        play_id=UUID(bytes=play),
        listener_id=UUID(bytes=listener),
        session_id=UUID(bytes=session),
        track_id=UUID(bytes=track),
        price_micro=price_micro,
        expires_ms=expires_ms,
        meter=Meter(*measures),
    )
