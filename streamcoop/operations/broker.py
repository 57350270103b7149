"""How full the broker's queues are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit, urlunsplit

import psycopg
from kombu.connection import Connection
from psycopg import sql

from streamcoop.work import QUEUES

COUNT_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Queue:
    """Messages that no worker has taken yet, counted up to COUNT_MAX where counting costs; RabbitMQ tells no age."""

    name: str
    messages: int
    oldest_at: datetime | None


def queues(broker_url: str, timeout_s: int) -> list[Queue]:
    """The workers' queues. One that nobody has used yet is empty. Raises whatever the transport raises."""
    if broker_url.startswith("pgmq:"):
        return _in_postgres(urlunsplit(urlsplit(broker_url)._replace(scheme="postgresql")), timeout_s)
    return _by_transport(broker_url, timeout_s)


def _in_postgres(url: str, timeout_s: int) -> list[Queue]:
    found = []
    with psycopg.connect(
        url, autocommit=True, connect_timeout=timeout_s, options=f"-c statement_timeout={timeout_s}s"
    ) as conn:
        known = {name for (name,) in conn.execute("select queue_name from pgmq.meta")}
        for name in QUEUES:
            messages, oldest_at = 0, None
            if name in known:
                statement = sql.SQL(
                    "select count(*), min(enqueued_at) from"
                    " (select enqueued_at from {} where vt <= now() order by msg_id limit %s) as counted"
                ).format(sql.Identifier("pgmq", f"q_{name}"))
                messages, oldest_at = conn.execute(statement, (COUNT_MAX,)).fetchone() or (0, None)
            found.append(Queue(name, messages, oldest_at.astimezone(UTC) if oldest_at else None))
    return found


def _by_transport(url: str, timeout_s: int) -> list[Queue]:
    found = []
    with Connection(url, connect_timeout=timeout_s) as conn:  # type: ignore[no-untyped-call]
        conn.ensure_connection(max_retries=1, timeout=timeout_s)
        for name in QUEUES:
            # A queue that is not there costs the channel it was asked on.
            channel = conn.channel()
            try:
                messages = channel.queue_declare(name, passive=True).message_count
            except conn.channel_errors:
                messages = 0
            else:
                channel.close()
            found.append(Queue(name, messages, None))
    return found
