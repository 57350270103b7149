"""The media worker when things go wrong: killed anywhere, twice at once, without its store, its broker or its luck."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from kombu import Connection
from pydantic import SecretStr

from streamcoop import work
from streamcoop.adapters import audio
from streamcoop.adapters.audio_formats import Format
from streamcoop.catalogue import receiving, rendering, scratch, storage, uploads
from streamcoop.database import transaction
from streamcoop.settings import settings
from tests.adapters import audio_files
from tests.catalogue.studio import Studio

Sources = dict[Format, Path]


class Killed(BaseException):
    """Ends a worker as SIGKILL does: nothing of ours handles it."""


@pytest.fixture
def track(studio: Studio, sources: Sources) -> str:
    """A track that waits to be rendered."""
    return studio.uploaded(studio.release(), sources["mp3"])


def renditions(studio: Studio, track_id: str) -> list[str]:
    rows = studio.rows("select codec from coop.rendition where track_id = :id order by codec", id=track_id)
    return [row.codec for row in rows]


def kill_at(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, call: int) -> None:
    """The worker is killed at the n-th call of this function."""
    calls, original = iter(range(1, 1_000)), getattr(module, name)

    def killed(*args: Any, **named: Any) -> Any:
        if next(calls) == call:
            raise Killed
        return original(*args, **named)

    monkeypatch.setattr(module, name, killed)


@pytest.mark.parametrize(
    ("module", "name", "call", "done"),
    [
        (audio, "inspect", 1, []),
        (audio, "render", 1, []),
        (rendering, "add_rendition", 1, []),
        (audio, "render", 2, ["mp3"]),
        (rendering, "add_rendition", 2, ["mp3"]),
        (rendering, "add_rendition", 3, ["mp3", "opus"]),
        (rendering, "finish", 1, ["mp3", "opus", "preview"]),
    ],
)
def test_a_killed_worker_is_followed_by_another(
    studio: Studio, track: str, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, call: int, done: list[str]
) -> None:
    with monkeypatch.context() as killing:
        kill_at(killing, module, name, call)
        with pytest.raises(Killed):
            studio.worker.render(track)
    assert renditions(studio, track) == done
    # While the dead worker's lease lasts, nobody takes the track and nobody is asked to.
    studio.asked.clear()
    studio.worker.render(track)
    studio.worker.sweep()
    assert (studio.track(track)["state"], studio.asked) == ("processing", [])

    studio.clock.advance(seconds=rendering.LEASE.total_seconds() + 1)
    studio.worker.sweep()
    assert studio.asked == [UUID(track)]
    studio.worker.sweep()
    assert studio.asked == [UUID(track)]
    studio.worker.render(track)
    assert studio.track(track)["state"] == "ready"
    assert renditions(studio, track) == ["mp3", "opus", "preview"]
    assert studio.scratch() == []


def test_a_lease_taken_by_a_clock_that_was_ahead_does_not_last_as_long(
    studio: Studio, track: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio.clock.advance(days=3)
    with monkeypatch.context() as killing:
        kill_at(killing, audio, "render", 1)
        with pytest.raises(Killed):
            studio.worker.render(track)
    studio.clock.advance(days=-3)
    studio.asked.clear()
    studio.worker.sweep()
    assert studio.asked == [UUID(track)]
    studio.worker.render(track)
    assert studio.track(track)["state"] == "ready"


def test_an_object_that_is_being_deleted_cannot_be_kept(studio: Studio) -> None:
    at = studio.clock.now()
    with transaction() as session:
        storage.discard(session, ["artwork/one", "artwork/two"], at)
    with transaction() as session:
        # By a clock that is ahead.
        assert storage.due(session, at + 2 * storage.DISCARD_AFTER, 1) == ["artwork/one"]
    with transaction() as session:
        assert not storage.keep(session, "artwork/one")
        assert storage.keep(session, "artwork/two")
    with transaction() as session:
        assert storage.due(session, at, 2) == ["artwork/one"]


def test_a_lease_is_renewed_while_ffmpeg_runs(studio: Studio, track: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studio.worker, "RENEW_EVERY_S", 0.001)
    original = audio.render
    claimed_until = []

    def slow(*args: Any, **named: Any) -> Any:
        (row,) = studio.rows("select leased_until from coop.track")
        claimed_until.append(row.leased_until)
        studio.clock.advance(minutes=10)
        while studio.rows("select leased_until from coop.track")[0].leased_until == row.leased_until:
            pass
        return original(*args, **named)

    monkeypatch.setattr(audio, "render", slow)
    studio.worker.render(track)
    assert len(claimed_until) == 2
    assert claimed_until[1] - claimed_until[0] >= timedelta(minutes=9)
    assert studio.track(track)["state"] == "ready"


def test_a_worker_thought_dead_changes_nothing(studio: Studio, track: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = audio.render

    def overtaken(*args: Any, **named: Any) -> Any:
        monkeypatch.setattr(audio, "render", original)
        made = original(*args, **named)
        studio.clock.advance(seconds=rendering.LEASE.total_seconds() + 1)
        studio.worker.render(track)
        return made

    monkeypatch.setattr(audio, "render", overtaken)
    studio.worker.render(track)
    assert studio.track(track)["state"] == "ready"
    assert studio.rows("select attempts from coop.track")[0].attempts == 2
    assert renditions(studio, track) == ["mp3", "opus", "preview"]


def test_a_track_deleted_while_it_is_rendered_leaves_nothing(
    studio: Studio, track: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = audio.clip

    def deleting(*args: Any, **named: Any) -> Any:
        assert studio.call("DELETE", f"/tracks/{track}", studio.owner).status_code == 204
        return original(*args, **named)

    monkeypatch.setattr(audio, "clip", deleting)
    studio.worker.render(track)
    studio.clock.advance(hours=3)
    studio.worker.sweep()
    assert not [key for key in studio.objects() if key.startswith("tracks/")]
    assert studio.rows("select * from coop.track union all select * from coop.track") == []


def test_rendering_twice_does_nothing_twice(studio: Studio, track: str) -> None:
    studio.worker.render(track)
    before = studio.rows("select * from coop.rendition order by id")
    studio.worker.render(track)
    assert studio.rows("select * from coop.rendition order by id") == before


def test_a_leftover_object_of_another_ffmpeg_is_replaced(studio: Studio, track: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"what another ffmpeg made")
    studio.store.put_file(storage.rendition_key(UUID(track), "mp3"), other, "audio/mpeg")
    studio.worker.render(track)
    (row,) = studio.rows("select * from coop.rendition where codec = 'mp3'")
    assert studio.store.size(row.object_key) == row.size


def test_a_store_that_is_away_puts_the_work_off_and_at_last_fails_it(studio: Studio, track: str) -> None:
    studio.store.is_away = True
    studio.worker.render(track)
    assert studio.track(track)["state"] == "processing"
    studio.worker.render(track)
    assert studio.rows("select attempts from coop.track")[0].attempts == 1
    studio.clock.advance(minutes=2)
    studio.store.is_away = False
    studio.asked.clear()
    studio.worker.sweep()
    assert studio.asked == [UUID(track)]
    studio.store.is_away = True
    for _ in range(rendering.ATTEMPTS_MAX):
        studio.worker.render(track)
        studio.clock.advance(days=1)
    told = studio.track(track)
    assert (told["state"], told["upload"]["problem"]["type"]) == ("failed", "/problems/not-rendered")
    assert studio.rows("select attempts from coop.track")[0].attempts == rendering.ATTEMPTS_MAX


def test_a_file_that_kills_its_workers_fails(studio: Studio, track: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(*_: Any, **__: Any) -> Any:
        raise Killed

    monkeypatch.setattr(audio, "render", kill)
    for _ in range(rendering.ATTEMPTS_MAX):
        with pytest.raises(Killed):
            studio.worker.render(track)
        studio.clock.advance(hours=1)
    studio.worker.render(track)
    assert studio.track(track)["upload"]["problem"]["type"] == "/problems/not-rendered"


def test_what_costs_too_much_is_tried_again_then_refused(
    studio: Studio, track: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def costly(*_: Any, **__: Any) -> Any:
        raise audio.AudioTooCostly

    monkeypatch.setattr(audio, "render", costly)
    for _ in range(rendering.ATTEMPTS_MAX):
        assert studio.track(track)["state"] == "processing"
        studio.worker.render(track)
        studio.clock.advance(days=1)
    assert studio.track(track)["upload"]["problem"]["type"] == "/problems/audio-too-costly"


def test_a_lost_message_is_repeated(studio: Studio, track: str) -> None:
    studio.asked.clear()
    studio.worker.sweep()
    assert studio.asked == []
    studio.clock.advance(minutes=1)
    studio.worker.sweep()
    assert studio.asked == [UUID(track)]
    studio.clock.advance(minutes=11)
    studio.worker.sweep()
    assert studio.asked == [UUID(track)] * 2


@pytest.mark.parametrize("is_stored", [True, False])
def test_an_upload_whose_server_died_is_ended(
    studio: Studio, sources: Sources, monkeypatch: pytest.MonkeyPatch, is_stored: bool
) -> None:
    """Killed after the object was put, or before: the row goes on, or goes."""
    release_id = studio.release()
    with transaction() as session:
        received = receiving.Received(sources["mp3"], sources["mp3"].stat().st_size, bytes(32))
        about = audio.inspect(sources["mp3"])
        row = uploads.intend(
            session, studio.owner.user_id, UUID(release_id), received, about, "a.mp3", studio.clock.now()
        )
    if is_stored:
        studio.store.put_file(row.original, sources["mp3"], row.content_type)
    studio.worker.sweep()
    assert studio.rows("select state from coop.track")[0].state == "storing"
    studio.clock.advance(minutes=16)
    studio.worker.sweep()
    studio.clock.advance(hours=3)
    studio.worker.sweep()
    if is_stored:
        assert studio.asked
        studio.worker.render(str(row.id))
        assert studio.track(str(row.id))["state"] == "ready"
    else:
        assert studio.kept() == (0, set(), [])
    assert studio.rows("select * from coop.discarded_object") == []


def test_an_upload_whose_server_died_is_completed_by_sending_it_again(studio: Studio, sources: Sources) -> None:
    release_id, path = studio.release(), sources["mp3"]
    received = receiving.Received(path, path.stat().st_size, hashlib.sha256(path.read_bytes()).digest())
    about = audio.inspect(path)
    with transaction() as session:
        begun = uploads.intend(
            session, studio.owner.user_id, UUID(release_id), received, about, "a.mp3", studio.clock.now()
        )
    assert studio.uploaded(release_id, path) == str(begun.id)
    studio.worker.render(str(begun.id))
    assert studio.track(str(begun.id))["state"] == "ready"


def test_an_object_put_for_nobody_is_deleted(studio: Studio, sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweeper took the upload for dead while its object was still on its way."""
    studio.store.before_put = lambda key: studio.execute("delete from coop.track where original = :key", key=key)
    answer = studio.upload(studio.release(), sources["opus"])
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/storage-unavailable")
    studio.clock.advance(hours=3)
    studio.worker.sweep()
    assert not [key for key in studio.objects() if key.startswith("tracks/")]


def test_files_left_by_killed_processes_go(studio: Studio) -> None:
    folder = studio.folder / "scratch"
    (folder / "render-old").mkdir(parents=True)
    (folder / "upload-old").touch()
    (folder / "upload-new").touch()
    for name in ("render-old", "upload-old"):
        os.utime(folder / name, (0, 0))
    studio.worker.sweep()
    assert studio.scratch() == ["upload-new"]
    shutil.rmtree(folder)


def test_a_clock_set_forward_takes_no_file_from_an_upload_or_a_rendering_under_way(
    studio: Studio, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[str] = []

    def after_a_sweep(name: str) -> Callable[..., Any]:
        original = getattr(audio, name)

        def reading(*args: Any, **named: Any) -> Any:
            scratch.sweep(studio.clock.now())
            swept.append(name)
            return original(*args, **named)

        return reading

    for name in ("inspect", "render", "clip"):
        monkeypatch.setattr(audio, name, after_a_sweep(name))
    studio.clock.advance(days=3)
    track_id = studio.uploaded(studio.release(), sources["mp3"])
    studio.worker.render(track_id)
    assert studio.track(track_id)["state"] == "ready"
    assert swept == ["inspect", "inspect", "render", "render", "clip"]
    assert studio.scratch() == []


def test_a_request_reaches_the_broker(studio: Studio) -> None:
    # The fixture's stand-in took the function's place in the module; this is the function.
    assert studio.really_ask(work.RENDER, UUID(int=1))
    with Connection(settings().broker_url.get_secret_value()) as broker, broker.SimpleQueue("media") as queue:
        message = queue.get(timeout=5)
        message.ack()
    assert message.headers["task"] == work.RENDER == studio.worker.render.name
    assert message.payload[0] == [str(UUID(int=1))]


def test_a_broker_that_is_away_is_borne(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings(), "broker_url", SecretStr("amqp://guest@127.0.0.1:1//"))
    work._sender.cache_clear()
    assert not studio.really_ask(work.RENDER, UUID(int=1))


def test_a_very_short_recording_has_a_preview(studio: Studio, tmp_path: Path) -> None:
    path = audio_files.converted(tmp_path, "short.wav", "-t", "0.2")
    track_id = studio.uploaded(studio.release(), path)
    studio.worker.render(track_id)
    assert studio.track(track_id)["state"] == "ready"
