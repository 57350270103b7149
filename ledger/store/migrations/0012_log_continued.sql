-- A log whose key was stolen has ended. The books are told on by another one, under another name and with other keys.

-- `ledger.log_name` is what the first was called, and stays in its first entry. The later ones begin with the entries of
-- the one before as of its last good head, that of `batch`; up to `ended` all batches had begun under the earlier name.
create table ledger.log_continued (
    place   integer primary key check (place > 1),
    origin  text    not null unique,
    batch   integer not null check (batch > 0),
    ended   integer not null check (ended > batch)
);
create trigger append_only before update or delete on ledger.log_continued
    for each row execute function ledger.refuse_change();
create trigger append_only_truncate before truncate on ledger.log_continued
    for each statement execute function ledger.refuse_change();

-- Keys that a log was to hand over to beyond its last good head are nobody's: no other log tells of them.
create view ledger.log_rotation as
    select * from ledger.log_keys k
     where not exists (select from ledger.log_continued c where k.batch > c.batch and k.batch <= c.ended);

-- What follows from a published batch changes with it, and a batch is published again where a log goes on from before it.
create function ledger.refuse_change_of_published() returns trigger language plpgsql as $$
begin
    if exists (select from ledger.log_batch where number = old.batch and published_at is not null) then
        raise exception 'the batch is published' using errcode = 'restrict_violation';
    end if;
    return new;
end $$;
drop trigger append_only on ledger.log_plays;
create trigger append_only before delete on ledger.log_plays
    for each row execute function ledger.refuse_change();
create trigger kept_once_published before update on ledger.log_plays
    for each row execute function ledger.refuse_change_of_published();

grant select, insert on ledger.log_continued to streamcoop_app;
grant select on ledger.log_rotation to streamcoop_app;
grant update (index, first_leaf, count) on ledger.log_plays to streamcoop_app;
