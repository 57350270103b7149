"""anvil as a process of its own: a node whose clock and history tests can turn back."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from web3 import HTTPProvider, Web3
from web3.types import RPCEndpoint

from streamcoop.embedded import ports, process

PROGRAM = Path(__file__).resolve().parents[1] / "contracts" / "node_modules" / ".bin" / "anvil"
READY_S_MAX = 30.0
READY_POLL_S = 0.05
END_S_MAX = 10.0

needed = pytest.mark.skipif(
    shutil.which(str(PROGRAM)) is None and "CI" not in os.environ,
    reason="anvil is not installed: `npm ci` in contracts/",
)


@contextmanager
def running_anvil(*arguments: str) -> Iterator[Web3]:
    """A fresh chain whose every block is a second after the one before. Gone with the block."""
    port = ports.any_free()
    # As the contracts are compiled for: another fork charges otherwise.
    command = [str(PROGRAM), "--port", str(port), "--silent", "--hardfork", "cancun", *arguments]
    with tempfile.TemporaryFile() as output, subprocess.Popen(command, stdout=output, stderr=output) as child:
        try:
            web3 = Web3(HTTPProvider(f"http://{ports.LOOPBACK}:{port}", exception_retry_configuration=None))
            assert process.until(lambda: web3.is_connected() or child.poll() is not None, READY_S_MAX, READY_POLL_S), (
                "anvil is not ready in time"
            )
            assert child.poll() is None, "anvil ended"
            ask(web3, "anvil_setBlockTimestampInterval", 1)
            yield web3
        finally:
            child.kill()


def ask(web3: Web3, method: str, *parameters: object) -> object:
    """What anvil answers to a method of its own."""
    answer = web3.provider.make_request(RPCEndpoint(method), list(parameters))
    assert "error" not in answer, answer
    return answer["result"]
