"""What came of checking the books."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "books_check",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("begun_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("findings", postgresql.JSONB(), nullable=True),
        sa.Column("transfers", sa.BigInteger(), nullable=True),
        sa.Column("plays", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("books_check_pkey")),
        schema="coop",
    )
    op.create_index(op.f("books_check_begun_at"), "books_check", ["begun_at"], unique=False, schema="coop")
    op.execute("grant select, insert, update, delete on coop.books_check to streamcoop_app")
