"""Transfers checked by the statement, and room for rows that change all the time."""

from importlib.resources import files

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute(files("ledger.store").joinpath("migrations/0005_sets.sql").read_text(encoding="utf-8"))
