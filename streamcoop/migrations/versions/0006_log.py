"""The shared log's batches and what opens its commitments."""

from importlib.resources import files

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute(files("ledger.store").joinpath("migrations/0006_log.sql").read_text(encoding="utf-8"))
    # The batch a counted ballot is told in.
    op.add_column("ballot", sa.Column("batch", sa.Integer), schema="coop")
    op.create_index("ballot_batch", "ballot", ["batch"], schema="coop")
    op.execute("update coop.ballot set batch = 1 where state = 'closed'")
    op.execute(_EARLIER)


# What was there before has salts too: two random UUIDs make 244 random bits.
_SALT = "sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))"
_EARLIER = rf"""
    insert into ledger.log_credit (posting_id, batch, kind, listener_id, salt, credits_micro, money_micro, commitment)
    select id, 1, kind, listener_id, salt, credits_micro, money_micro,
           sha256('\x02'::bytea || salt || '\x63'::bytea || uuid_send(key) || uuid_send(listener_id)
                  || case kind when 'top-up' then '\x01'::bytea else '\x02'::bytea end
                  || int8send(credits_micro) || int8send(money_micro))
      from (select p.id, p.key, p.kind, wallet.owner as listener_id, {_SALT} as salt, t.amount_micro as credits_micro,
                   case p.kind when 'top-up' then t.amount_micro * f.credit_price_micro / 1000000 else 0 end as money_micro
              from ledger.posting p join ledger.transfer t on t.posting_id = p.id
              join ledger.account wallet on wallet.id = t.credit_account and wallet.kind = 'wallet'
             cross join ledger.founding f where p.kind in ('top-up', 'grant')) as credited;
    insert into ledger.log_split (split_id, batch, track_id, effective_epoch)
    select id, 1, track_id, effective_epoch from coop.split;
    insert into ledger.log_payee (split_id, place, payee, salt, share_bp, name)
    select split_id, place, payee, salt, share_bp,
           sha256('\x02'::bytea || salt || '\x79'::bytea || uuid_send(payee) || uuid_send(split_id))
      from (select split_id, row_number() over (partition by split_id order by payee) - 1 as place, payee, share_bp,
                   {_SALT} as salt from coop.split_share) as shares
"""
