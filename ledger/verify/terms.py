"""Terms by their versions: which hold in an epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Versions(Generic[T]):
    """Terms of one kind. Of those whose epoch has come the latest hold, and of these the highest version."""

    def __init__(self) -> None:
        self._versions: list[tuple[int, int, T]] = []
        self._in_force: dict[int, T | None] = {}

    def __bool__(self) -> bool:
        return bool(self._versions)

    @property
    def latest(self) -> int:
        """The highest version so far."""
        return max((version for _, version, _ in self._versions), default=0)

    def add(self, version: int, effective_epoch: int, terms: T) -> None:
        """Terms from an epoch on."""
        self._versions.append((effective_epoch, version, terms))
        self._in_force.clear()

    def in_force(self, epoch: int) -> T | None:
        """What holds in an epoch, if anything does."""
        if epoch not in self._in_force:
            self._in_force[epoch] = self._at(epoch, lambda _: True)
        return self._in_force[epoch]

    def in_force_of(self, epoch: int, is_counted: Callable[[int], bool]) -> T | None:
        """What holds in an epoch of those versions that are counted."""
        return self._at(epoch, is_counted)

    def of(self, version: int) -> T | None:
        """The terms of a version."""
        return next((terms for _, its, terms in self._versions if its == version), None)

    def before(self, version: int) -> T | None:
        """What would hold from a version's epoch on without it and all later versions."""
        effective_epoch = next((epoch for epoch, its, _ in self._versions if its == version), None)
        return None if effective_epoch is None else self._at(effective_epoch, lambda its: its < version)

    def _at(self, epoch: int, is_counted: Callable[[int], bool]) -> T | None:
        begun = [
            (effective_epoch, version, terms)
            for effective_epoch, version, terms in self._versions
            if effective_epoch <= epoch and is_counted(version)
        ]
        return max(begun, key=lambda one: one[:2])[2] if begun else None
