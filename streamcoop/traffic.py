"""How much one address or one account may ask of a process in a minute, so that nobody can keep it from the others."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Hashable
from functools import lru_cache
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from ledger.errors import DomainError
from streamcoop.problems import document, register

MINUTE_S = 60.0
# The least recently seen are forgotten beyond it: some 10 MB, and an attacker with more addresses gains nothing
# that the addresses alone do not give him.
KNOWN_MAX = 50_000
# What one customer of a provider is given: the addresses within are hers to choose from.
IPV6_NETWORK_BITS = 64
# Reading one costs four times as much as all the rest.
ADDRESSES_READ_MAX = 4_096


class TooManyRequests(DomainError):
    """You are asking faster than this service answers one person: wait, then go on more slowly."""


register({TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS})


class Allowance:
    """So many requests at once for each key, given back evenly over a minute. 0 is no limit.

    Of a key it keeps one number: the instant at which all of its allowance will be there again.
    """

    def __init__(self, per_minute: int) -> None:
        self._each_s = MINUTE_S / per_minute if per_minute else 0.0
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def take(self, key: Hashable, now_s: float) -> None:
        """One request at `now_s` (monotonic). Raises TooManyRequests; a refused one is not counted."""
        if not self._each_s:
            return
        full_at = max(self._full_at.get(key, 0.0), now_s) + self._each_s
        if full_at > now_s + MINUTE_S:
            raise TooManyRequests(retry_after_s=math.ceil(full_at - now_s - MINUTE_S))
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > KNOWN_MAX:
            self._full_at.popitem(last=False)


@lru_cache(maxsize=ADDRESSES_READ_MAX)
def network_of(host: str) -> str:
    """What counts as one address: an IPv4 address, or an IPv6 network of 64 bits. Anything else is taken as it is."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return str(IPv6Address(int(address) >> IPV6_NETWORK_BITS << IPV6_NETWORK_BITS))
        address = address.ipv4_mapped
    return str(address)


class AddressLimit:
    """Refuses an address that has used up its allowance. Pure ASGI: a stream passes through it once, not by the block.

    The address is the peer's; behind a proxy it is the one the proxy names, if the server trusts it
    (`streamcoop serve --trusted-proxies`, uvicorn's FORWARDED_ALLOW_IPS). A peer without an address, on a UNIX socket,
    is not limited.
    """

    def __init__(self, app: ASGIApp, per_minute: int) -> None:
        self.app = app
        self._allowance = Allowance(per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 429."""
        if scope["type"] == "http" and scope["client"]:
            try:
                self._allowance.take(network_of(scope["client"][0]), time.monotonic())
            except TooManyRequests as refused:
                await document(refused)(scope, receive, send)
                return
        await self.app(scope, receive, send)
