"""Serves a chain of one machine as JSON-RPC on the loopback interface, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import threading
from pathlib import Path

from eth_keys.datatypes import PrivateKey
from eth_utils.exceptions import ValidationError

from streamcoop.embedded.chain.evm import CHAIN_ID, FoundingRefused, LocalChain, RegistrarChanged
from streamcoop.embedded.chain.file import ChainFileInUse, ChainFileUnknown
from streamcoop.embedded.chain.founding import CONSTITUTION, FoundingInvalid, founding, read_constitution
from streamcoop.embedded.chain.rpc import Rpc
from streamcoop.embedded.chain.server import Server

CHAIN_FILE = "chain.sqlite3"
STOP_POLL_S = 0.05
"""How often the listening thread looks whether it should stop."""


class RegistrarKeyInvalid(Exception):
    """The registrar's key file does not hold one 32-byte key in hexadecimal."""


_REFUSALS = (
    ChainFileInUse,
    ChainFileUnknown,
    RegistrarKeyInvalid,
    RegistrarChanged,
    FoundingInvalid,
    FoundingRefused,
)


def read_key(path: Path) -> PrivateKey:
    """The key in `path`: 64 hexadecimal digits, after `0x` or not. Raises `RegistrarKeyInvalid`, never with the key."""
    try:
        key = PrivateKey(bytes.fromhex(path.read_text(encoding="ascii").strip().removeprefix("0x")))
        key.public_key  # noqa: B018  # fails here, not at the first use, for a number that is no key
    except (ValueError, ValidationError, OSError) as error:
        raise RegistrarKeyInvalid(str(path)) from (error if isinstance(error, OSError) else None)
    return key


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m streamcoop.embedded.chain", description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder the chain is kept in")
    parser.add_argument("--port", type=int, default=0, help="port on the loopback interface; 0 takes a free one")
    parser.add_argument("--registrar-key-file", type=Path, required=True, metavar="FILE", help="key of the registrar")
    parser.add_argument("--log-origin-file", type=Path, required=True, metavar="FILE", help="origin of the public log")
    parser.add_argument("--officer", action="append", required=True, metavar="ADDRESS", help="two or more")
    parser.add_argument("--constitution-file", type=Path, metavar="FILE", help="what the contracts enforce of it, JSON")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Serves the chain until SIGTERM or SIGINT. Returns the exit status: 0, or 1 with the cause on standard error."""
    options = _options(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    # Blocked here and taken below: a signal while the chain opens ends the process once it is open.
    ending = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    try:
        options.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        key, origin = read_key(options.registrar_key_file), options.log_origin_file.read_text(encoding="utf-8").strip()
        file = options.constitution_file
        constitution = CONSTITUTION if file is None else read_constitution(file.read_text(encoding="utf-8"))
        chain = LocalChain(options.data / CHAIN_FILE, key, origin, founding(options.officer, constitution))
        server = Server(Rpc(chain), options.port)
    except _REFUSALS as error:
        print(f"{type(error).__doc__} {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    threading.Thread(target=server.serve_forever, args=(STOP_POLL_S,), name="serve", daemon=True).start()
    ready = {
        "rpc_url": server.url,
        "chain_id": CHAIN_ID,
        "membership_contract": chain.membership_contract,
        "anchor_contract": chain.anchor_contract,
        "rate_registry": chain.rate_registry,
    }
    print(json.dumps(ready), flush=True)
    signal.sigwait(ending)
    server.shutdown()
    chain.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
