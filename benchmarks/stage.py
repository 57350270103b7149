"""What the benchmarks over HTTP run against: the API as `make run` starts it, on an embedded PostgreSQL, peopled.

No worker runs: what is measured is the API. The database and the objects lie on the disk the checkout is on.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import itertools
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from uuid import UUID

import psycopg
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from ledger.ids import new_id
from streamcoop import migrate as migrations
from streamcoop.adapters.objects import FolderStore
from streamcoop.catalogue.storage import original_key, rendition_key
from streamcoop.database import with_driver
from streamcoop.embedded import databases, plan, postgres, process
from streamcoop.playback.rule import Meter
from streamcoop.settings import SERVICE_ENV, Settings

BUILD = Path("build")
APP = "streamcoop.app:create_app"
READY_S_MAX = 60.0
READY_POLL_S = 0.05
STOP_STEPS: process.StopSteps = ((process.signal.SIGTERM, 10.0), *process.KILL_STEPS)

WALLET_MICRO = 10**12
BYTES_A_SECOND = 128_000 // 8
"""Of a stream of 128 kbit/s."""
SECONDS = 240
RENDITION_BYTES = SECONDS * BYTES_A_SECOND
"""Every track's rendition: four minutes at a constant rate, without a header."""
METER = Meter(RENDITION_BYTES, 0, SECONDS * 1_000, listen_ms=45_000, free_ms=60_000)
"""Of that, by the rule that settings give without being asked."""
ZIPF_EXPONENT = 1.0

_USER = 'copy coop."user" (id, email, password_hash, name, roles, created_at) from stdin'
_SIGN_IN = "copy coop.sign_in (id, digest, user_id, created_at, expires_at) from stdin with (format text)"
_WALLET = "copy ledger.account (code, kind, asset, owner, balance_micro) from stdin"
_ARTIST = "insert into coop.artist (id, owner_id, name, created_at, words) values (%s, %s, 'Bench', now(), 'bench')"
_RELEASE = """
    insert into coop.release (id, artist_id, title, kind, state, created_at, published_at, words)
    values (%s, %s, 'Bench', 'album', 'published', now(), now(), 'bench')
"""
_TRACK = """
    insert into coop.track (id, release_id, artist_id, position, title, state, duration_ms, original, sha256, format,
                            content_type, lossless, bytes, filename, uploaded_at, tags, attempts, words, release_words)
    values (%s, %s, %s, %s, 'Bench', 'ready', %s, %s, %s, 'mp3', 'audio/mpeg', false, %s, 'bench.mp3', now(), '{}', 0,
            'bench', 'bench')
"""
_RENDITION = """
    insert into coop.rendition (id, track_id, codec, object_key, content_type, size, duration_ms, bitrate, header_bytes)
    values (%s, %s, 'mp3', %s, 'audio/mpeg', %s, %s, 128000, 0)
"""


@dataclass(frozen=True, slots=True)
class Listener:
    """An account that is signed in, with more credits than it can spend."""

    user_id: UUID
    session_id: UUID
    secret: str

    @property
    def headers(self) -> dict[str, str]:
        """What her requests carry."""
        return {"Authorization": f"Bearer {self.secret}", "Content-Type": "application/json"}


@dataclass(frozen=True)
class Stage:
    """A founded co-op with people and tracks. `artist` owns all of the tracks; all of them have the same file."""

    setup: plan.Setup
    settings: Settings
    owner_url: str
    artist: Listener
    listeners: Sequence[Listener]
    tracks: Sequence[UUID]

    @property
    def secret_key(self) -> bytes:
        """What play tokens are sealed with."""
        return base64.b64decode(self.setup.credentials.secret_key)

    @property
    def audio(self) -> Path:
        """The file of the first track's rendition."""
        return self.setup.places.objects / rendition_key(self.tracks[0], "mp3")

    def plays(self, chance: Random) -> Iterator[tuple[Listener, UUID]]:
        """Who plays what, for ever: listeners in turn, so that nobody comes again at once; tracks by Zipf's law."""
        weights = list(itertools.accumulate(1 / rank**ZIPF_EXPONENT for rank in range(1, len(self.tracks) + 1)))
        for listener in itertools.cycle(self.listeners):
            yield listener, chance.choices(self.tracks, cum_weights=weights)[0]


@contextmanager
def stage(seed: int, listeners: int, tracks: int) -> Iterator[Stage]:
    """A database of its own, peopled; gone at the end."""
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=BUILD) as scratch:
        # Where PostgreSQL has to run as another account, that one must get through.
        Path(scratch).chmod(plan.ROOT_FOLDER_MODE)
        setup = plan.make_setup(Path(scratch).resolve(), "127.0.0.1", 0, "operator@bench.example")
        database = postgres.start(setup.places.postgres)
        try:
            urls = databases.bootstrap(database.cluster)
            chosen = {
                "DATABASE_URL": urls.app_url,
                "BROKER_URL": urls.broker_url,
                "OBJECTS_URL": setup.places.objects.as_uri(),
                "CHAIN_RPC_URL": "http://127.0.0.1:1",  # nothing here asks the chain
                "SECRET_KEY": setup.credentials.secret_key,
                # All requests come from one address, and some listeners play more than a person could.
                "REQUESTS_PER_MINUTE_ADDRESS": "0",
                "REQUESTS_PER_MINUTE_ACCOUNT": "0",
            }
            (setup.places.root / SERVICE_ENV).write_text(plan.service_env(chosen), "utf-8")
            settings = Settings(_env_file=setup.places.root / SERVICE_ENV)  # type: ignore[call-arg]
            migrations.migrate(urls.owner_url)
            owner = create_engine(with_driver(urls.owner_url))
            with Session(owner) as session, session.begin():
                migrations.found(session, settings, datetime.now(UTC))
            owner.dispose()
            yield _peopled(Stage(setup, settings, urls.owner_url, *_people(seed, listeners, tracks)))
        finally:
            database.stop()


def _people(seed: int, listeners: int, tracks: int) -> tuple[Listener, list[Listener], list[UUID]]:
    chance = Random(seed)  # noqa: S311  # synthetic data
    artist, *others = [Listener(new_id(), new_id(), f"scs_{chance.randbytes(32).hex()}") for _ in range(listeners + 1)]
    return artist, others, [new_id() for _ in range(tracks)]


def _peopled(made: Stage) -> Stage:
    now = datetime.now(UTC)
    everybody = [made.artist, *made.listeners]
    with psycopg.connect(made.owner_url) as conn, conn.cursor() as cursor:
        with cursor.copy(_USER) as copy:
            for one in everybody:
                copy.write_row((one.user_id, f"{one.user_id}@bench.example", "", "Bench", ["listener", "artist"], now))
        with cursor.copy(_SIGN_IN) as copy:
            for one in everybody:
                digest = hashlib.sha256(one.secret.encode()).digest()
                copy.write_row((one.session_id, digest, one.user_id, now, now.replace(year=now.year + 1)))
        with cursor.copy(_WALLET) as copy:
            for one in made.listeners:
                copy.write_row((f"wallet:{one.user_id}", "wallet", "credit", one.user_id, WALLET_MICRO))
        artist_id, release_id = new_id(), new_id()
        cursor.execute(_ARTIST, (artist_id, made.artist.user_id))
        cursor.execute(_RELEASE, (release_id, artist_id))
        duration_ms = SECONDS * 1_000
        for number, track in enumerate(made.tracks):
            digest = hashlib.sha256(track.bytes).digest()
            of_track = (track, release_id, artist_id, number, duration_ms, original_key(track, "mp3"), digest)
            cursor.execute(_TRACK, (*of_track, RENDITION_BYTES))
            cursor.execute(_RENDITION, (new_id(), track, rendition_key(track, "mp3"), RENDITION_BYTES, duration_ms))
    with psycopg.connect(made.owner_url, autocommit=True) as conn:
        conn.execute("vacuum analyze")
    _record_audio(made)
    return made


def _record_audio(made: Stage) -> None:
    """One file, under the keys of all tracks' renditions; the first track has an original too."""
    audio = made.setup.places.root / "audio"
    audio.write_bytes(Random(RENDITION_BYTES).randbytes(RENDITION_BYTES))  # noqa: S311
    store = FolderStore(made.setup.places.objects)
    first = rendition_key(made.tracks[0], "mp3")
    store.put_file(first, audio, "audio/mpeg")
    store.put_file(original_key(made.tracks[0], "mp3"), audio, "audio/mpeg")
    for track in made.tracks[1:]:
        path = store.local_path(rendition_key(track, "mp3"))
        path.parent.mkdir(parents=True)
        path.hardlink_to(store.local_path(first))


@contextmanager
def server(made: Stage, app: str = APP, environment: Mapping[str, str] | None = None) -> Iterator[tuple[int, int]]:
    """An application under the server and the options that `make run` uses; yields its process id and port."""
    port = plan.ports.any_free()
    command = list(plan.service_commands(made.setup).api)
    command[command.index(APP)] = app
    command[command.index("--port") + 1] = str(port)
    told = plan.child_environment(made.setup.places) | dict(environment or {})
    log = made.setup.places.log("api" if app == APP else "bare")
    with process.open_log(log) as output:
        child = process.spawn(command, output=output, env=told, cwd=plan.source_root())
    try:
        wait_until_answers(port, child, log)
        yield child.pid, port
    finally:
        process.stop(child, STOP_STEPS)


def wait_until_answers(port: int, child: process.Child, log: Path) -> None:
    """Return once a server answers on `port`, whatever it says; raises RuntimeError if it does not."""
    deadline = time.monotonic() + READY_S_MAX
    while child.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_S_MAX)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
            return
        except OSError:
            time.sleep(READY_POLL_S)
        finally:
            connection.close()
    raise RuntimeError(f"no server on port {port}:\n{process.last_lines(log)}")


def resident_bytes(pid: int) -> int:
    """Memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
