"""The books, accounts, catalogue, royalties, membership and ballots."""

from importlib.resources import files

from alembic import op

from streamcoop.database import Base

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute(files("ledger.store").joinpath("migrations/0001_books.sql").read_text(encoding="utf-8"))
    Base.metadata.create_all(op.get_bind())
    op.execute("grant usage on schema coop to streamcoop_app")
    op.execute("grant select, insert, update, delete on all tables in schema coop to streamcoop_app")
    op.execute("revoke all on coop.alembic_version from streamcoop_app")
    op.execute("grant select on coop.alembic_version to streamcoop_app")
