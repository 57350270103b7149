"""A passkey in software: what a browser and an authenticator would answer, with ES256 keys and attestation "none"."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from fido2 import cbor
from fido2.cose import ES256
from fido2.utils import websafe_decode, websafe_encode

USER_PRESENT, USER_VERIFIED, ATTESTED = 0x01, 0x04, 0x40
CREDENTIAL_ID_BYTES = 32
NO_AAGUID = b"\0" * 16


@dataclass
class Authenticator:
    """One credential for one site. What it is asked it does; what it answers can be spoilt beforehand."""

    origin: str = "http://localhost:8000"
    rp_id: str = "localhost"
    is_verifying: bool = True
    counter: int = 1
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(CREDENTIAL_ID_BYTES))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def made(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to `navigator.credentials.create`."""
        client_data = self._client_data("webauthn.create", options["challenge"])
        public_key = cbor.encode(dict(ES256.from_cryptography_key(self.key.public_key())))
        credential = NO_AAGUID + len(self.credential_id).to_bytes(2, "big") + self.credential_id + public_key
        attestation = {"fmt": "none", "attStmt": {}, "authData": self._data(ATTESTED) + credential}
        told = websafe_encode(cbor.encode(attestation))
        return self._answer({"clientDataJSON": websafe_encode(client_data), "attestationObject": told})

    def signed(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to `navigator.credentials.get`. The counter goes on by one."""
        client_data = self._client_data("webauthn.get", options["challenge"])
        self.counter += 1
        data = self._data(0)
        signature = self.key.sign(data + hashlib.sha256(client_data).digest(), ec.ECDSA(SHA256()))
        response = {
            "clientDataJSON": websafe_encode(client_data),
            "authenticatorData": websafe_encode(data),
            "signature": websafe_encode(signature),
        }
        return self._answer(response)

    def signed_digest(self, digest: bytes) -> dict[str, Any]:
        """The same, over a digest without any options."""
        return self.signed({"challenge": websafe_encode(digest)})

    def _client_data(self, kind: str, challenge: str) -> bytes:
        websafe_decode(challenge)
        told = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}
        return json.dumps(told, separators=(",", ":")).encode()

    def _data(self, more: int) -> bytes:
        flags = USER_PRESENT | more | (USER_VERIFIED if self.is_verifying else 0)
        return hashlib.sha256(self.rp_id.encode()).digest() + bytes([flags]) + self.counter.to_bytes(4, "big")

    def _answer(self, response: dict[str, str]) -> dict[str, Any]:
        told = websafe_encode(self.credential_id)
        return {"id": told, "rawId": told, "type": "public-key", "response": response, "clientExtensionResults": {}}
