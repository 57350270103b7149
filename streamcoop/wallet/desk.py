"""What was last booked at the cash desk."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection, text

ENTRIES_MAX = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """A top-up or a grant. `money_micro` is what was paid in, 0 of a grant; `remark` what was written beside it."""

    request_id: UUID
    kind: Literal["top-up", "grant"]
    listener_id: UUID
    credits_micro: int
    money_micro: int
    remark: str
    booked_at: datetime
    booked_by: UUID | None


def entries(conn: Connection, most: int) -> list[Entry]:
    """The newest entries, the latest first."""
    return [Entry(*row) for row in conn.execute(_ENTRIES, {"most": most})]


# Of each kind by the index on kinds: the two kinds at once would be sorted from the co-op's beginning on.
_ENTRIES = text("""
    with newest as (
        (select id from ledger.posting where kind = 'top-up' order by id desc limit :most) union all
        (select id from ledger.posting where kind = 'grant' order by id desc limit :most)
    )
    select p.key, p.kind, c.listener_id, c.credits_micro, c.money_micro, coalesce(r.text, ''), p.posted_at,
           cast(p.note ->> 'by' as uuid)
      from newest join ledger.posting p using (id)
      join ledger.log_credit c on c.posting_id = p.id
      left join ledger.remark r on r.posting_id = p.id
     order by p.id desc limit :most
""")
