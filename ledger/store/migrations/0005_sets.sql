-- Settling writes tens of thousands of rows in a statement. What is checked, is checked for all of them at once, and a
-- row that changes all the time finds room beside itself: then none of its table's indexes is touched.

-- Foreign keys ask for each row by itself, and lock what they find against a deletion that is refused anyway.
alter table ledger.transfer
    drop constraint transfer_posting_id_fkey,
    drop constraint transfer_debit_account_asset_fkey,
    drop constraint transfer_credit_account_asset_fkey;
alter table ledger.account drop constraint account_id_asset_key;

-- Each account and posting once, by its key: a join's plan, made once, would not do for one transfer and for thousands.
create function ledger.refuse_stray_transfers() returns trigger language plpgsql as $$
begin
    if exists (
        select from (select debit_account, asset from new_transfers
                      union select credit_account, asset from new_transfers) as named (account_id, asset)
         where (select a.asset from ledger.account a where a.id = named.account_id) is distinct from named.asset
    ) or exists (
        select from (select distinct posting_id from new_transfers) as named
         where (select p.id from ledger.posting p where p.id = named.posting_id) is null
    ) then
        raise exception 'a transfer is of one posting, between two accounts of its asset'
            using errcode = 'foreign_key_violation';
    end if;
    return null;
end $$;
create trigger of_accounts_and_posting after insert on ledger.transfer
    referencing new table as new_transfers
    for each statement execute function ledger.refuse_stray_transfers();

create function ledger.refuse_other_account() returns trigger language plpgsql as $$
begin
    raise exception 'an account stays, and stays what it is' using errcode = 'restrict_violation';
end $$;
create trigger kept before delete or update of id, code, kind, asset, owner, epoch on ledger.account
    for each row execute function ledger.refuse_other_account();
create trigger kept_truncate before truncate on ledger.account
    for each statement execute function ledger.refuse_other_account();

-- One index less to write: transfers are found by their posting, and their ids are unique as they are given out.
alter table ledger.transfer drop constraint transfer_pkey, add primary key (posting_id, id);
drop index ledger.transfer_posting;

-- Settlings go one at a time, so the queue's rows need no lock.
revoke update on ledger.play_queue from streamcoop_app;

alter table ledger.account set (fillfactor = 70);
alter table ledger.progress set (fillfactor = 80);
alter table ledger.spending set (fillfactor = 70);
alter table ledger.track_epoch set (fillfactor = 70);
