"""Epochs: the periods royalties are closed by. Tariff, rates, net factors and splits change only at their starts.

An epoch is a number. By default it is a calendar month in UTC (year × 12 + month − 1); a
co-op may set a fixed length in seconds instead (counted from 1970).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

MONTHS = 12


@dataclass(frozen=True, slots=True)
class Calendar:
    """How time is divided into epochs, from the `first` on. `seconds` = 0 means calendar months."""

    seconds: int = 0
    first: int = 0

    def epoch_at(self, at: datetime) -> int:
        """The epoch that holds the instant `at` (timezone-aware); the first one for an instant before it.

        Only a clock that was set back tells such an instant: nothing was played then, and no terms were in force.
        """
        if self.seconds:
            return max(int(at.timestamp()) // self.seconds, self.first)
        at = at.astimezone(UTC)
        return max(at.year * MONTHS + at.month - 1, self.first)

    def starts_at(self, epoch: int) -> datetime:
        """The first instant of an epoch."""
        if self.seconds:
            return datetime.fromtimestamp(epoch * self.seconds, UTC)
        year, month = divmod(epoch, MONTHS)
        return datetime(year, month + 1, 1, tzinfo=UTC)

    def ends_at(self, epoch: int) -> datetime:
        """The first instant after an epoch."""
        return self.starts_at(epoch + 1)

    def label(self, epoch: int) -> str:
        """How people are shown an epoch: `2026-11`, or its start where epochs are shorter than a month."""
        start = self.starts_at(epoch)
        return start.strftime("%Y-%m-%dT%H:%M:%SZ") if self.seconds else start.strftime("%Y-%m")


def month_of(at: datetime) -> int:
    """The calendar month a listener's budget counts by, as an epoch number of the default calendar."""
    return Calendar().epoch_at(at)
