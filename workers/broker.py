"""The pgmq transport as workers use it: a message that could not be acknowledged does not make a worker deaf."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu.transport import pgmq


class Channel(pgmq.Channel):
    """kombu's, but a message whose acknowledgement was lost is let go: it is delivered again in its own time.

    As long as it counted as one that the worker holds, the worker would be given no other: for ever, since the
    connection is mended beneath the channel and nothing begins anew.
    """

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """The task is done."""
        with self._letting_go(delivery_tag):
            super().basic_ack(delivery_tag, multiple)  # type: ignore[no-untyped-call]

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """The task is not done here."""
        with self._letting_go(delivery_tag):
            super().basic_reject(delivery_tag, requeue)  # type: ignore[no-untyped-call]

    @contextmanager
    def _letting_go(self, delivery_tag: str) -> Iterator[Any]:
        try:
            yield
        except BaseException:
            self.qos.ack(delivery_tag)
            raise


class Transport(pgmq.Transport):
    """kombu's, with this channel."""

    Channel = Channel
