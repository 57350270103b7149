"""Accounts that are erased, and remarks apart from the books."""

from importlib.resources import files

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.execute(files("ledger.store").joinpath("migrations/0009_erasure.sql").read_text(encoding="utf-8"))
    op.create_table(
        "erasure",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("asked_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["coop.user.id"], name=op.f("erasure_user_id_fkey")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("erasure_pkey")),
        schema="coop",
    )
    op.create_index(
        op.f("erasure_unfinished"),
        "erasure",
        ["asked_at"],
        unique=False,
        schema="coop",
        postgresql_where=sa.text("ended_at is null"),
    )
    # That an account was erased is never forgotten: a backup that is put back has it again.
    op.execute("grant select, insert, update on coop.erasure to streamcoop_app")
