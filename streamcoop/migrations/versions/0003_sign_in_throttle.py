"""Failed sign-ins and uploads under way, counted across processes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "sign_in_door",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("free_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("known_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("forget_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("sign_in_door_pkey")),
        schema="coop",
    )
    op.create_index(op.f("sign_in_door_forget_at"), "sign_in_door", ["forget_at"], schema="coop")
    op.create_table(
        "upload_place",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("held_until", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["coop.user.id"], name=op.f("upload_place_account_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("upload_place_pkey")),
        schema="coop",
    )
    op.create_index(op.f("upload_place_account_id"), "upload_place", ["account_id"], schema="coop")
    op.execute("grant select, insert, update, delete on coop.sign_in_door, coop.upload_place to streamcoop_app")
