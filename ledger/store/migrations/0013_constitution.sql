-- The constitution, fixed at founding; and the rules that members vote on: listening and payouts.

create table ledger.rules (
    version              integer generated always as identity primary key,
    effective_epoch      integer     not null,
    payout_minimum_minor bigint      not null check (payout_minimum_minor > 0),
    listen_ms_max        integer     not null check (listen_ms_max > 0),
    decided_by           text        not null,   -- 'founding' or 'ballot:<id>'
    decided_at           timestamptz not null,
    batch                integer     not null
);
create trigger append_only before update or delete on ledger.rules
    for each row execute function ledger.refuse_change();
create trigger append_only_truncate before truncate on ledger.rules
    for each statement execute function ledger.refuse_change();
grant select, insert on ledger.rules to streamcoop_app;

-- Of a co-op founded before: its rules are those it was founded with, told in the batch that is open now.
insert into ledger.rules (effective_epoch, payout_minimum_minor, listen_ms_max, decided_by, decided_at, batch)
select f.first_epoch, 1000, f.listen_ms_max, 'founding', f.founded_at, b.number
  from ledger.founding f join ledger.log_batch b on b.closed_at is null;

-- And its constitution is the usual one, as wide as what is in force there needs it.
alter table ledger.founding add column constitution jsonb;
alter table ledger.founding disable trigger user;
with usual as (
    select '{
        "parameters": {
            "artist_share_bp":      {"lowest": 5000, "highest": 9000, "step_max": 500, "quantum": 1},
            "community_cut_bp":     {"lowest": 0, "highest": 5000, "step_max": 500, "quantum": 1},
            "reserve_cut_bp":       {"lowest": 1000, "highest": 9000, "step_max": 500, "quantum": 1},
            "first_price_micro":    {"lowest": 1000, "highest": 16000, "step_max": 2000, "quantum": 1000},
            "plays":                {"lowest": 5, "highest": 12, "step_max": 1, "quantum": 1},
            "payout_minimum_minor": {"lowest": 100, "highest": 10000, "step_max": 1000, "quantum": 1},
            "listen_ms_max":        {"lowest": 10000, "highest": 60000, "step_max": 15000, "quantum": 1}
        },
        "quorum_bp": 2000,
        "class_quorum_bp": {"listener": 0, "artist": 0, "worker": 0},
        "waiting_seconds": 2592000,
        "delegation_cap": 10,
        "supporters_min": 3,
        "discussion_seconds": 604800,
        "ballot_seconds_min": 259200,
        "ballot_seconds_max": 7776000,
        "quiet_seconds": 21600,
        "extension_seconds_max": 172800,
        "timelock_seconds": 172800,
        "office_delay_seconds": 172800,
        "share_minor": 1000,
        "share_refund_seconds": 15552000
    }'::jsonb as told
), in_force as (
    select 'artist_share_bp' as name, artist_share_bp as number from ledger.rates
    union all select 'first_price_micro', first_price_micro from ledger.tariff
    union all select 'plays', plays from ledger.tariff
    union all select 'listen_ms_max', listen_ms_max from ledger.rules
    union all select 'community_cut_bp', community_cut_bp from ledger.rates
    union all select 'reserve_cut_bp', reserve_cut_bp from ledger.rates
), bounds as (
    select key as name,
           bound || jsonb_build_object(
               'lowest', least((bound->>'lowest')::bigint, min(number)),
               'highest', greatest((bound->>'highest')::bigint, max(number))) as bound
      from usual cross join jsonb_each(told->'parameters') as each(key, bound)
      left join in_force on name = key group by key, bound
)
update ledger.founding
   set constitution = (select told from usual)
                      || jsonb_build_object('parameters', (select jsonb_object_agg(name, bound) from bounds));
alter table ledger.founding enable trigger user;
alter table ledger.founding alter column constitution set not null;
alter table ledger.founding drop column listen_ms_max;
