"""Playing music: opening a play, streaming it, recording that it counts. Asynchronous end to end: the hot path."""
