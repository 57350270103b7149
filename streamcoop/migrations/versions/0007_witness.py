"""Logs that are witnessed, and what is held against them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "witnessed_log",
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("keys", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("cosignatures", sa.Text(), nullable=False),
        sa.Column("added_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("cosigned_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("origin", name=op.f("witnessed_log_pkey")),
        schema="coop",
    )
    op.create_table(
        "log_evidence",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("shows_a_fork", sa.Boolean(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("found_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["origin"], ["coop.witnessed_log.origin"], name=op.f("log_evidence_origin_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("log_evidence_pkey")),
        sa.UniqueConstraint("origin", "shows_a_fork", "size", "root", name="log_evidence_head_unique"),
        schema="coop",
    )
    # What was seen of a log is never to be forgotten.
    op.execute("grant select, insert, update on coop.witnessed_log to streamcoop_app")
    op.execute("grant select, insert on coop.log_evidence to streamcoop_app")
