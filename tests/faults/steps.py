"""The named steps at which a part can be killed: moments in the product's own functions, which know nothing of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Moment = Literal["before", "after", "committed"]
Work = Literal["play", "top-up", "upload", "admission", "close", "publication"]


@dataclass(frozen=True)
class Step:
    """Before a function, after it, or once the transaction is committed that it was called in.

    `work` is what brings the part there.
    """

    name: str
    part: str
    function: str
    moment: Moment
    work: Work


STEPS = (
    Step("play appended, not committed", "api", "ledger.store.recording:append", "after", "play"),
    Step("play recorded, not answered", "api", "ledger.store.recording:record", "after", "play"),
    Step("top-up posted, not committed", "api", "streamcoop.wallet.service:top_up", "after", "top-up"),
    Step("top-up committed, not answered", "api", "streamcoop.wallet.service:top_up", "committed", "top-up"),
    Step("upload intended, not put", "api", "streamcoop.catalogue.uploads:intend", "committed", "upload"),
    Step("upload put, not confirmed", "api", "streamcoop.catalogue.uploads:confirm", "before", "upload"),
    Step("upload confirmed, not answered", "api", "streamcoop.catalogue.uploads:confirm", "committed", "upload"),
    Step(
        "admission decided, not asked for",
        "api",
        "streamcoop.membership.service:admit_if_ready",
        "committed",
        "admission",
    ),
    Step("plays taken, not checked", "credits", "ledger.store.posting:require_balance", "before", "play"),
    Step("plays settled, not committed", "credits", "ledger.store.settling:settle", "after", "play"),
    Step("plays settled and committed", "credits", "ledger.store.settling:settle", "committed", "play"),
    Step("close begun", "worker", "ledger.store.closing:begin", "committed", "close"),
    Step("close posted, its lines not written", "worker", "ledger.store.closing:_post", "after", "close"),
    Step("chunk shared out, not committed", "worker", "ledger.store.closing:close_chunk", "after", "close"),
    Step("chunk shared out and committed", "worker", "ledger.store.closing:close_chunk", "committed", "close"),
    Step("close not marked", "worker", "ledger.store.closing:finish", "before", "close"),
    Step("admission to be signed", "worker", "streamcoop.membership.orders:intend", "before", "admission"),
    Step("admission signed, not sent", "worker", "workers.register:send", "before", "admission"),
    Step("admission sent, not marked", "worker", "workers.transactions:_broadcast", "after", "admission"),
    Step("admission marked as sent", "worker", "workers.register:confirm", "before", "admission"),
    Step("admission final, not confirmed", "worker", "streamcoop.membership.orders:confirm", "before", "admission"),
    Step("admission confirmed", "worker", "streamcoop.membership.orders:confirm", "committed", "admission"),
    Step("batch ended", "worker", "ledger.store.batches:end_batch", "committed", "publication"),
    Step("log's tiles put, not all of them", "worker", "streamcoop.transparency.files:put", "after", "publication"),
    Step("log's head to be signed", "worker", "streamcoop.transparency.publishing:_sign", "before", "publication"),
    Step("log's head signed, not shown", "worker", "streamcoop.transparency.publishing:_sign", "after", "publication"),
    Step("log's head shown, not noted", "worker", "streamcoop.transparency.publishing:show", "after", "publication"),
    Step("batch noted as published", "worker", "ledger.store.batches:mark_published", "committed", "publication"),
    Step("anchor intended, not committed", "worker", "streamcoop.anchoring.service:intend_anchor", "after", "close"),
    Step("track claimed", "media", "streamcoop.catalogue.rendering:claim", "committed", "upload"),
    Step("rendition put, without its row", "media", "streamcoop.catalogue.rendering:add_rendition", "before", "upload"),
    Step("rendition put, with its row", "media", "streamcoop.catalogue.rendering:add_rendition", "committed", "upload"),
    Step("track rendered, not ready", "media", "streamcoop.catalogue.rendering:finish", "before", "upload"),
)
