"""Mutated uploads: each is taken or refused in the catalogue's own words, in time and without swelling the service."""

from __future__ import annotations

import io
import tempfile
import time
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from PIL import Image

from streamcoop.adapters import audio, audio_tags
from streamcoop.catalogue import uploads
from streamcoop.demo.client import REQUEST_S_MAX, Json, Person, until
from streamcoop.embedded.temporary import Service
from streamcoop.problems import status_of
from tests.fuzz import files
from tests.fuzz.campaign import Campaign, require
from tests.whole_service import draft_of, somebody, supervisor_of

INSPECTION_S_MAX = audio.PROBE_LIMITS.wall_s + 15
DURATION_S_MAX = 600
THREADS = 2
"""Inspections at once: their children are what costs."""
OWN_GROWTH_BYTES_MAX = 96 << 20
SERVICE_GROWTH_BYTES_MAX = 200 << 20
"""Of all its processes together, once they have worked: heaps settle, but not by more."""
RENDERED_S_MAX = 600.0
TRACKS_PER_RELEASE = 100
TOO_MANY_REQUESTS = 429
TEXTS = ("title", "artist", "album", "genre", "isrc", "date")
REFUSED_IN_DETAIL_CHARS_MAX = 1_000


def inspect_many(campaign: Campaign, count: int) -> None:
    """Cases through the very function the upload route calls, which has a confined child look at the file."""
    files.sources()
    myself = psutil.Process()
    before = myself.memory_info().rss
    with ThreadPoolExecutor(THREADS) as threads:
        for _ in threads.map(lambda number: _inspect_one(campaign, number), range(count)):
            pass
    grown = myself.memory_info().rss - before
    campaign.count("inspecting process grew by MiB", grown >> 20)
    with campaign.case("memory", count, b""):
        require(grown < OWN_GROWTH_BYTES_MAX, f"the inspecting process grew by {grown >> 20} MiB")


def _inspect_one(campaign: Campaign, number: int) -> None:
    made = files.mutant(campaign.rng("upload", number))
    with campaign.case("upload", number, made.data, " → ".join(made.story)):
        campaign.count(inspected(made.data))


def inspected(data: bytes) -> str:
    """What became of one file, in a word. Fails unless it is a refusal the catalogue knows or a sound inspection."""
    with tempfile.NamedTemporaryFile(prefix="fuzz-") as file:
        file.write(data)
        file.flush()
        begun = time.monotonic()
        try:
            about = audio.inspect(Path(file.name), DURATION_S_MAX)
        except audio.AudioRefused as refusal:
            problem = uploads.refusal(refusal)
            require(400 <= status_of(type(problem)) < 500, f"{type(problem).__name__} is answered as a fault of ours")
            detail = str(problem.facts["detail"])
            require(_is_fit_to_show(detail, REFUSED_IN_DETAIL_CHARS_MAX), f"detail: {detail!r}")
            outcome = type(problem).__name__
        else:
            _require_sound(about)
            outcome = "accepted"
        took_s = time.monotonic() - begun
        require(took_s < INSPECTION_S_MAX, f"it took {took_s:.0f} s")
        return outcome


def _require_sound(about: audio.Inspection) -> None:
    for name in TEXTS:
        text = getattr(about, name)
        require(text is None or _is_fit_to_show(text, audio_tags.TEXT_CHARS_MAX), f"{name}: {text!r}")
    require(0 <= about.duration_ms <= (DURATION_S_MAX + 1) * 1000, f"it lasts {about.duration_ms} ms")
    for name in ("track", "disc"):
        number = getattr(about, name)
        require(number is None or 1 <= number <= audio_tags.NUMBER_MAX, f"{name}: {number}")
    if about.artwork:
        with Image.open(io.BytesIO(about.artwork), formats=["JPEG"]) as picture:
            picture.load()
            require(max(picture.size) <= audio_tags.ARTWORK_EDGE_MAX, f"a picture of {picture.size}")


def _is_fit_to_show(text: str, chars_max: int) -> bool:
    return len(text) <= chars_max and not any(unicodedata.category(character) in {"Cc", "Cs"} for character in text)


@dataclass(frozen=True)
class _Sent:
    number: int
    made: files.Mutant
    track_id: str


def upload_many(campaign: Campaign, service: Service, count: int) -> None:
    """Cases over HTTP: each answer is a documented problem or a track, and each track becomes ready or failed."""
    documented = _documented(service)
    _warm_up(service)
    before = _resident(service)
    sent: list[_Sent] = []
    for artist, release, numbers in _drafts(service, count):
        for number in numbers:
            made = files.mutant(campaign.rng("http", number))
            with campaign.case("http", number, made.data, " → ".join(made.story)):
                answer = _sent(artist, release, made)
                if answer.status_code == httpx.codes.ACCEPTED:
                    sent.append(_Sent(number, made, answer.json()["id"]))
                else:
                    campaign.count(f"http: {_problem(answer, documented)}")
        for one in sent:
            with campaign.case("rendered", one.number, one.made.data, " → ".join(one.made.story)):
                campaign.count(f"http: {_ended(artist, one.track_id)}")
        sent.clear()
    with campaign.case("memory", count, b""):
        after = _resident(service)
        require(before.keys() <= after.keys(), "a process of the service ended")
        grown = sum(after[process] - before[process] for process in before)
        campaign.count("service grew by MiB", grown >> 20)
        require(grown < SERVICE_GROWTH_BYTES_MAX, f"the service grew by {grown >> 20} MiB")


def _warm_up(service: Service) -> None:
    """A good recording goes all the way, so that every process that sees uploads has started and done its work once."""
    artist = somebody(service, "Sekar").join(artist=True)
    good = files.Mutant(files.sources()["wav"], ".wav", ())
    require(_ended(artist, _sent(artist, draft_of(artist), good).json()["id"]) == "ready", "a good file is not taken")


def _drafts(service: Service, count: int) -> Iterator[tuple[Person, str, range]]:
    for start in range(0, count, TRACKS_PER_RELEASE):
        artist = somebody(service, "Sekar").join(artist=True)
        yield artist, draft_of(artist), range(start, min(start + TRACKS_PER_RELEASE, count))


def _sent(artist: Person, release: str, made: files.Mutant) -> httpx.Response:
    """Upload once the service lets us: that it does not at once is an answer too, but not about the file."""

    def answer() -> httpx.Response | None:
        path = f"/api/v1/releases/{release}/tracks"
        got = artist.http.post(path, params={"filename": f"piece{made.suffix}"}, content=made.data)
        return None if got.status_code == TOO_MANY_REQUESTS else got

    return until(answer, "a place for the upload", INSPECTION_S_MAX)


def _problem(answer: httpx.Response, documented: set[int]) -> str:
    require(answer.status_code < 500, f"{answer.status_code}: {answer.text[:300]}")
    require(answer.status_code in documented, f"{answer.status_code} is not documented")
    require(answer.headers["content-type"] == "application/problem+json", answer.headers["content-type"])
    return str(answer.json()["type"].rpartition("/")[2])


def _ended(artist: Person, track_id: str) -> str:
    """How a track's processing ended."""

    def ended() -> Json | None:
        track = artist.get(f"/api/v1/tracks/{track_id}")
        return None if track["state"] in {"storing", "processing"} else track

    track = until(ended, "a track to be ready or failed", RENDERED_S_MAX)
    require(track["state"] in {"ready", "failed"}, track["state"])
    if track["state"] == "failed":
        problem = track["upload"]["problem"]
        require(problem is not None and bool(problem["title"]), f"it failed for no reason: {problem}")
        return f"failed ({problem['type'].rpartition('/')[2]})"
    require(track["duration_ms"] > 0, "ready, and of no length")
    return "ready"


def _documented(service: Service) -> set[int]:
    answer = httpx.get(f"{service.address}/openapi.json", trust_env=False, timeout=REQUEST_S_MAX)
    document: dict[str, Any] = answer.json()
    answers = document["paths"]["/api/v1/releases/{release_id}/tracks"]["post"]["responses"]
    return {int(status) for status in answers}


def _resident(service: Service) -> dict[psutil.Process, int]:
    """The memory of each process of the service that sees uploads: the API and the workers."""
    held = {}
    for part in supervisor_of(service).children():
        line = " ".join(part.cmdline())
        if "uvicorn" in line or "celery" in line:
            held |= {process: process.memory_info().rss for process in (part, *part.children())}
    return held
