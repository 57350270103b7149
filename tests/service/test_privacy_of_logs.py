"""What logs, exceptions, process lists and files must not tell, after all that the other tests have done."""

from __future__ import annotations

import json
import logging
import os
import re
import stat
import sys
from contextlib import suppress
from secrets import token_hex

import psutil
import psycopg
import pytest
from psycopg import errors

from streamcoop.demo.client import until
from streamcoop.logs import WITHHELD, JsonLines
from streamcoop.settings import SERVICE_ENV
from tests.service.coop import PRICES_MICRO, WAIT_S_MAX, Coop, read
from tests.whole_service import supervisor_of

# Where there are two of a part, they are numbered.
PARTS = {"api", "credits", "worker", "media", "beat", "postgres", "migrate"}
_WORDS = re.compile(r"[A-Za-z0-9_.@+-]+")
_SECRET = re.compile(r"\b(?:scs|sct)_[A-Za-z0-9_-]{20,}")


def test_no_log_holds_a_secret_an_address_or_who_played_what(coop: Coop) -> None:
    track = coop.a_published_track(3.0)
    listener = coop.a_listener(PRICES_MICRO[0])
    device = listener.api_token()
    device.pay(track)
    device.hear(device.open(track))
    device.hear({"stream_url": f"/stream/{device.open(track)['play_token']}/more"})
    listener.http.get("/api/v1/me", headers={"Authorization": "Bearer scs_" + "x" * 43})
    coop.visitor.post("/api/v1/users", json={"email": listener.email, "password": listener.password, "name": "Twin"})
    coop.settled(listener)

    _provoke_errors(coop)

    traces, secrets = coop.traces, coop.settings.secrets()
    logs = sorted((coop.service.data_dir / "logs").glob("*.log*"))
    assert {re.split(r"[-.]", log.name)[0] for log in logs} >= PARTS
    assert len(secrets) >= 5
    for log in logs:
        text = read(log)
        words = set(_WORDS.findall(text))
        assert not words & traces.secrets, f"{log.name} holds a secret"
        assert not [secret for secret in secrets if secret in text], f"{log.name} holds a secret of the service's"
        assert not words & traces.emails, f"{log.name} holds an e-mail address"
        assert "people.streamcoop.example" not in text, f"{log.name} holds an e-mail address"
        assert not _SECRET.search(text), f"{log.name} holds a session's or token's secret"
        for line in text.splitlines():
            said = set(_WORDS.findall(line))
            assert not (said & traces.listeners and said & traces.tracks), f"{log.name} tells who played what: {line}"


def _provoke_errors(coop: Coop) -> None:
    """What goes wrong is logged at most length: by PostgreSQL about a row, and by all who lose their connections."""
    person = coop.a_listener()
    values = (person.id, person.email, "hash", "name", ["listener"])
    url = coop.settings.database_url.get_secret_value()
    with psycopg.connect(url, autocommit=True) as conn:
        statement = 'insert into coop."user" values (%s, %s, %s, %s, %s, now())'
        with pytest.raises(errors.UniqueViolation):
            conn.execute(statement, values)
        conn.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = current_user and pid <> %s",
            (conn.info.backend_pid,),
        )
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url.replace("@", "x@", 1))
    until(lambda: True if person.http.get("/api/v1/wallet").is_success else None, "new connections", WAIT_S_MAX)
    postgres = coop.service.data_dir / "logs" / "postgres.log"
    until(lambda: True if "duplicate key value" in read(postgres) else None, "the error in the log", WAIT_S_MAX)


def test_an_access_log_names_routes_and_not_addresses(coop: Coop) -> None:
    text = "".join(read(log) for log in (coop.service.data_dir / "logs").glob("api*.log"))
    assert "/stream/{play_token}" in text
    assert not re.search(r"/stream/[A-Za-z0-9_-]{20,}", text)
    assert not re.search(r"/tracks/[0-9a-f]{8}-", text)


def test_no_secret_stands_in_a_command_line(coop: Coop) -> None:
    secrets = coop.settings.secrets() | {coop.service.operator_password}
    supervisor = supervisor_of(coop.service)
    lines = []
    for process in [supervisor, *supervisor.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            lines.append(" ".join(process.cmdline()))
    assert len(lines) > len(PARTS)
    assert not [line for line in lines if any(secret in line for secret in secrets)]


def test_files_that_hold_secrets_and_logs_are_for_their_owner_alone(coop: Coop) -> None:
    folder = coop.service.data_dir
    private = [folder / SERVICE_ENV, folder / "running.json", *(folder / "logs").iterdir()]
    private += (folder / "secrets").iterdir()
    assert len(private) > 10
    for path in private:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
        assert path.stat().st_uid == os.geteuid()
    assert stat.S_IMODE((folder / "secrets").stat().st_mode) == 0o700


def test_settings_do_not_show_their_secrets(coop: Coop) -> None:
    settings = coop.settings.model_copy(update={"chain_rpc_url": "https://rpc.example/v3/a-key-of-a-provider"})
    secrets = settings.secrets()
    assert "v3/a-key-of-a-provider" in secrets
    assert settings.secret_key.get_secret_value() in secrets
    for shown in (repr(settings), str(settings)):
        assert not [secret for secret in secrets if secret in shown]


def test_a_secret_that_an_exception_carries_is_withheld_from_the_log() -> None:
    core = token_hex(8)
    # The longer one holds the other, and JSON writes a quotation mark in another way.
    secret, longer = core, f'{core}"{token_hex(8)}'
    try:
        raise ValueError(f"cannot connect to postgresql://user:{longer}@host")
    except ValueError:
        record = logging.LogRecord("a", logging.ERROR, __file__, 1, "failed with %s", (secret,), sys.exc_info())
    record.address = f"amqp://{secret}@host"
    line = JsonLines({secret, longer}).format(record)
    assert core not in line
    assert longer[-16:] not in line
    told = json.loads(line)
    assert told["event"] == f"failed with {WITHHELD}"
    assert told["exception"].endswith(f"user:{WITHHELD}@host")
