#!/bin/sh
# The two roles of the service: the owner migrates, the other one cannot change the books.
set -eu
psql --username "$POSTGRES_USER" --dbname postgres \
    --set owner_password="$STREAMCOOP_OWNER_PASSWORD" --set app_password="$STREAMCOOP_APP_PASSWORD" <<'SQL'
create role streamcoop_owner login password :'owner_password';
create role streamcoop_app login password :'app_password';
create database streamcoop owner streamcoop_owner;
revoke connect on database streamcoop from public;
grant connect on database streamcoop to streamcoop_app;
-- Details of an error quote rows, and with them people.
alter system set log_error_verbosity = 'terse';
select pg_reload_conf();
SQL
