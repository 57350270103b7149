-- How the log's keys change, and what two officers attest of the bank.

-- Told in its batch, whose head is the first that the new keys sign.
create table ledger.log_keys (
    batch       integer primary key,
    before      text[] not null check (cardinality(before) > 0),   -- verifier keys of the heads before
    keys        text[] not null check (cardinality(keys) > 0),
    signatures  text[] not null check (cardinality(signatures) > 0)
);

-- With one signature it is an intent, and nobody is told of it.
create table ledger.log_attestation (
    epoch       integer primary key,
    sealed_in   integer not null,      -- the batch that ends with the epoch's seal
    bank_micro  bigint  not null,
    officers    text[]  not null check (cardinality(officers) in (1, 2)),
    signatures  text[]  not null check (cardinality(signatures) = cardinality(officers)),
    batch       integer check (batch > sealed_in),
    check ((batch is not null) = (cardinality(officers) = 2))
);
create index log_attestation_batch on ledger.log_attestation (batch);

create function ledger.refuse_attesting_otherwise() returns trigger language plpgsql as $$
begin
    if old.batch is not null then
        raise exception 'an attestation is for ever' using errcode = 'restrict_violation';
    end if;
    if tg_op = 'DELETE' then
        return old;
    end if;
    if (new.epoch, new.sealed_in, new.bank_micro, new.officers[1], new.signatures[1])
       is distinct from (old.epoch, old.sealed_in, old.bank_micro, old.officers[1], old.signatures[1]) then
        raise exception 'an attestation is completed as it was intended' using errcode = 'restrict_violation';
    end if;
    return new;
end $$;

create trigger append_only before update or delete on ledger.log_keys
    for each row execute function ledger.refuse_change();
create trigger completed_only before update or delete on ledger.log_attestation
    for each row execute function ledger.refuse_attesting_otherwise();
create trigger append_only_truncate before truncate on ledger.log_keys
    for each statement execute function ledger.refuse_change();
create trigger append_only_truncate before truncate on ledger.log_attestation
    for each statement execute function ledger.refuse_change();

grant select, insert on ledger.log_keys, ledger.log_attestation to streamcoop_app;
grant update (officers, signatures, batch), delete on ledger.log_attestation to streamcoop_app;
