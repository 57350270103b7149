-- The books. Two assets, transfers that cannot be unbalanced, plays kept apart from both.
-- The database refuses what the code should never send; it computes nothing.

create schema ledger;

-- ---------------------------------------------------------------- founding and terms

-- One row, written at the first start.
create table ledger.founding (
    only_one            boolean primary key default true check (only_one),
    coop_name           text        not null,
    currency            text        not null check (currency ~ '^[A-Z]{3}$'),
    minor_digits        smallint    not null check (minor_digits between 0 and 4),
    credit_price_micro  bigint      not null check (credit_price_micro > 0),
    epoch_seconds       integer     not null check (epoch_seconds >= 0),   -- 0: calendar months
    epoch_grace_seconds integer     not null check (epoch_grace_seconds >= 0),
    listen_ms_max       integer     not null check (listen_ms_max > 0),
    free_extra_ms       integer     not null check (free_extra_ms > 0),
    token_ms_min        integer     not null check (token_ms_min > 0),
    first_epoch         integer     not null,
    founded_at          timestamptz not null
);

-- Terms change only at an epoch's start; of several for one epoch the newest holds.
create table ledger.tariff (
    version            integer generated always as identity primary key,
    effective_epoch    integer     not null,
    first_price_micro  bigint      not null check (first_price_micro > 0),
    plays              smallint    not null check (plays between 1 and 16),
    decided_by         text        not null,
    decided_at         timestamptz not null
);

-- The epochs each tariff was or is in force; a version replaced before it began was never. Whoever owned a track
-- in one of them, with what she had paid by then, owns it for ever.
create view ledger.tariff_span as
    select * from (
        select version, plays, first_price_micro * ((1::bigint << plays) - 1) as total_micro, effective_epoch as from_epoch,
               coalesce(lead(effective_epoch) over (order by effective_epoch, version) - 1, 2147483647) as to_epoch
          from ledger.tariff) as spans
     where from_epoch <= to_epoch;

create table ledger.rates (
    version            integer generated always as identity primary key,
    effective_epoch    integer     not null,
    artist_share_bp    integer     not null check (artist_share_bp between 0 and 10000),
    community_cut_bp   integer     not null check (community_cut_bp between 0 and 10000),
    reserve_cut_bp     integer     not null check (reserve_cut_bp between community_cut_bp and 10000),
    decided_by         text        not null,   -- 'founding' or 'ballot:<id>'
    decided_at         timestamptz not null
);

create table ledger.net_factors (
    version            integer generated always as identity primary key,
    effective_epoch    integer     not null,
    vat_bp             integer     not null check (vat_bp >= 0),
    fees_bp            integer     not null check (fees_bp >= 0),
    licensing_bp       jsonb       not null,
    decided_by         text        not null,
    decided_at         timestamptz not null
);

-- ---------------------------------------------------------------- accounts and transfers

create table ledger.account (
    id            bigint generated always as identity primary key,
    code          text   not null unique,
    kind          text   not null,
    asset         text   not null check (asset in ('credit', 'money')),
    owner         uuid,
    epoch         integer,
    balance_micro bigint not null default 0,   -- credits − debits
    unique (id, asset),
    -- Only the accounts that stand for what came in from outside go below zero.
    constraint account_balance_floor check (balance_micro >= 0 or kind in ('issued', 'bank'))
);
create unique index account_wallet on ledger.account (owner) where kind = 'wallet';
create unique index account_track on ledger.account (owner, epoch) where kind = 'track';

-- One balanced thing that happened; its key is what a caller may retry with, for ever.
create table ledger.posting (
    id             bigint generated always as identity primary key,
    key            uuid        not null unique,
    kind           text        not null,
    content_sha256 bytea       not null check (length(content_sha256) = 32),
    note           jsonb       not null default '{}',
    posted_at      timestamptz not null
);
create index posting_kind on ledger.posting (kind, id);

create table ledger.transfer (
    id             bigint generated always as identity primary key,
    posting_id     bigint      not null references ledger.posting,
    debit_account  bigint      not null,
    credit_account bigint      not null,
    asset          text        not null,
    amount_micro   bigint      not null check (amount_micro > 0),
    posted_at      timestamptz not null,
    check (debit_account <> credit_account),
    foreign key (debit_account, asset) references ledger.account (id, asset),
    foreign key (credit_account, asset) references ledger.account (id, asset)
);
create index transfer_debit on ledger.transfer (debit_account, id);
create index transfer_credit on ledger.transfer (credit_account, id);
create index transfer_posting on ledger.transfer (posting_id);

-- ---------------------------------------------------------------- plays

-- Who played what stands here and only here. Erasure blanks listener and salt.
-- Partitioned by the id itself: a UUIDv7 minted when the play was opened.
create table ledger.play (
    id           uuid        not null primary key,
    listener_id  uuid,
    track_id     uuid        not null,
    kind         text        not null check (kind in ('play', 'buyout')),
    ordinal      smallint    not null check (ordinal > 0),
    price_micro  bigint      not null check (price_micro > 0),
    completes    boolean     not null,           -- this payment made the listener the owner
    epoch        integer     not null,
    salt         bytea       check (length(salt) = 32),
    recorded_at  timestamptz not null
) partition by range (id);
create table ledger.play_rest partition of ledger.play default;
create index play_listener on ledger.play (listener_id, id);
create index play_track on ledger.play (track_id, epoch);

-- False where rows of that time went to `play_rest` before: they stay there, and PostgreSQL would refuse the partition.
create function ledger.add_play_partition(name text, low uuid, high uuid) returns boolean
language plpgsql security definer set search_path = pg_catalog as $$
begin
    if name !~ '^play_[0-9]{4}_[0-9]{2}$' then
        raise exception 'not the name of a partition: %', name;
    end if;
    if exists (select from ledger.play_rest where id >= low and id < high) then
        return false;
    end if;
    execute format('create table ledger.%I partition of ledger.play for values from (%L) to (%L)', name, low, high);
    return true;
end $$;
revoke execute on function ledger.add_play_partition from public;

-- Recorded and not yet settled. Settling takes what it sees, the lowest ids first; the order of commits does not matter.
create table ledger.play_queue (
    id           bigint generated always as identity primary key,
    play_id      uuid        not null,
    listener_id  uuid        not null,
    track_id     uuid        not null,
    kind         text        not null,
    price_micro  bigint      not null,
    completes    boolean     not null,
    epoch        integer     not null,
    month        integer     not null,
    recorded_at  timestamptz not null
);
create index play_queue_listener on ledger.play_queue (listener_id);

-- ---------------------------------------------------------------- what settling keeps up to date
-- All of it can be added up again from the plays; `streamcoop check-books` does.

create table ledger.listener (
    id                   uuid primary key,
    monthly_budget_micro bigint   check (monthly_budget_micro >= 0),
    stop_before_ordinal  smallint check (stop_before_ordinal > 0)
);

create table ledger.progress (
    listener_id uuid     not null,
    track_id    uuid     not null,
    plays       smallint not null,
    paid_micro  bigint   not null,
    epoch       integer  not null,   -- of the latest payment
    owned_at    timestamptz,         -- when a payment completed it; a change of the tariff can too, and sets nothing
    primary key (listener_id, track_id)
);

create table ledger.spending (
    listener_id uuid    not null,
    month       integer not null,
    spent_micro bigint  not null,
    primary key (listener_id, month)
);

create table ledger.track_epoch (
    epoch           integer not null,
    track_id        uuid    not null,
    plays           bigint  not null,
    buyouts         bigint  not null,
    collected_micro bigint  not null,
    primary key (epoch, track_id)
);
create index track_epoch_track on ledger.track_epoch (track_id, epoch);

-- ---------------------------------------------------------------- closing

-- Tracks that collected for an epoch after its close had begun: shared out at the next close.
create table ledger.late (
    epoch    integer not null,
    track_id uuid    not null,
    primary key (epoch, track_id)
);

create table ledger.epoch_close (
    epoch        integer primary key,
    begun_at     timestamptz not null,
    closed_at    timestamptz
);

-- One track's share-out at one close. `epoch` is the plays' own; an earlier one than `closed_in` came late.
create table ledger.track_close (
    id              bigint generated always as identity primary key,
    closed_in       integer not null references ledger.epoch_close,
    epoch           integer not null,
    track_id        uuid    not null,
    posting_id      bigint  not null references ledger.posting,
    plays           bigint  not null,
    buyouts         bigint  not null,
    collected_micro bigint  not null check (collected_micro > 0),
    tariff_version  integer not null references ledger.tariff,
    rates_version   integer not null references ledger.rates,
    factors_version integer not null references ledger.net_factors,
    gross_micro     bigint  not null,
    deductions      jsonb   not null,
    net_micro       bigint  not null,
    artists_micro   bigint  not null,
    funds           jsonb   not null,
    unique (closed_in, epoch, track_id)
);
create index track_close_track on ledger.track_close (track_id);

create table ledger.royalty_line (
    id             bigint generated always as identity primary key,
    track_close_id bigint  not null references ledger.track_close,
    payee          uuid    not null,
    share_bp       integer not null check (share_bp > 0),
    amount_micro   bigint  not null check (amount_micro >= 0),
    held_because   text,
    unique (track_close_id, payee)
);
create index royalty_line_payee on ledger.royalty_line (payee);

-- Money that was held and could be paid later: one row for each line released.
create table ledger.royalty_release (
    royalty_line_id bigint primary key references ledger.royalty_line,
    posting_id      bigint      not null references ledger.posting,
    released_at     timestamptz not null
);

-- ---------------------------------------------------------------- append only

create function ledger.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: post another transfer instead', tg_table_name using errcode = 'restrict_violation';
end $$;

-- Who played what is changed in one way only: erasure blanks it.
create function ledger.refuse_rewriting() returns trigger language plpgsql as $$
begin
    if (new.listener_id is not null and new.listener_id is distinct from old.listener_id)
       or (new.salt is not null and new.salt is distinct from old.salt) then
        raise exception 'a play can be blanked, not rewritten' using errcode = 'restrict_violation';
    end if;
    return new;
end $$;
create trigger only_blanked before update on ledger.play for each row execute function ledger.refuse_rewriting();

do $$
declare kept text;
begin
    foreach kept in array array['founding', 'tariff', 'rates', 'net_factors', 'posting', 'transfer',
                                'track_close', 'royalty_line', 'royalty_release'] loop
        execute format('create trigger append_only before update or delete on ledger.%I '
                       'for each row execute function ledger.refuse_change()', kept);
        execute format('create trigger append_only_truncate before truncate on ledger.%I '
                       'for each statement execute function ledger.refuse_change()', kept);
    end loop;
end $$;

grant usage on schema ledger to streamcoop_app;
grant select on all tables in schema ledger to streamcoop_app;
grant insert on ledger.founding, ledger.tariff, ledger.rates, ledger.net_factors, ledger.account, ledger.posting,
    ledger.transfer, ledger.play, ledger.play_queue, ledger.listener, ledger.progress, ledger.spending,
    ledger.track_epoch, ledger.epoch_close, ledger.track_close, ledger.royalty_line, ledger.royalty_release
    to streamcoop_app;
grant update (balance_micro) on ledger.account to streamcoop_app;
grant update (listener_id, salt) on ledger.play to streamcoop_app;
grant delete, update on ledger.play_queue to streamcoop_app;   -- update: row locks of FOR UPDATE
grant update on ledger.listener, ledger.progress, ledger.spending, ledger.track_epoch to streamcoop_app;
grant insert, delete on ledger.late to streamcoop_app;
grant delete on ledger.listener, ledger.progress, ledger.spending to streamcoop_app;   -- erasure
grant update (closed_at) on ledger.epoch_close to streamcoop_app;
grant execute on function ledger.add_play_partition to streamcoop_app;
