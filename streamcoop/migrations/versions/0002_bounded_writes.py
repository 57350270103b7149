"""Search rows without the artist's name, so that a new name is one row; holds that are lifted bit by bit."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for table, words in (("release", "words"), ("track", "words || ' ' || release_words")):
        op.drop_index(f"{table}_search", table_name=table, schema="coop")
        op.drop_column(table, "search", schema="coop")
        op.drop_column(table, "artist_words", schema="coop")
        vector = sa.Computed(f"array_to_tsvector(array_remove(string_to_array({words}, ' '), ''))", persisted=True)
        op.add_column(table, sa.Column("search", postgresql.TSVECTOR(), vector, nullable=False), schema="coop")
        op.create_index(f"{table}_search", table, ["search"], unique=False, schema="coop", postgresql_using="gin")
    op.add_column("hold", sa.Column("lifted_at", postgresql.TIMESTAMP(timezone=True), nullable=True), schema="coop")
    op.create_index("hold_lifted", "hold", ["id"], schema="coop", postgresql_where=sa.text("lifted_at is not null"))
