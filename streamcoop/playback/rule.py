"""The listening rule in time and in bytes: when a play counts, which part is free, and how fast it is sent. Pure.

A play counts from T after its opening. Its free part F is longer than T, so that a listener who
listens is never interrupted; and delivery is paced so that a client which merely buffers is
still short of F at T.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """The listening rule of an epoch, in milliseconds: members vote on `listen_ms_max`."""

    listen_ms_max: int
    free_extra_ms: int
    token_ms_min: int

    def listen_ms(self, duration_ms: int) -> int:
        """T: from when a play of a track so long counts."""
        return min(self.listen_ms_max, duration_ms // 2)

    def free_ms(self, duration_ms: int) -> int:
        """F: how much of the track is free."""
        return min(self.listen_ms(duration_ms) + self.free_extra_ms, duration_ms * 2 // 3)

    def token_ms(self, duration_ms: int) -> int:
        """How long a play token lives."""
        return max(3 * duration_ms, self.token_ms_min)


@dataclass(frozen=True, slots=True)
class Meter:
    """One play of one rendition, as its delivery sees it: positions in bytes, times in ms since the opening.

    Renditions have a constant bitrate and their duration up front, so position is linear in time.
    """

    size: int
    header_bytes: int
    duration_ms: int
    listen_ms: int
    free_ms: int

    # After the play is recorded a response may run ahead of the listener, and gains on her slowly:
    # enough to ride out a bad minute of network, not a way to empty the shelves.
    AHEAD_MS = 20_000
    GAIN_PERCENT = 150

    def position(self, at_ms: int) -> int:
        """The byte that `at_ms` of the music ends at."""
        music = self.size - self.header_bytes
        return min(self.size, self.header_bytes + music * max(at_ms, 0) // max(self.duration_ms, 1))

    @property
    def free_bytes(self) -> int:
        """The free part ends here."""
        return self.position(self.free_ms)

    def sendable(self, since_opening_ms: int) -> int:
        """How far delivery may be, before the play is recorded.

        Half of what F leaves beyond T is given away: a quarter at once, a quarter over T. So
        burst + (rate − 1) × T = (F − T) / 2, and at T the client is (F − T) / 2 short of F.
        """
        spare_ms = max(self.free_ms - self.listen_ms, 0)
        early_ms = spare_ms // 4 + since_opening_ms + spare_ms * since_opening_ms // (4 * max(self.listen_ms, 1))
        return min(self.position(early_ms), self.free_bytes)

    def sendable_recorded(self, from_byte: int, elapsed_ms: int) -> int:
        """How far a response may be that began (or was recorded) at `from_byte` so long ago."""
        ahead_ms = self.AHEAD_MS + elapsed_ms * self.GAIN_PERCENT // 100
        ahead_bytes = (self.size - self.header_bytes) * ahead_ms // max(self.duration_ms, 1)
        return min(self.size, max(from_byte, self.header_bytes) + ahead_bytes)

    @property
    def step_bytes(self) -> int:
        """What is worth sending at a time: about two seconds of music, less where the spare part is short."""
        step_ms = max(min(2_000, (self.free_ms - self.listen_ms) // 8), 20)
        return max(self.position(step_ms) - self.header_bytes, 1)
