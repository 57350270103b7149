"""A member's own wallet, as a browser's would answer: it signs texts (EIP-191) and typed data (EIP-712)."""

from __future__ import annotations

from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount

from streamcoop.demo.client import Json, Person


class Wallet:
    """A key of her own, made for her membership and used for nothing else."""

    def __init__(self) -> None:
        self._account: LocalAccount = Account.create()

    @property
    def address(self) -> str:
        """Where her membership will stand."""
        return str(self._account.address)

    def proof(self, owner: Person) -> Json:
        """What shows the service that the address is hers: its own text, signed."""
        message = owner.post("/api/v1/membership/wallet/challenge", {"address": self.address})["message"]
        signed = self._account.sign_message(encode_defunct(text=message))
        return {"message": message, "signature": signed.signature.to_0x_hex()}

    def signed(self, typed_data: Json) -> str:
        """A signature of typed data, as `eth_signTypedData_v4` gives it."""
        return str(self._account.sign_typed_data(full_message=typed_data).signature.to_0x_hex())
