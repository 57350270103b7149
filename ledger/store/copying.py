"""What a copy of the books holds beyond the copies before it, and how that is put back into an older database.

A copy is of one instant after its batch has ended, and holds whatever belongs to that batch or a later one, as every
posting, settled play and thing told does; with it what those rows changed, as it was then. So a database as it was at
any time while the batch was open, and the copy, make the books of the copy's instant, and the next copy goes on from
there. What a database holds that the copy does not is no older state of the same books, and nothing is put back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text


class WentItsOwnWay(Exception):
    """The database holds what was not in the books when they were copied: it is no earlier state of them."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A table of the books in a copy. `rows` follows on `from` and gives what belongs to batch `{batch}` or later.

    Rows are added to what is there. `cleared` names those that are taken out before, `changed` the columns that a later
    copy may have otherwise, `blanked` those that erasure alone changes: they are as the database has them.
    """

    name: str
    key: Sequence[str]
    rows: str
    cleared: str | None = None
    changed: Sequence[str] = ()
    blanked: Sequence[str] = ()

    @property
    def is_kept(self) -> bool:
        """Whether rows are only ever added: then both have the same."""
        return self.cleared is None and not self.changed


_OF_BATCH = "ledger.{0} as t where t.batch >= {{batch}}"
_OF_POSTING = "ledger.{0} as t join ledger.posting p on p.id = t.posting_id where p.batch >= {{batch}}"
_IDS = """(select play_id from ledger.log_play where batch >= {batch}
            union all select play_id from ledger.play_queue) as told"""
# Ids tell the time: months before the earliest of these plays are not read, however a join is planned.
_FIRST = f"(select play_id from {_IDS} order by play_id limit 1)"
_PLAYS = f"{_IDS} join ledger.play t on t.id = told.play_id where t.id >= {_FIRST}"
_PLAYED = f"""(select p.listener_id, p.track_id from ledger.log_play l join ledger.play p on p.id = l.play_id
                where l.batch >= {{batch}} and p.id >= {_FIRST})"""
# Of an epoch that is being closed, all that is shared out so far.
_SHARED_OUT = "(select coalesce(max(seals), -2147483648) from ledger.log_batch where number < {batch})"

# In the order in which rows refer to each other.
TABLES = (
    Copied("founding", ["only_one"], "ledger.founding as t"),
    Copied("log_name", ["only_one"], "ledger.log_name as t"),
    Copied("log_continued", ["place"], "ledger.log_continued as t"),
    Copied("log_batch", ["number"], "ledger.log_batch as t where number >= {batch}", cleared="number >= {batch}"),
    Copied("tariff", ["version"], _OF_BATCH.format("tariff")),
    Copied("rates", ["version"], _OF_BATCH.format("rates")),
    Copied("rules", ["version"], _OF_BATCH.format("rules")),
    Copied("net_factors", ["version"], _OF_BATCH.format("net_factors")),
    Copied("posting", ["id"], _OF_BATCH.format("posting")),
    Copied(
        "account",
        ["id"],
        """ledger.account as t where id in (
               select debit_account from ledger.transfer m join ledger.posting p on p.id = m.posting_id
                where p.batch >= {batch}
                union select credit_account from ledger.transfer m join ledger.posting p on p.id = m.posting_id
                       where p.batch >= {batch})""",
        changed=["balance_micro"],
    ),
    Copied("transfer", ["posting_id", "id"], _OF_POSTING.format("transfer")),
    Copied(
        "remark",
        ["posting_id"],
        _OF_POSTING.format("remark"),
        cleared="posting_id in (select id from ledger.posting where batch >= {batch})",
    ),
    Copied("play", ["id"], _PLAYS, blanked=["listener_id", "salt"]),
    Copied("log_play", ["play_id"], _OF_BATCH.format("log_play")),
    Copied("play_queue", ["id"], "ledger.play_queue as t", cleared="true"),
    Copied("listener", ["id"], "ledger.listener as t", cleared="true"),
    Copied(
        "progress",
        ["listener_id", "track_id"],
        f"ledger.progress as t where (listener_id, track_id) in {_PLAYED}",
        changed=["plays", "paid_micro", "epoch", "owned_at"],
    ),
    Copied(
        "spending",
        ["listener_id", "month"],
        f"ledger.spending as t where listener_id in (select listener_id from {_PLAYED} as played)",
        changed=["spent_micro"],
    ),
    Copied(
        "track_epoch",
        ["epoch", "track_id"],
        """ledger.track_epoch as t
            where (epoch, track_id) in (select epoch, track_id from ledger.log_play where batch >= {batch})""",
        changed=["plays", "buyouts", "collected_micro"],
    ),
    Copied("late", ["epoch", "track_id"], "ledger.late as t", cleared="true"),
    Copied("epoch_close", ["epoch"], "ledger.epoch_close as t", changed=["begun_at", "closed_at"]),
    Copied("track_close", ["id"], f"ledger.track_close as t where closed_in > {_SHARED_OUT}"),
    Copied(
        "royalty_line",
        ["id"],
        f"""ledger.royalty_line as t join ledger.track_close c on c.id = t.track_close_id
             where c.closed_in > {_SHARED_OUT}""",
    ),
    Copied("royalty_release", ["royalty_line_id"], _OF_POSTING.format("royalty_release")),
    Copied("log_credit", ["posting_id", "listener_id"], _OF_BATCH.format("log_credit"), blanked=["salt"]),
    Copied("log_track", ["track_id"], _OF_BATCH.format("log_track")),
    Copied("log_split", ["split_id"], _OF_BATCH.format("log_split")),
    Copied(
        "log_payee",
        ["split_id", "place"],
        "ledger.log_payee as t join ledger.log_split s on s.split_id = t.split_id where s.batch >= {batch}",
        blanked=["salt"],
    ),
    Copied(
        "log_wallet",
        ["listener_id", "epoch"],
        "ledger.log_wallet as t where epoch in (select seals from ledger.log_batch where number >= {batch})",
        blanked=["salt"],
    ),
    Copied("log_keys", ["batch"], _OF_BATCH.format("log_keys")),
    Copied("log_attestation", ["epoch"], "ledger.log_attestation as t", cleared="batch is null"),
)

# What is told of a batch once it has ended, after which it is copied.
TOLD_LATER = {
    "log_track": "batch = {batch}",
    "log_split": "batch = {batch}",
    "log_payee": "split_id in (select split_id from ledger.log_split where batch = {batch})",
    "log_wallet": "epoch = (select seals from ledger.log_batch where number = {batch})",
}

LEFT_OUT = frozenset({"log_plays"})
"""What follows from the log itself, once the rest is there."""


def put_back(conn: Connection, table: Copied, batch: int, source: str, columns: Sequence[str]) -> None:
    """Bring a table to what the copy of a batch says, whose rows are in `source`. For the owner of the tables.

    Raises WentItsOwnWay, and then the caller rolls back.
    """
    if table.cleared is not None:
        conn.execute(text(f"delete from ledger.{table.name} where {table.cleared.format(batch=batch)}"))
    named, key = ", ".join(columns), ", ".join(table.key)
    on_conflict = "do nothing"
    if table.changed:
        news = ", ".join(f"{column} = excluded.{column}" for column in table.changed)
        on_conflict = f"({key}) do update set {news}"
    conn.execute(
        text(f"insert into ledger.{table.name} ({named}) overriding system value select {named} from {source}"
             f" on conflict {on_conflict}")
    )  # fmt: skip
    compared = [column for column in columns if column not in table.blanked]
    same = " and ".join(f"have.{column} = put.{column}" for column in table.key)
    have, put = (", ".join(f"{side}.{column}" for column in compared) for side in ("have", "put"))
    other = conn.scalar(
        text(f"""select exists (select from {source} put where not exists (
                     select from ledger.{table.name} have where {same} and ({have}) is not distinct from ({put})))""")
    )
    if other:
        raise WentItsOwnWay(f"{table.name}: a row is another than in the sealed copy of batch {batch}")


def tell_again(conn: Connection, name: str, batch: int, source: str, columns: Sequence[str]) -> None:
    """Of a batch that has ended here too, add what was told of it later; what is there stays as it is."""
    named = ", ".join(columns)
    conn.execute(
        text(f"insert into ledger.{name} ({named}) select {named} from {source}"
             f" where {TOLD_LATER[name].format(batch=batch)} on conflict do nothing")
    )  # fmt: skip


def require_nothing_else(conn: Connection, batch: int, counts: dict[str, int]) -> None:
    """Raise WentItsOwnWay unless the database has no more rows of a batch or later than so many by table."""
    for table in TABLES:
        if table.is_kept and table.name in counts:
            found = conn.scalar(text(f"select count(*) from {table.rows.format(batch=batch)}"))
            if found != counts[table.name]:
                raise WentItsOwnWay(
                    f"{table.name}: {found} rows, and {counts[table.name]} in the copy of batch {batch}"
                )


def require_known_plays(conn: Connection, source: str, batch: int) -> None:
    """Raise WentItsOwnWay if a play waits here to be settled that the copy, its queue being in `source`, has not."""
    if conn.scalar(text(_UNKNOWN_PLAY.format(source=source))):
        raise WentItsOwnWay(f"play_queue: a play that the copy of batch {batch} does not know")


_UNKNOWN_PLAY = """
    select exists (select from ledger.play_queue q
                    where not exists (select from {source} put where put.play_id = q.play_id)
                      and not exists (select from ledger.log_play l where l.play_id = q.play_id))
"""


def set_sequences(conn: Connection, schema: str) -> None:
    """Have every identity of a schema go on behind the highest number there is, and never go back."""
    for table, column in conn.execute(_IDENTITIES, {"schema": schema}).all():
        sequence = f"pg_get_serial_sequence('{schema}.\"{table}\"', '{column}')"
        conn.execute(
            text(f'select setval({sequence}, greatest((select max("{column}") from {schema}."{table}"),'
                 f" nextval({sequence})))")
        )  # fmt: skip


_IDENTITIES = text("""
    select table_name, column_name from information_schema.columns
     where table_schema = :schema and is_identity = 'YES' order by table_name
""")
