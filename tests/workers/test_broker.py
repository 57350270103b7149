"""The embedded broker loses its connections now and then; a worker goes on all the same."""

from __future__ import annotations

import secrets

import psycopg
import pytest
from kombu import Connection, Queue

from streamcoop.demo.client import until
from streamcoop.embedded.temporary import Service
from tests.whole_service import setting

DELIVERED_S_MAX = 10.0
TRANSPORT = "workers.broker:Transport"


def test_a_message_that_could_not_be_acknowledged_does_not_keep_the_next_one_away(service: Service) -> None:
    url, queue = setting(service, "BROKER_URL"), f"deaf_{secrets.token_hex(4)}"
    if not url.startswith("pgmq:"):
        pytest.skip("another broker")
    with Connection(url, transport=TRANSPORT, transport_options={"init_extension": False}) as broker:
        channel = broker.channel()
        channel.basic_qos(0, 1, False)
        received = []
        consumer = broker.Consumer(
            Queue(queue, routing_key=queue), channel=channel, callbacks=[lambda _, message: received.append(message)]
        )
        producer = broker.Producer()
        for word in ("first", "second"):
            producer.publish(word, routing_key=queue, declare=[Queue(queue, routing_key=queue)])
        with consumer:
            until(lambda: _next(broker, received), "the first message", DELIVERED_S_MAX)
            _cut_all_connections(url)
            with pytest.raises(psycopg.OperationalError):
                received.pop().ack()
            until(lambda: _next(broker, received), "the second message", DELIVERED_S_MAX)
            assert received.pop().payload == "second"
        channel._delete(queue)


def _next(broker: Connection, received: list[object]) -> bool | None:
    try:
        broker.drain_events(timeout=1)
    except (TimeoutError, psycopg.OperationalError):
        return None
    return bool(received) or None


def _cut_all_connections(url: str) -> None:
    with psycopg.connect(url.replace("pgmq://", "postgresql://", 1)) as conn:
        conn.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where usename = current_user and pid <> pg_backend_pid()"
        )
