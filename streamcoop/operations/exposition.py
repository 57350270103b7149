"""The picture and the instruments in Prometheus' text form."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from importlib.metadata import version
from platform import python_version

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from streamcoop.clock import now
from streamcoop.metrics import Instruments
from streamcoop.operations.service import Away, Picture, Standing, look
from streamcoop.settings import settings

__all__ = ["CONTENT_TYPE_LATEST", "registry", "text"]

# Name -> what it tells, and its label.
GAUGES: dict[str, tuple[str, str | None]] = {
    "streamcoop_part_answers": ("Whether a part the service needs answers.", "part"),
    "streamcoop_unsettled_plays": ("Plays recorded and not settled.", None),
    "streamcoop_settling_lag_seconds": ("Age of the oldest play that is not settled.", None),
    "streamcoop_epoch_current": ("The epoch by the calendar.", None),
    "streamcoop_epoch_first_open": ("The earliest epoch that is not closed.", None),
    "streamcoop_epoch_close_overdue_seconds": ("How long that epoch could have been closed already.", None),
    "streamcoop_late_tracks": ("Tracks whose late plays wait for the next close.", None),
    "streamcoop_queue_messages": ("Messages no worker has taken yet.", "queue"),
    "streamcoop_queue_oldest_age_seconds": ("Age of the oldest of them, where the broker tells it.", "queue"),
    "streamcoop_chain_head_block": ("Number of the newest block the node knows.", None),
    "streamcoop_chain_head_age_seconds": ("Age of that block by the clock on the wall.", None),
    "streamcoop_chain_work": ("Work that waits for the chain.", "kind"),
    "streamcoop_register_differences": ("Where the membership contract and the members here do not agree.", None),
    "streamcoop_anchors_oldest_age_seconds": ("How long the oldest epoch waits to be anchored for good.", None),
    "streamcoop_log_batches_waiting": ("Batches of the shared log that have ended and are not published.", None),
    "streamcoop_log_oldest_age_seconds": ("How long the earliest of them has waited.", None),
    "streamcoop_log_published_timestamp_seconds": ("When a batch was last published.", None),
    "streamcoop_witnessed_logs_forked": ("Logs of others that are witnessed here and have forked.", None),
    "streamcoop_witnessed_fork_timestamp_seconds": ("When the last evidence of that was found.", None),
    "streamcoop_recordings_waiting": ("Uploads that are not ready to be played.", None),
    "streamcoop_recordings_oldest_age_seconds": ("Age of the oldest of them.", None),
    "streamcoop_payouts": ("Payouts under way.", "state"),
    "streamcoop_payouts_oldest_age_seconds": ("Age of the oldest of them.", "state"),
    "streamcoop_books_balanced": ("Whether the books balanced when they were last added up.", None),
    "streamcoop_books_findings": ("What disagreed then.", None),
    "streamcoop_books_checked_timestamp_seconds": ("When that was.", None),
}
_PAYOUT_STATES = ("planned", "sent")

Figures = dict[str, dict[str, float]]
"""By name and by the value of its label; the empty text where it has none."""


def figures(picture: Picture) -> Figures:
    """The picture as numbers. Of a part that is away nothing is told but that."""
    parts = {name: getattr(picture, name) for name in ("database", "broker", "chain", "objects")}
    told: Figures = {name: {} for name in GAUGES}
    told["streamcoop_part_answers"] = {name: float(not isinstance(part, Away)) for name, part in parts.items()}
    if not isinstance(picture.database, Away):
        _tell_database(told, picture.database, picture.at)
    if not isinstance(picture.broker, Away):
        for queue in picture.broker:
            told["streamcoop_queue_messages"][queue.name] = queue.messages
            age = _age_s(picture.at, queue.oldest_at)
            told["streamcoop_queue_oldest_age_seconds"][queue.name] = age
    if not isinstance(picture.chain, Away):
        told["streamcoop_chain_head_block"][""] = picture.chain.block
        told["streamcoop_chain_head_age_seconds"][""] = _age_s(picture.at, picture.chain.at)
    return told


def _tell_database(told: Figures, standing: Standing, at: datetime) -> None:
    epochs, books = standing.epochs, standing.books
    single = {
        "streamcoop_unsettled_plays": standing.unsettled_plays,
        "streamcoop_settling_lag_seconds": _seconds(standing.settling_lag),
        "streamcoop_epoch_current": epochs.current,
        "streamcoop_epoch_first_open": epochs.first_open,
        "streamcoop_epoch_close_overdue_seconds": _seconds(epochs.overdue),
        "streamcoop_late_tracks": epochs.late_tracks,
        "streamcoop_register_differences": standing.register_differences,
        "streamcoop_anchors_oldest_age_seconds": _seconds(standing.oldest_anchor),
        "streamcoop_log_batches_waiting": standing.log_batches,
        "streamcoop_log_oldest_age_seconds": _seconds(standing.oldest_log_batch),
        "streamcoop_witnessed_logs_forked": standing.forked_logs,
        "streamcoop_recordings_waiting": standing.recordings_waiting,
        "streamcoop_recordings_oldest_age_seconds": _seconds(standing.oldest_recording),
    }
    if standing.log_published_at is not None:
        single["streamcoop_log_published_timestamp_seconds"] = standing.log_published_at.timestamp()
    if standing.last_fork_at is not None:
        single["streamcoop_witnessed_fork_timestamp_seconds"] = standing.last_fork_at.timestamp()
    if books is not None and books.ended_at is not None:
        single["streamcoop_books_balanced"] = float(not books.findings)
        single["streamcoop_books_findings"] = books.findings
        single["streamcoop_books_checked_timestamp_seconds"] = books.ended_at.timestamp()
    told.update({name: {"": float(value)} for name, value in single.items()})
    told["streamcoop_chain_work"] = {
        "orders": standing.orders,
        "orders-held-up": standing.orders_held_up,
        "ballots": standing.ballots_waiting,
        "anchors": standing.anchors,
    }
    for state in _PAYOUT_STATES:
        count, oldest = standing.payouts.get(state, (0, None))
        told["streamcoop_payouts"][state] = count
        told["streamcoop_payouts_oldest_age_seconds"][state] = _age_s(at, oldest)


def _seconds(span: timedelta) -> float:
    return max(span.total_seconds(), 0.0)


def _age_s(now: datetime, then: datetime | None) -> float:
    return _seconds(now - then) if then else 0.0


class _Look(Collector):
    """A collector that looks at the service whenever it is asked."""

    def collect(self) -> Iterable[Metric]:
        told = figures(look(settings(), now()))
        for name, (meaning, label) in GAUGES.items():
            family = GaugeMetricFamily(name, meaning, labels=[label] if label else [])
            for value_of_label, value in told[name].items():
                family.add_metric([value_of_label] if label else [], value)
            yield family


class _Build(Collector):
    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily("streamcoop_build_info", "What runs here.", labels=["version", "python"])
        family.add_metric([version("streamcoop"), python_version()], 1)
        yield family


def registry() -> CollectorRegistry:
    """All that an operator can be told, gathered anew at each scrape."""
    whole = CollectorRegistry(auto_describe=False)
    for collector in (Instruments(), _Look(), _Build()):
        whole.register(collector)
    return whole


def text() -> bytes:
    """The metrics as Prometheus reads them."""
    return generate_latest(registry())
