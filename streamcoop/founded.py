"""The founding as a dependency: read once per process, for it never changes."""

from __future__ import annotations

from functools import cache
from typing import Annotated

from fastapi import Depends

from ledger.store.terms import Founding, founding
from streamcoop.database import engine


@cache
def founded() -> Founding:
    """What this co-op was founded with."""
    with engine().connect() as conn:
        return founding(conn)


Founded = Annotated[Founding, Depends(founded)]
