-- Who owns a track, by track. A row comes to be owned once and changes no more: settling pays for one entry each.
create index progress_owned on ledger.progress (track_id, listener_id) where owned_at is not null;
