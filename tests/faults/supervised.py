"""The real supervisor, each of its parts but PostgreSQL run under the levers: `python -m tests.faults.supervised`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from streamcoop.embedded import plan, supervisor
from streamcoop.embedded.plan import Commands, Setup


def commands_for(setup: Setup) -> Commands:
    """The service's own commands, under the levers."""
    own = plan.service_commands(setup)
    return replace(
        own,
        workers={name: _under_levers(name, command) for name, command in own.workers.items()},
        beat=_under_levers("beat", own.beat),
        api=_under_levers("api", own.api),
    )


def _under_levers(part: str, command: Sequence[str]) -> list[str]:
    python, dash_m, *rest = command
    return [python, dash_m, "tests.faults.child", part, *rest]


if __name__ == "__main__":
    supervisor.run(Path(sys.argv[1]), port=0, commands_for=commands_for)
