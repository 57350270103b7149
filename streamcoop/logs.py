"""Structured logs: one JSON object a line, without personal data.

What may stand in a line is what a call passes as `extra`: ids of tasks, epochs and routes, never an
address, a name, a token, or who played what.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Collection
from datetime import UTC, datetime

WITHHELD = "(withheld)"
_JSON = json.JSONEncoder(default=str, ensure_ascii=False)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "data", "taskName"}


class JsonLines(logging.Formatter):
    """A log record as one line of JSON. None of `secrets` stands in it, even if another's exception carries one."""

    def __init__(self, secrets: Collection[str] = ()) -> None:
        super().__init__()
        # The longest first, so that a secret is not left half told by another that is a part of it.
        written = {form for secret in secrets for form in (secret, _JSON.encode(secret)[1:-1])}
        self._secrets = sorted(written, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        text = _JSON.encode(line)
        for secret in self._secrets:
            text = text.replace(secret, WITHHELD)
        return text


def _not_about_ended_plays(record: logging.LogRecord) -> bool:
    """A play that is refused in mid-stream ends short of its length on purpose: no error of the server's."""
    return "without completing response" not in record.getMessage()


def configure(level: str, secrets: Collection[str] = ()) -> None:
    """Log to standard error as JSON lines, in which none of `secrets` stands."""
    # Python's documented way to spare each line what is never written: who called, which thread and process.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(secrets))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # uvicorn has set up its own by now.
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.error").addFilter(_not_about_ended_plays)
    # It would write request lines, and a stream's address holds its play token.
    logging.getLogger("uvicorn.access").disabled = True
    # A line for every tick of every second would bury what an operator looks for.
    for chatty in ("httpx", "celery.beat", "celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
