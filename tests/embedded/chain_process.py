"""The chain as a process of its own, for tests that need a node behind HTTP."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount

from streamcoop.embedded.chain.founding import CONSTITUTION
from tests.officers import OFFICERS

READY_S_MAX = 30
EXIT_S_MAX = 10
LOG_ORIGIN = "log.example/coop"
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class ChainProcess:
    process: subprocess.Popen[str]
    rpc_url: str
    chain_id: int
    membership_contract: str
    anchor_contract: str
    rate_registry: str

    def kill(self) -> None:
        """`kill -9`: no chance to tidy up."""
        self.process.kill()
        self.process.wait(EXIT_S_MAX)

    def end(self) -> int:
        """SIGTERM; the exit status."""
        self.process.terminate()
        return self.process.wait(EXIT_S_MAX)


def write_key(path: Path) -> LocalAccount:
    """A new registrar, whose key is now in `path`."""
    account: LocalAccount = Account.create()
    path.write_text(f"0x{account.key.hex()}\n", encoding="ascii")
    path.chmod(0o600)
    return account


def spawn(
    data: Path,
    key_file: Path,
    log_origin: str = LOG_ORIGIN,
    constitution: Mapping[str, Any] = CONSTITUTION,
    errors: int | None = None,
) -> subprocess.Popen[str]:
    """The chain, not ready yet, whose officers are those of the tests."""
    origin_file, constitution_file = key_file.with_name("log_origin"), key_file.with_name("constitution")
    origin_file.write_text(log_origin, encoding="utf-8")
    constitution_file.write_text(json.dumps(constitution), encoding="utf-8")
    command = [sys.executable, "-m", "streamcoop.embedded.chain", "--data", str(data)]
    command += ["--registrar-key-file", str(key_file), "--log-origin-file", str(origin_file)]
    officers = [word for officer in OFFICERS for word in ("--officer", officer.address)]
    return subprocess.Popen(
        [*command, *officers, "--constitution-file", str(constitution_file)],
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


@contextmanager
def running_chain(
    data: Path, key_file: Path, log_origin: str = LOG_ORIGIN, constitution: Mapping[str, Any] = CONSTITUTION
) -> Iterator[ChainProcess]:
    """The chain kept in `data`, ready. However the block is left, the process is gone afterwards."""
    with spawn(data, key_file, log_origin, constitution) as process:
        try:
            assert process.stdout is not None
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                assert selector.select(READY_S_MAX), "the chain is not ready in time"
            yield ChainProcess(process, **json.loads(process.stdout.readline()))
        finally:
            process.kill()
