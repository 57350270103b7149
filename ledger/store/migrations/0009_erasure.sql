-- Erasing a listener: what bars her wallet; and what people wrote beside top-ups and grants, which is no part of the
-- books and may name somebody.

-- From here on nothing is spent, and what would open her wallet's lines is not kept.
alter table ledger.listener add column closed_at timestamptz;

create table ledger.remark (
    posting_id bigint primary key references ledger.posting,
    text       text   not null
);
grant select, insert, delete on ledger.remark to streamcoop_app;

insert into ledger.remark (posting_id, text)
select id, coalesce(nullif(note ->> 'reference', ''), note ->> 'reason') from ledger.posting
 where kind in ('top-up', 'grant') and coalesce(nullif(note ->> 'reference', ''), note ->> 'reason') <> '';

-- A digest of few words can be guessed, so what a posting's key stands for is told without them: as `posting.post` does.
alter table ledger.posting disable trigger append_only;
update ledger.posting p
   set note = p.note - 'reference' - 'reason',
       content_sha256 = sha256(convert_to(format('["%s",[%s],{%s}]', p.kind, moved.told, kept.told), 'UTF8'))
  from ledger.posting same
 cross join lateral (
    select coalesce(string_agg(format('["%s","%s","%s",%s]', d.code, c.code, t.asset, t.amount_micro), ','
                               order by t.id), '') as told
      from ledger.transfer t
      join ledger.account d on d.id = t.debit_account
      join ledger.account c on c.id = t.credit_account
     where t.posting_id = same.id) moved
 cross join lateral (
    select coalesce(string_agg(format('%s:%s', to_json(said.key), said.value), ',' order by said.key collate "C"), '')
               as told
      from jsonb_each(same.note - 'reference' - 'reason') said) kept
 where same.id = p.id and p.kind in ('top-up', 'grant') and p.note ?| array['reference', 'reason'];
alter table ledger.posting enable trigger append_only;
