"""Debian's RabbitMQ as a process of ours: its real scripts, with a folder, ports and name service of its own."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from streamcoop.embedded import ports, process
from streamcoop.embedded.ports import LOOPBACK
from streamcoop.embedded.private import write_private
from streamcoop.embedded.process import Child
from tests import debian_parts

SCRIPTS = "usr/lib/rabbitmq/lib"
ERLANG_SHIM = '#!/bin/sh\nexec "$BINDIR/erlexec" "$@"\n'


@dataclass(frozen=True)
class RabbitMq:
    """Where the server keeps its state, and where it listens."""

    folder: Path
    port: int
    names_port: int
    distribution_port: int

    @property
    def environment(self) -> dict[str, str]:
        erlang = debian_parts.place(debian_parts.ERLANG)
        (runtime,) = erlang.glob("erts-*")
        folder = str(self.folder)
        return debian_parts.environment() | {
            "HOME": folder,
            "PATH": f"{self.folder}:{runtime / 'bin'}:/usr/bin:/bin",
            # Debian's own `erl` knows one place only.
            "ROOTDIR": str(erlang),
            "BINDIR": str(runtime / "bin"),
            "EMU": "beam",
            "PROGNAME": "erl",
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(self.names_port),
            "RABBITMQ_NODENAME": "streamcoop@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_MNESIA_BASE": folder,
            "RABBITMQ_LOG_BASE": folder,
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_FEATURE_FLAGS_FILE": f"{folder}/feature_flags",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2",
            # The script becomes the server, instead of waiting for it: then it dies with us.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def launch_names(self, log: Path) -> Child:
        """Start the name service that Erlang would otherwise leave behind."""
        with process.open_log(log) as output:
            return process.spawn(["epmd"], output=output, env=self.environment, cwd=self.folder)

    def launch(self, log: Path) -> Child:
        """Start the server without waiting for it."""
        (version,) = debian_parts.place(SCRIPTS).glob("rabbitmq_server-*")
        with process.open_log(log) as output:
            return process.spawn(
                ["sh", version / "sbin" / "rabbitmq-server"], output=output, env=self.environment, cwd=self.folder
            )


def prepare(folder: Path, user: str, password: str) -> RabbitMq:
    """A folder for a server that knows one user."""
    folder.mkdir(mode=0o700, parents=True)
    write_private(folder / "rabbitmq.conf", f"default_user = {user}\ndefault_pass = {password}\n")
    write_private(folder / "plugins", "[].\n")
    write_private(folder / ".erlang.cookie", secrets.token_hex(16))
    (folder / ".erlang.cookie").chmod(0o400)
    (folder / "erl").write_text(ERLANG_SHIM, encoding="ascii")
    (folder / "erl").chmod(0o700)
    return RabbitMq(folder, ports.any_free(), ports.any_free(), ports.any_free())
