"""The log on a real S3: it is what it is in a folder, and however many writers there are, a batch has one head."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from ledger.store.batches import Batch
from streamcoop.adapters.objects import open_store
from streamcoop.settings import settings
from streamcoop.transparency import publishing
from tests.adapters.s3_server import KEY_ID, SECRET, S3Server, own_bucket, running_s3
from tests.royalties.label import Label
from tests.transparency.press import Press
from tests.transparency.test_publishing import (
    test_plays_royalties_and_wallets_are_audited_to_the_unit_and_everybody_finds_hers as test_the_same_on_s3,
)

__all__ = ["test_the_same_on_s3"]

RACES = 4
BARRIER_S_MAX = 60


@dataclass
class PressOnS3(Press):
    """Whose log is in a bucket, and read from a copy."""

    bucket: Any = field(kw_only=True)

    @property
    def log(self) -> Path:
        for each in self.bucket.objects.filter(Prefix="log/"):
            file = self.folder / each.key
            file.parent.mkdir(parents=True, exist_ok=True)
            self.bucket.download_file(each.key, str(file))
        return self.folder / "log"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("weed")) as running:
        yield running


@pytest.fixture
def bucket(s3: S3Server) -> Iterator[Any]:
    with own_bucket(s3) as bucket:
        yield bucket


@pytest.fixture
def objects_at(s3: S3Server, bucket: Any) -> dict[str, str]:
    return {
        "OBJECTS_URL": f"s3://{bucket.name}",
        "S3_ENDPOINT_URL": s3.endpoint_url,
        "S3_ACCESS_KEY_ID": KEY_ID,
        "S3_SECRET_ACCESS_KEY": SECRET,
    }


@pytest.fixture
def press(label: Label, bucket: Any, tmp_path: Path) -> Press:
    return PressOnS3(label, tmp_path / "copy", open_store(settings()), bucket=bucket)


def test_of_two_writers_at_once_one_signs_and_both_tell_its_head(press: PressOnS3) -> None:
    label = press.label
    artist, listener = label.person("Kyai", "artist"), label.listener()
    track = label.track(artist, "Pagi")
    for _ in range(RACES):
        label.play(listener, track)
        press.end_batch()
        batch = press.waiting()[-1]
        for earlier in press.waiting()[:-1]:
            publishing.publish(press.writer(), earlier)
        race(press, batch)
    keys = [each.key for each in press.bucket.objects.filter(Prefix="log/heads/")]
    assert keys == [f"log/heads/{batch.number:09}" for batch in press.all_batches()]
    assert press.require_whole().batches == len(keys)


def race(press: Press, batch: Batch) -> None:
    """Two writers with clocks of their own, who would sign the same tree differently, publish the batch."""
    start = Barrier(2)

    def publish(ahead_s: int) -> Any:
        writer = press.writer()
        clock = writer.clock
        start.wait(BARRIER_S_MAX)
        return publishing.publish(replace(writer, clock=lambda: clock() + timedelta(seconds=ahead_s)), batch)

    with ThreadPoolExecutor(2) as writers:
        one, other = writers.map(publish, (0, 1))
    assert one == other
