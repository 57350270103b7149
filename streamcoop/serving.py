"""The API as a process behind a proxy: uvicorn, stopped without losing a request that was already sent to it."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import uvicorn

# From a connection's acceptance to its request's last byte on the way from a proxy beside us.
ARRIVAL_S = 1.0


class Server(uvicorn.Server):
    """Uvicorn resets what waits to be accepted and closes what has not yet been read from; this one serves both first.

    From its SIGTERM on, new connections are refused, which sends a proxy on to the next process.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._listening = config.bind_socket()

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until SIGINT or SIGTERM."""
        # The loop closes its own; ours keeps the queue of connections alive until it has been emptied.
        super().run(sockets=[self._listening.dup(), *(sockets or [])])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept what waits, stop listening, let requests on their way arrive; then as uvicorn does."""
        for server in self.servers:
            server.close()
        with suppress(BlockingIOError):
            while True:
                connection, _ = self._listening.accept()
                await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        self._listening.close()
        await asyncio.sleep(ARRIVAL_S)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol


def serve(host: str, port: int, grace_s: int, trusted_proxies: str) -> None:
    """Serve the API until SIGINT or SIGTERM; what is under way then has `grace_s` seconds to end.

    The addresses that `trusted_proxies` lists (or `*`: all) are believed whom they forward for.
    """
    config = uvicorn.Config(
        "streamcoop.app:create_app",
        factory=True,
        host=host,
        port=port,
        access_log=False,
        timeout_graceful_shutdown=grace_s,
        forwarded_allow_ips=trusted_proxies,
    )
    Server(config).run()
