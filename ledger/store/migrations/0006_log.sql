-- The shared log: what is told in which batch, and what opens its commitments. The log itself is files; from these rows
-- the same bytes follow at any time.

-- The name the log has for ever, written when its first batch is published.
create table ledger.log_name (
    only_one  boolean primary key default true check (only_one),
    origin    text not null
);

-- Everything told belongs to the batch that was open when it was written: who writes it locks that row for sharing, and
-- who ends the batch waits for them.
create table ledger.log_batch (
    number        integer primary key check (number > 0),
    opened_at     timestamptz not null,
    closed_at     timestamptz,
    seals         integer,             -- the epoch whose close this batch ends with
    first_index   bigint,              -- from here on once it is published
    size          bigint,
    root          bytea check (length(root) = 32),
    published_at  timestamptz,
    check (published_at is null or (closed_at is not null and size > first_index and root is not null))
);
create unique index log_batch_open on ledger.log_batch ((true)) where closed_at is null;
create index log_batch_unpublished on ledger.log_batch (number) where closed_at is not null and published_at is null;
create index log_batch_seals on ledger.log_batch (seals) where seals is not null;

-- What a leaf commits to is packed as `ledger.entries` says.
create function ledger.play_commitment(
    salt bytea, play_id uuid, listener_id uuid, track_id uuid, epoch integer, ordinal smallint, kind text, price_micro bigint
) returns bytea language sql immutable parallel safe as $$
    select sha256('\x02'::bytea || salt || '\x70'::bytea || uuid_send(play_id) || uuid_send(listener_id)
                  || uuid_send(track_id) || int8send(epoch) || int2send(ordinal)
                  || case kind when 'play' then '\x01'::bytea else '\x02'::bytea end || int8send(price_micro))
$$;

-- Settled plays by batch. Rows come in the order of batches, so little is kept to find a batch by.
create table ledger.log_play (
    play_id      uuid    primary key,
    batch        integer not null,
    epoch        integer not null,
    track_id     uuid    not null,
    price_micro  bigint  not null,
    commitment   bytea   not null
);
create index log_play_batch on ledger.log_play using brin (batch) with (pages_per_range = 32);

alter table ledger.play_queue add column commitment bytea;
update ledger.play_queue q
   set commitment = ledger.play_commitment(p.salt, p.id, p.listener_id, p.track_id, p.epoch, p.ordinal, p.kind, p.price_micro)
  from ledger.play p where p.id = q.play_id;
alter table ledger.play_queue alter column commitment set not null;

-- What was there before is told in the first batch. Which ends with the last close, if there was one.
alter table ledger.posting add column batch integer default 1;
alter table ledger.posting alter column batch drop default;
create index posting_batch on ledger.posting (batch) where batch is not null;
alter table ledger.tariff add column batch integer not null default 1;
alter table ledger.tariff alter column batch drop default;
alter table ledger.rates add column batch integer not null default 1;
alter table ledger.rates alter column batch drop default;
alter table ledger.net_factors add column batch integer not null default 1;
alter table ledger.net_factors alter column batch drop default;

insert into ledger.log_play
select p.id, 1, p.epoch, p.track_id, p.price_micro,
       ledger.play_commitment(p.salt, p.id, p.listener_id, p.track_id, p.epoch, p.ordinal, p.kind, p.price_micro)
  from ledger.play p where not exists (select from ledger.play_queue q where q.play_id = p.id);

insert into ledger.log_batch (number, opened_at, closed_at, seals)
select 1, coalesce(f.founded_at, now()), case when closed.epoch is not null then now() end, closed.epoch
  from (select max(epoch) as epoch from ledger.epoch_close where closed_at is not null) as closed
  left join ledger.founding f on true;
insert into ledger.log_batch (number, opened_at)
select 2, now() from ledger.log_batch where closed_at is not null;

-- Top-ups and grants. Once the salt is gone nobody can show whose they are.
create table ledger.log_credit (
    posting_id     bigint  not null references ledger.posting,
    listener_id    uuid    not null,
    batch          integer not null,
    kind           text    not null check (kind in ('top-up', 'grant')),
    salt           bytea   check (length(salt) = 32),
    credits_micro  bigint  not null check (credits_micro > 0),
    money_micro    bigint  not null check (money_micro >= 0),
    commitment     bytea   not null,
    primary key (posting_id, listener_id)
);
create index log_credit_batch on ledger.log_credit (batch);
create index log_credit_listener on ledger.log_credit (listener_id);

create table ledger.log_track (
    track_id   uuid    primary key,
    batch      integer not null,
    artist_id  uuid    not null,
    sha256     bytea   not null check (length(sha256) = 32)
);
create index log_track_batch on ledger.log_track (batch);

create table ledger.log_split (
    split_id         uuid    primary key,
    batch            integer not null,
    track_id         uuid    not null,
    effective_epoch  integer not null
);
create index log_split_batch on ledger.log_split (batch);

-- By place in the split. `name` is what the log calls the payee, who alone learns the salt.
create table ledger.log_payee (
    split_id  uuid     not null references ledger.log_split,
    place     smallint not null,
    payee     uuid     not null,
    salt      bytea    check (length(salt) = 32),
    share_bp  integer  not null,
    name      bytea    not null,
    primary key (split_id, place)
);
create index log_payee_payee on ledger.log_payee (payee);

-- Where the plays of a batch's track are told: the entry, and from which leaf on in the batch's file of leaves.
create table ledger.log_plays (
    track_id    uuid    not null,
    epoch       integer not null,
    batch       integer not null,
    index       bigint  not null,
    first_leaf  bigint  not null,
    count       bigint  not null,
    primary key (track_id, epoch, batch)
);

-- Wallets between two seals.
create table ledger.log_wallet (
    epoch          integer not null,
    commitment     bytea   not null,
    listener_id    uuid    not null,
    salt           bytea   check (length(salt) = 32),
    opening_micro  bigint  not null check (opening_micro >= 0),
    in_micro       bigint  not null check (in_micro >= 0),
    spent_micro    bigint  not null check (spent_micro >= 0),
    closing_micro  bigint  not null check (closing_micro >= 0),
    primary key (epoch, commitment),
    unique (listener_id, epoch),
    check (opening_micro + in_micro - spent_micro = closing_micro)
);

-- Erasure forgets salts. Nothing else is ever changed.
create function ledger.refuse_reopening() returns trigger language plpgsql as $$
begin
    if new.salt is not null or (to_jsonb(new) - 'salt') is distinct from (to_jsonb(old) - 'salt') then
        raise exception 'a commitment can be sealed for ever, not reopened' using errcode = 'restrict_violation';
    end if;
    return new;
end $$;

do $$
declare kept text;
begin
    foreach kept in array array['log_name', 'log_play', 'log_track', 'log_split', 'log_plays'] loop
        execute format('create trigger append_only before update or delete on ledger.%I '
                       'for each row execute function ledger.refuse_change()', kept);
    end loop;
    foreach kept in array array['log_credit', 'log_payee', 'log_wallet'] loop
        execute format('create trigger only_blanked before update on ledger.%I '
                       'for each row execute function ledger.refuse_reopening()', kept);
        execute format('create trigger kept before delete on ledger.%I '
                       'for each row execute function ledger.refuse_change()', kept);
    end loop;
    foreach kept in array array['log_play', 'log_track', 'log_split', 'log_plays', 'log_credit', 'log_payee',
                                'log_wallet', 'log_batch'] loop
        execute format('create trigger append_only_truncate before truncate on ledger.%I '
                       'for each statement execute function ledger.refuse_change()', kept);
    end loop;
end $$;

grant select on ledger.log_name, ledger.log_batch, ledger.log_play, ledger.log_credit, ledger.log_track, ledger.log_split,
    ledger.log_payee, ledger.log_plays, ledger.log_wallet to streamcoop_app;
grant insert on ledger.log_name, ledger.log_batch, ledger.log_play, ledger.log_credit, ledger.log_track, ledger.log_split,
    ledger.log_payee, ledger.log_plays, ledger.log_wallet to streamcoop_app;
grant update (closed_at, seals, first_index, size, root, published_at) on ledger.log_batch to streamcoop_app;
grant update (salt) on ledger.log_credit, ledger.log_wallet, ledger.log_payee to streamcoop_app;   -- erasure
grant execute on function ledger.play_commitment to streamcoop_app;
