"""Checking the books: everything that is kept is added up again from zero and compared.

Each check is one SQL statement that returns what does not agree, so memory stays flat. Run in one
REPEATABLE READ transaction, it sees the books of one instant while plays go on.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text

FINDINGS_MAX = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement: what was looked at, what the books say and what adding up again gave."""

    check: str
    subject: str
    kept: int | None
    added_up: int | None


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked, and what did not agree (at most FINDINGS_MAX findings per check)."""

    checks: tuple[str, ...]
    findings: tuple[Finding, ...]
    transfers: int
    plays: int

    @property
    def balanced(self) -> bool:
        """Whether all of it agrees."""
        return not self.findings


# Name -> a statement giving (subject, kept, added up) for each disagreement. Of a listener whose wallet is closed, as
# she is being erased, some rows are gone already: what is kept by listener is not compared.
CHECKS = {
    "every balance is the sum of its transfers": """
        with moved as (
            select account_id, sum(micro)::bigint as micro from (
                select credit_account as account_id, amount_micro as micro from ledger.transfer
                union all select debit_account, -amount_micro from ledger.transfer) as both_sides
             group by account_id)
        select a.code, a.balance_micro, coalesce(moved.micro, 0) from ledger.account a
          left join moved on moved.account_id = a.id where a.balance_micro <> coalesce(moved.micro, 0)""",
    "a transfer is of one posting, between two accounts of its asset": """
        select 'transfer ' || t.id, null, null from ledger.transfer t
          left join ledger.account debited on debited.id = t.debit_account and debited.asset = t.asset
          left join ledger.account credited on credited.id = t.credit_account and credited.asset = t.asset
          left join ledger.posting p on p.id = t.posting_id
         where debited.id is null or credited.id is null or p.id is null""",
    "each asset's balances cancel out": """
        select asset, sum(balance_micro)::bigint, 0 from ledger.account
         group by asset having sum(balance_micro) <> 0""",
    "no account is below what it may hold": """
        select code, balance_micro, 0 from ledger.account
         where balance_micro < 0 and kind not in ('issued', 'bank')""",
    "clearing is empty between settlings": """
        select code, balance_micro, 0 from ledger.account where code = 'plays:clearing' and balance_micro <> 0""",
    "prepaid money is worth exactly the credits in circulation": """
        select 'topups:clearing', topups.balance_micro,
               (-(issued.balance_micro) - consumed.balance_micro)::numeric * f.credit_price_micro / 1000000
          from ledger.founding f, ledger.account topups, ledger.account issued, ledger.account consumed
         where topups.code = 'topups:clearing' and issued.code = 'credits:issued' and consumed.code = 'credits:consumed'
           and topups.balance_micro <> (-(issued.balance_micro) - consumed.balance_micro)::numeric
                                       * f.credit_price_micro / 1000000""",
    "each wallet was debited for its settled plays": """
        with played as (
            select p.listener_id, sum(p.price_micro)::bigint as micro from ledger.play p
             where p.listener_id is not null and not exists (select from ledger.play_queue q where q.play_id = p.id)
             group by p.listener_id
        ), debited as (
            select a.owner, sum(t.amount_micro)::bigint as micro from ledger.transfer t
              join ledger.account a on a.id = t.debit_account and a.kind = 'wallet'
              join ledger.account c on c.id = t.credit_account and c.code = 'plays:clearing'
             group by a.owner)
        select 'wallet:' || coalesce(owner, listener_id), debited.micro, played.micro
          from played full join debited on debited.owner = played.listener_id
         where coalesce(debited.micro, 0) <> coalesce(played.micro, 0)
           and exists (select from ledger.play where play.listener_id = coalesce(owner, played.listener_id))
           and not exists (select from ledger.listener l
                            where l.id = coalesce(owner, played.listener_id) and l.closed_at is not null)""",
    "each track collected for its settled plays": """
        with played as (
            select p.track_id, p.epoch, sum(p.price_micro)::bigint as micro,
                   count(*) filter (where p.kind = 'play') as plays,
                   count(*) filter (where p.kind = 'buyout') as buyouts
              from ledger.play p
             where not exists (select from ledger.play_queue q where q.play_id = p.id) group by p.track_id, p.epoch
        ), credited as (
            select a.owner, a.epoch, sum(t.amount_micro)::bigint as micro from ledger.transfer t
              join ledger.account a on a.id = t.credit_account and a.kind = 'track' group by a.owner, a.epoch)
        select 'track:' || track_id || ':' || epoch, coalesce(t.collected_micro, credited.micro), played.micro
          from played full join (select owner as track_id, epoch, micro from credited) credited using (track_id, epoch)
          full join ledger.track_epoch t using (track_id, epoch)
         where played.micro is distinct from credited.micro or played.micro is distinct from t.collected_micro
            or played.plays is distinct from t.plays or played.buyouts is distinct from t.buyouts""",
    "each settled play is told in the log once": """
        with played as (
            select p.track_id, p.epoch, sum(p.price_micro)::bigint as micro, count(*) as plays from ledger.play p
             where not exists (select from ledger.play_queue q where q.play_id = p.id) group by p.track_id, p.epoch
        ), told as (
            select track_id, epoch, sum(price_micro)::bigint as micro, count(*) as plays from ledger.log_play
             group by track_id, epoch)
        select 'track:' || track_id || ':' || epoch, told.micro, played.micro
          from played full join told using (track_id, epoch)
         where played.micro is distinct from told.micro or played.plays is distinct from told.plays""",
    "what came into wallets is told in the log": """
        with came as (
            select t.posting_id, sum(t.amount_micro)::bigint as micro from ledger.transfer t
              join ledger.account a on a.id = t.credit_account and a.kind = 'wallet' group by t.posting_id
        ), told as (
            select posting_id, sum(credits_micro)::bigint as micro from ledger.log_credit group by posting_id)
        select 'posting ' || posting_id, told.micro, came.micro from came full join told using (posting_id)
         where came.micro is distinct from told.micro""",
    "a wallet's line goes on from the one before": """
        select 'wallet:' || w.listener_id || ' in ' || w.epoch, w.opening_micro, coalesce(before.closing_micro, 0)
          from ledger.log_wallet w
          left join lateral (select b.seals from ledger.log_batch b
                              where b.seals < w.epoch order by b.seals desc limit 1) earlier on true
          left join ledger.log_wallet before on before.listener_id = w.listener_id and before.epoch = earlier.seals
         where w.opening_micro <> coalesce(before.closing_micro, 0)""",
    "progress to ownership is what was paid": """
        with played as (
            select p.listener_id, p.track_id, count(*) filter (where p.kind = 'play') as plays,
                   sum(p.price_micro)::bigint as micro, max(p.epoch) as epoch, bool_or(p.completes) as owned
              from ledger.play p
             where p.listener_id is not null and not exists (select from ledger.play_queue q where q.play_id = p.id)
             group by p.listener_id, p.track_id)
        select listener_id || '/' || track_id, k.paid_micro, played.micro
          from played full join ledger.progress k using (listener_id, track_id)
         where (played.micro is distinct from k.paid_micro or played.plays is distinct from k.plays
                or played.epoch is distinct from k.epoch or played.owned <> (k.owned_at is not null))
           and not exists (select from ledger.listener l where l.id = listener_id and l.closed_at is not null)""",
    "monthly spending is what was paid": """
        with spent as (select listener_id, sum(spent_micro)::bigint as micro from ledger.spending group by listener_id),
        paid as (select listener_id, sum(paid_micro)::bigint as micro from ledger.progress group by listener_id)
        select listener_id::text, spent.micro, paid.micro from spent full join paid using (listener_id)
         where spent.micro is distinct from paid.micro
           and not exists (select from ledger.listener l where l.id = listener_id and l.closed_at is not null)""",
    "no play is recorded at an ordinal twice": """
        select listener_id || '/' || track_id || ' play ' || ordinal, count(*), 1 from ledger.play
         where kind = 'play' and listener_id is not null
         group by listener_id, track_id, ordinal having count(*) > 1""",
    "every queued play is recorded": """
        select q.play_id::text, q.price_micro, p.price_micro from ledger.play_queue q
          left join ledger.play p on p.id = q.play_id where p.price_micro is distinct from q.price_micro""",
    "a closed track's gross is its deductions, funds and royalties": """
        with paid as (select track_close_id, sum(amount_micro)::bigint as micro from ledger.royalty_line group by 1)
        select c.closed_in || '/' || c.epoch || '/' || c.track_id, c.gross_micro,
               coalesce(paid.micro, 0) + deducted.micro + funded.micro
          from ledger.track_close c left join paid on paid.track_close_id = c.id,
               lateral (select coalesce(sum(value::bigint), 0)::bigint as micro
                          from jsonb_each_text(c.deductions)) deducted,
               lateral (select coalesce(sum(value::bigint), 0)::bigint as micro from jsonb_each_text(c.funds)) funded
         where c.gross_micro <> coalesce(paid.micro, 0) + deducted.micro + funded.micro
            or c.artists_micro <> coalesce(paid.micro, 0) or c.net_micro <> c.artists_micro + funded.micro""",
    "what was closed and what is still to close is what was collected": """
        with closed as (select track_id, epoch, sum(collected_micro)::bigint as micro, sum(plays) as plays
                          from ledger.track_close group by track_id, epoch)
        select 'track:' || t.track_id || ':' || t.epoch, t.collected_micro, coalesce(closed.micro, 0) + a.balance_micro
          from ledger.track_epoch t
          join ledger.account a on a.kind = 'track' and a.owner = t.track_id and a.epoch = t.epoch
          left join closed on closed.track_id = t.track_id and closed.epoch = t.epoch
         where t.collected_micro <> coalesce(closed.micro, 0) + a.balance_micro
            or t.plays < coalesce(closed.plays, 0)""",
    "nothing collected for a closed epoch is forgotten": """
        select a.code, a.balance_micro, 0 from ledger.account a
          join ledger.epoch_close e on e.epoch = a.epoch and e.closed_at is not null
         where a.kind = 'track' and a.balance_micro <> 0
           and not exists (select from ledger.late l where l.epoch = a.epoch and l.track_id = a.owner)""",
    "taxes, fees and funds were credited what the closes say": """
        with said as (
            select part.key as code, sum(part.value::bigint)::bigint as micro from ledger.track_close c,
                   lateral jsonb_each_text(c.deductions || c.funds) part group by part.key
        ), credited as (
            select a.code, sum(t.amount_micro)::bigint as micro from ledger.transfer t
              join ledger.posting p on p.id = t.posting_id and p.kind = 'royalties'
              join ledger.account a on a.id = t.credit_account and a.kind not in ('consumed', 'royalty', 'held')
             group by a.code)
        select code, credited.micro, said.micro from said full join credited using (code)
         where coalesce(said.micro, 0) <> coalesce(credited.micro, 0)""",
    "held accounts hold the lines not yet released": """
        with waiting as (
            select c.track_id, sum(l.amount_micro)::bigint as micro from ledger.royalty_line l
              join ledger.track_close c on c.id = l.track_close_id
             where l.held_because is not null
               and not exists (select from ledger.royalty_release r where r.royalty_line_id = l.id) group by c.track_id
        ), held as (select owner as track_id, balance_micro as micro from ledger.account where kind = 'held')
        select 'held:' || track_id, held.micro, waiting.micro from waiting full join held using (track_id)
         where coalesce(waiting.micro, 0) <> coalesce(held.micro, 0)""",
    "payees were credited what their lines say": """
        with lines as (
            select l.payee, sum(l.amount_micro)::bigint as micro from ledger.royalty_line l
              left join ledger.royalty_release r on r.royalty_line_id = l.id
             where l.held_because is null or r.royalty_line_id is not null group by l.payee
        ), credited as (
            select a.owner as payee, sum(t.amount_micro)::bigint as micro from ledger.transfer t
              join ledger.posting p on p.id = t.posting_id and p.kind in ('royalties', 'royalty-release')
              join ledger.account a on a.id = t.credit_account and a.kind = 'royalty' group by a.owner)
        select 'royalty:' || payee, credited.micro, lines.micro from lines full join credited using (payee)
         where coalesce(lines.micro, 0) <> coalesce(credited.micro, 0)""",
}


def check_books(conn: Connection) -> Report:
    """Add up the books again. The caller's transaction should be REPEATABLE READ."""
    findings: list[Finding] = []
    for name, statement in CHECKS.items():
        rows = conn.execute(text(f"select * from ({statement}) as found limit {FINDINGS_MAX}"))
        findings += [
            Finding(name, subject, None if kept is None else int(kept), None if added is None else int(added))
            for subject, kept, added in rows
        ]
    transfers, plays = conn.execute(
        text("select (select count(*) from ledger.transfer), (select count(*) from ledger.play)")
    ).one()
    return Report(tuple(CHECKS), tuple(findings), transfers, plays)


def add_up_books(engine: Engine, statement_s_max: int = 0) -> Report:
    """Check the books as of one instant. Writes nothing and takes no lock, so a replica can be asked as well.

    `statement_s_max` bounds each of its statements in seconds, 0 for none; then OperationalError.
    """
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as conn, conn.begin():
        conn.exec_driver_sql("set transaction read only")
        conn.exec_driver_sql(f"set local statement_timeout = '{statement_s_max}s'")
        return check_books(conn)
