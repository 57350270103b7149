"""What must hold after a round, added up from the tables and from what people were promised."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eth_utils.address import to_checksum_address
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session
from web3 import HTTPProvider, Web3

from ledger.store.checking import check_books
from ledger.store.terms import founding
from ledger.verify.reading import open_log
from ledger.verify.receipts import RECEIPT_SUFFIX
from ledger.verify.run import Asked, verify
from streamcoop.adapters.members import Membership
from streamcoop.adapters.objects import FolderStore
from streamcoop.transparency.keys import Keyring, keys_from
from streamcoop.transparency.receipts import Log, play_receipt
from tests.faults.load import Notes, Play, TopUp


@dataclass
class Found:
    """What is wrong, in words, one line for each thing."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unbalanced: list[str] = field(default_factory=list)

    def __iadd__(self, other: Found) -> Found:
        for mine, others in ((self.lost, other.lost), (self.doubled, other.doubled)):
            mine += [line for line in others if line not in mine]
        self.unbalanced += [line for line in other.unbalanced if line not in self.unbalanced]
        return self

    def __bool__(self) -> bool:
        return bool(self.lost or self.doubled or self.unbalanced)


_PLAYS_LOST = text("""
    select noted.id from unnest(cast(:ids as uuid[]), cast(:listeners as uuid[]), cast(:tracks as uuid[]),
                                cast(:ordinals as integer[]), cast(:prices as bigint[]))
                         as noted(id, listener_id, track_id, ordinal, price_micro)
      left join ledger.play p using (id, listener_id, track_id, ordinal, price_micro) where p.id is null
""")

_TOP_UPS = text("""
    select noted.id, coalesce(sum(t.amount_micro), 0) / noted.credits_micro as times
      from unnest(cast(:ids as uuid[]), cast(:listeners as uuid[]), cast(:credits as bigint[]))
           as noted(id, listener_id, credits_micro)
      left join ledger.account wallet on wallet.kind = 'wallet' and wallet.owner = noted.listener_id
      left join ledger.posting p on p.kind = 'top-up' and p.key = noted.id
      left join ledger.transfer t on t.posting_id = p.id and t.credit_account = wallet.id
     group by noted.id, noted.credits_micro having coalesce(sum(t.amount_micro), 0) <> noted.credits_micro
""")

# Each: who or what, what the plays and closes say, and what the transfers say.
_SETTLED_ONCE = {
    "wallet": text("""
        with played as (select listener_id, sum(price_micro) as micro from ledger.play
                         where id not in (select play_id from ledger.play_queue) group by listener_id),
             debited as (select w.owner as listener_id, sum(t.amount_micro) as micro from ledger.transfer t
                           join ledger.account w on w.id = t.debit_account and w.kind = 'wallet' group by w.owner)
        select listener_id, coalesce(played.micro, 0), coalesce(debited.micro, 0)
          from played full join debited using (listener_id)
         where played.micro is distinct from debited.micro"""),
    "track": text("""
        with played as (select track_id, epoch, sum(price_micro) as micro from ledger.play
                         where id not in (select play_id from ledger.play_queue) group by track_id, epoch),
             credited as (select a.owner as track_id, a.epoch, sum(t.amount_micro) as micro from ledger.transfer t
                            join ledger.account a on a.id = t.credit_account and a.kind = 'track'
                           group by a.owner, a.epoch)
        select track_id || ':' || epoch, coalesce(played.micro, 0), coalesce(credited.micro, 0)
          from played full join credited using (track_id, epoch) where played.micro is distinct from credited.micro"""),
    "royalties": text("""
        with closed as (select track_id, epoch, sum(collected_micro) as micro from ledger.track_close
                         group by track_id, epoch),
             consumed as (select a.owner as track_id, a.epoch, sum(t.amount_micro) as micro from ledger.transfer t
                            join ledger.account a on a.id = t.debit_account and a.kind = 'track'
                           group by a.owner, a.epoch)
        select track_id || ':' || epoch, coalesce(closed.micro, 0), coalesce(consumed.micro, 0)
          from closed full join consumed using (track_id, epoch) where closed.micro is distinct from consumed.micro"""),
}

_ORDINALS_TWICE = text("""
    select listener_id || ' ' || track_id || ' play ' || ordinal from ledger.play where kind = 'play'
     group by listener_id, track_id, ordinal having count(*) > 1
""")

# In the log: in a published batch, at a place that is kept.
_PLAYS_UNTOLD = text("""
    select noted.id from unnest(cast(:ids as uuid[])) as noted(id)
      left join ledger.log_play told on told.play_id = noted.id
      left join ledger.log_batch b on b.number = told.batch and b.published_at is not null
      left join ledger.log_plays place on place.batch = b.number and place.track_id = told.track_id
                                      and place.epoch = told.epoch
     where place.batch is null
""")

# Every listener's money came from the top-ups her treasurer has noted, when none is under way.
_CREDITED = text("""
    select wallet.owner, sum(t.amount_micro) from ledger.transfer t
      join ledger.account wallet on wallet.id = t.credit_account and wallet.kind = 'wallet'
     where wallet.owner = any(:listeners) group by wallet.owner
""")

_UPLOADS_LOST = text("""
    select noted.id, coalesce(t.state, 'missing') from unnest(cast(:ids as uuid[])) as noted(id)
      left join coop.track t using (id) where t.id is null or t.state = 'failed'
""")

_UPLOADS_UNFINISHED = text("select id, state from coop.track where id = any(:ids) and state <> 'ready'")

_MEMBERS_UNFINISHED = text("""
    select noted.id, coalesce(m.state, 'missing') from unnest(cast(:ids as uuid[])) as noted(id)
      left join coop.member m using (id) where m.state is distinct from 'member'
""")


def look(database: Engine, notes: Notes, since: int = 0) -> Found:
    """All that can be told at any moment, the plays noted since that one included."""
    plays, top_ups, uploads = notes.plays[since:], list(notes.top_ups), list(notes.uploads)
    # Noted before this snapshot, so in it.
    with database.connect().execution_options(isolation_level="REPEATABLE READ") as conn, conn.begin():
        found = Found()
        _look_at_plays(conn, plays, found)
        _look_at_top_ups(conn, top_ups, found)
        for kind, statement in _SETTLED_ONCE.items():
            for subject, due_micro, moved_micro in conn.execute(statement):
                wrong = found.doubled if moved_micro > due_micro else found.lost
                wrong.append(f"{kind} {subject}: {moved_micro} was moved for {due_micro}")
        found.doubled += [str(row[0]) for row in conn.execute(_ORDINALS_TWICE)]
        rows = conn.execute(_UPLOADS_LOST, {"ids": uploads})
        found.lost += [f"upload {track_id} is {state}" for track_id, state in rows]
        found.unbalanced += [f"{f.check}: {f.subject} {f.kept} {f.added_up}" for f in check_books(conn).findings]
    return found


def _look_at_plays(conn: Connection, plays: Sequence[Play], found: Found) -> None:
    columns = {
        "ids": [play.play_id for play in plays],
        "listeners": [play.listener_id for play in plays],
        "tracks": [play.track_id for play in plays],
        "ordinals": [play.ordinal for play in plays],
        "prices": [play.price_micro for play in plays],
    }
    found.lost += [f"play {row[0]}" for row in conn.execute(_PLAYS_LOST, columns)]


def _look_at_top_ups(conn: Connection, top_ups: Sequence[TopUp], found: Found) -> None:
    columns = {
        "ids": [top_up.request_id for top_up in top_ups],
        "listeners": [top_up.listener_id for top_up in top_ups],
        "credits": [top_up.credits_micro for top_up in top_ups],
    }
    for request_id, times in conn.execute(_TOP_UPS, columns):
        (found.doubled if times > 1 else found.lost).append(f"top-up {request_id} is there {times:.2f} times")


def look_at_wallets(database: Engine, notes: Notes) -> Found:
    """When nobody does anything any more: what came into each wallet is what was acknowledged, no more."""
    acknowledged: dict[str, int] = {}
    for top_up in notes.top_ups:
        owner = str(top_up.listener_id)
        acknowledged[owner] = acknowledged.get(owner, 0) + top_up.credits_micro
    with database.connect() as conn:
        credited = {str(owner): micro for owner, micro in conn.execute(_CREDITED, {"listeners": list(acknowledged)})}
    found = Found()
    for owner, micro in acknowledged.items():
        if credited.get(owner, 0) > micro:
            found.doubled.append(f"wallet {owner} was given {credited[owner]} for {micro}")
        elif credited.get(owner, 0) < micro:
            found.lost.append(f"wallet {owner} was given {credited.get(owner, 0)} for {micro}")
    return found


def look_at_tokens(database: Engine, rpc_url: str, contract: str) -> Found:
    """When no admission is under way: every member has one token, and there are no others."""
    with database.connect() as conn:
        addresses = conn.execute(text("select address from coop.member where state = 'member'")).scalars().all()
    abi = json.loads(Membership.file.read_text(encoding="utf-8"))["abi"]
    functions = Web3(HTTPProvider(rpc_url)).eth.contract(to_checksum_address(contract), abi=abi).functions
    held = {address: int(functions.balanceOf(to_checksum_address(address)).call()) for address in addresses}
    found = Found()
    found.lost += [f"{address} has no token" for address, tokens in held.items() if tokens == 0]
    found.doubled += [f"{address} has {tokens} tokens" for address, tokens in held.items() if tokens > 1]
    if (supply := int(functions.totalSupply().call())) > sum(held.values()):
        found.doubled.append(f"{supply} tokens for {len(held)} members")
    return found


@dataclass(frozen=True)
class PublishedLog:
    """The log as an auditor has it, who gets receipts from listeners and keeps them all."""

    objects: Path
    origin: str
    secret: str
    receipts: Path

    @property
    def _log(self) -> Log:
        return Log(FolderStore(self.objects), Keyring(tuple(keys_from(self.secret, self.origin)), ()), self.origin)

    def look(self, database: Engine, plays: Sequence[Play]) -> Found:
        """The whole log from its files, with the receipts of these plays, as far as they are told, and all before."""
        with Session(database) as session:
            founded = founding(session.connection())
            for play in plays:
                told = play_receipt(session, self._log, founded, play.listener_id, play.play_id)
                if told.receipt is not None:
                    file = self.receipts / f"{play.play_id}{RECEIPT_SUFFIX}"
                    file.write_text(told.receipt, encoding="utf-8")
        asked = Asked(keys=tuple(self._log.keys.all), receipts=self.receipts)
        # Nothing here is a promise that time could break.
        report = verify(open_log(str(self.objects / "log")), asked, now_s=0)
        found = Found()
        if report.verdict:
            said = [*([report.unreadable] if report.unreadable else []), *map(str, report.findings.first)]
            found.unbalanced += [f"the log: {line}" for line in said]
        return found


def untold(database: Engine, notes: Notes) -> list[str]:
    """Plays that were acknowledged and are in no batch of the log that is published."""
    with database.connect() as conn:
        rows = conn.execute(_PLAYS_UNTOLD, {"ids": [play.play_id for play in notes.plays]})
        return [f"play {row[0]} is not in the log" for row in rows]


def published(database: Engine) -> int:
    """How many batches of the log are published."""
    with database.connect() as conn:
        count = text("select count(*) from ledger.log_batch where published_at is not null")
        return int(conn.execute(count).scalar_one())


def unfinished(database: Engine, notes: Notes) -> list[str]:
    """Uploads and admissions that were acknowledged and have not come to their end."""
    with database.connect() as conn:
        uploads = conn.execute(_UPLOADS_UNFINISHED, {"ids": list(notes.uploads)}).all()
        members = conn.execute(_MEMBERS_UNFINISHED, {"ids": list(notes.members)}).all()
    return [f"upload {id_} is {state}" for id_, state in uploads] + [
        f"member {id_} is {state}" for id_, state in members
    ]
