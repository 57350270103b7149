"""`docker-compose.yml`, the Dockerfile's command and `deploy/nginx.conf`, as they are to be run without containers.

Nothing is said twice: commands, environments and replicas come from these files. Only addresses and the few paths that
exist in a container are put in other words.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "Dockerfile"
NGINX = ROOT / "deploy" / "nginx.conf"
INIT_SCRIPT = ROOT / "deploy" / "postgres-init.sh"

VARIABLE = re.compile(r"\$\$|\$\{(\w+):\?\}")


@dataclass(frozen=True)
class Program:
    """One service of the file: what is run, with what environment, how often."""

    command: list[str]
    environment: dict[str, str]
    replicas: int


def services() -> dict[str, Any]:
    """The services by name, as the file has them."""
    read: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    return read


def variables() -> set[str]:
    """The variables that the file wants from `.env`."""
    return {name for name in VARIABLE.findall(COMPOSE.read_text(encoding="utf-8")) if name}


def interpolated(text: str, values: Mapping[str, str]) -> str:
    """The text with its variables replaced. Raises KeyError for one that has no value."""
    return VARIABLE.sub(lambda found: values[found[1]] if found[1] else "$", text)


def image_command() -> list[str]:
    """What a container of our image runs where the composition says nothing else."""
    line = re.search(r"^CMD (\[.*\])$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    assert line is not None
    command: list[str] = json.loads(line[1])
    return command


def program(name: str, values: Mapping[str, str], words: Mapping[str, str]) -> Program:
    """A service of the file, with the variables' `values`, and with `words` (addresses, paths) replaced by others."""
    service = services()[name]

    def local(text: str) -> str:
        return replaced(interpolated(text, values), words)

    command = shlex.split(service["command"]) if "command" in service else image_command()
    return Program(
        [local(word) for word in command],
        {variable: local(str(value)) for variable, value in service["environment"].items()},
        service.get("deploy", {}).get("replicas", 1),
    )


def replaced(text: str, words: Mapping[str, str]) -> str:
    """The text with each of the words replaced."""
    for word, other in words.items():
        text = text.replace(word, other)
    return text
