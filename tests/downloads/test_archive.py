"""An archive is a ZIP that everybody can read, however long its files are and whatever cannot be read."""

from __future__ import annotations

import asyncio
import io
import random
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from streamcoop.adapters.objects import FolderStore
from streamcoop.catalogue.lookup import File, Recording
from streamcoop.downloads import archive, service
from streamcoop.downloads.service import Wanted

AT = datetime(2026, 12, 1, 9, 30, tzinfo=UTC)
LONG = random.Random(5).randbytes(3 * service.BLOCK_BYTES + 17)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    made = FolderStore(tmp_path)
    made.put_bytes("one", LONG, "audio/flac")
    made.put_bytes("two", b"short", "audio/mpeg")
    made.put_bytes("two/mp3".replace("/", "-"), b"rendition", "audio/mpeg")
    return made


def recording(position: int, title: str, key: str, size: int) -> Recording:
    return Recording(
        track_id=uuid4(),
        title=title,
        artist="Sari / Wulan",
        release="Hujan",
        position=position,
        date=None,
        genre=None,
        isrc=None,
        artwork=None,
        format="mp3",
        original=File(key, "audio/mpeg", size),
        renditions={"mp3": File("two-mp3", "audio/mpeg", 9)},
    )


def archived(store: FolderStore, recordings: list[Recording], wanted: Wanted = "original", **more: bool) -> bytes:
    async def whole() -> bytes:
        pieces = archive.pieces(store, recordings, wanted, more.get("left_out", False), AT)
        return b"".join([piece async for piece in pieces])

    return asyncio.run(whole())


def opened(data: bytes) -> zipfile.ZipFile:
    made = zipfile.ZipFile(io.BytesIO(data))
    assert made.testzip() is None
    return made


@pytest.mark.parametrize("zip32_bytes_max", [archive.ZIP32_BYTES_MAX, 0])
def test_files_are_in_folders_and_as_they_are_stored(
    store: FolderStore, zip32_bytes_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "ZIP32_BYTES_MAX", zip32_bytes_max)
    made = opened(archived(store, [recording(1, "Pulang", "one", len(LONG)), recording(12, "Pulang", "two", 5)]))
    assert made.namelist() == ["Sari _ Wulan/Hujan/01 Pulang.mp3", "Sari _ Wulan/Hujan/12 Pulang.mp3"]
    assert made.read("Sari _ Wulan/Hujan/01 Pulang.mp3") == LONG
    assert {entry.compress_type for entry in made.infolist()} == {zipfile.ZIP_STORED}
    assert {entry.date_time for entry in made.infolist()} == {(2026, 12, 1, 9, 30, 0)}


def test_an_archive_of_nothing_is_one_too(store: FolderStore) -> None:
    assert opened(archived(store, [])).namelist() == []


def test_no_more_than_a_block_is_held_at_a_time(store: FolderStore) -> None:
    async def longest() -> int:
        pieces = archive.pieces(store, [recording(1, "Long", "one", len(LONG))], "original", False, AT)
        return max([len(piece) async for piece in pieces])

    assert asyncio.run(longest()) < service.BLOCK_BYTES + 1_000


def test_what_cannot_be_read_is_told_and_the_rest_comes(store: FolderStore) -> None:
    gone = recording(1, "Gone", "nowhere", 100)
    short = recording(2, "Cut short", "one", len(LONG) + 5 * service.BLOCK_BYTES)
    whole = recording(3, "Whole", "two", 5)
    made = opened(archived(store, [gone, short, whole]))
    told = made.read(archive.MISSING_NAME).decode()
    assert "left out: Sari _ Wulan/Hujan/01 Gone.mp3" in told
    assert "incomplete: Sari _ Wulan/Hujan/02 Cut short.mp3" in told
    assert "Whole" not in told
    assert made.read("Sari _ Wulan/Hujan/03 Whole.mp3") == b"short"
    assert "Sari _ Wulan/Hujan/01 Gone.mp3" not in made.namelist()


def test_a_form_that_a_track_does_not_have_is_told(store: FolderStore) -> None:
    made = opened(archived(store, [replace(recording(1, "Old", "one", 7), renditions={})], "mp3"))
    assert "left out: Sari _ Wulan/Hujan/01 Old.mp3" in made.read(archive.MISSING_NAME).decode()


def test_tags_stand_before_the_music(store: FolderStore) -> None:
    made = opened(archived(store, [recording(1, "Pulang", "one", len(LONG))], "mp3"))
    kept = made.read("Sari _ Wulan/Hujan/01 Pulang.mp3")
    assert kept.startswith(b"ID3")
    assert kept.endswith(b"rendition")


def test_that_there_is_more_is_told(store: FolderStore) -> None:
    made = opened(archived(store, [recording(1, "Pulang", "two", 5)], left_out=True))
    assert "more tracks of yours than the 1" in made.read(archive.MISSING_NAME).decode()
