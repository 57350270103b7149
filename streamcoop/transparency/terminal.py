"""What the commands below `streamcoop log` share: keys and files as they are typed, refusals as they are told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from ledger.errors import DomainError
from ledger.note import VerifierKey, parse_verifier_key
from streamcoop.adapters.objects import ObjectConflict, ObjectStoreUnavailable
from streamcoop.transparency import recovering

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
NEW_FILE = click.Path(path_type=Path, dir_okay=False)
_REFUSALS = (DomainError, ObjectStoreUnavailable, ObjectConflict, OSError, *recovering.REFUSALS)


class Key(click.ParamType[VerifierKey]):
    """A verifier key."""

    name = "vkey"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> VerifierKey:
        try:
            return value if isinstance(value, VerifierKey) else parse_verifier_key(str(value))
        except DomainError as refused:
            self.fail(str(refused), param, ctx)


@contextmanager
def refusals_told() -> Iterator[None]:
    """What is refused here is a sentence for whoever sits at the terminal."""
    try:
        yield
    except _REFUSALS as refusal:
        raise click.ClickException(str(refusal)) from refusal


def read(file: Path, bytes_max: int) -> bytes:
    """All of a file. Raises click's ClickException for one that is longer, and OSError."""
    with file.open("rb") as opened:
        data = opened.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise click.ClickException(f"{file} is too long")
    return data
