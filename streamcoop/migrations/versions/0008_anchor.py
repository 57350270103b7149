"""What of the log is anchored on the chain."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "anchor",
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("gross_micro", sa.BigInteger(), nullable=False),
        sa.Column("royalties_micro", sa.BigInteger(), nullable=False),
        sa.Column("intended_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("held_up_by", sa.Text(), nullable=True),
        sa.Column("not_before", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("confirmed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("chain_id", sa.BigInteger(), nullable=True),
        sa.Column("contract", sa.Text(), nullable=True),
        sa.Column("code_hash", sa.Text(), nullable=True),
        sa.CheckConstraint("size > 0", name=op.f("anchor_size")),
        sa.CheckConstraint("length(root) = 32", name=op.f("anchor_root")),
        sa.CheckConstraint("gross_micro >= 0 and royalties_micro >= 0", name=op.f("anchor_totals")),
        sa.PrimaryKeyConstraint("epoch", name=op.f("anchor_pkey")),
        schema="coop",
    )
    op.create_index(
        op.f("anchor_unfinished"),
        "anchor",
        ["epoch"],
        unique=False,
        schema="coop",
        postgresql_where=sa.text("confirmed_at is null"),
    )
    op.execute("grant select, insert, update, delete on coop.anchor to streamcoop_app")
