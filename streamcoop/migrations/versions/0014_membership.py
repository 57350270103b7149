"""Officers and their approvals, what is asked of the registrar, passkeys, and memberships that end."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"

_INSTANT = postgresql.TIMESTAMP(timezone=True)
_TABLES = ("officer", "approval", "register_order", "passkey", "register_difference")
_STATES = "state in ('applied', 'admitting', 'member', 'leaving', 'left', 'refused')"
_ENDED = "state in ('left', 'refused')"


def upgrade() -> None:
    _memberships_end()
    _officers()
    _orders()
    _passkeys()
    op.create_table(
        "register_difference",
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("told", sa.Text(), nullable=False),
        sa.Column("found_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("address", name=op.f("register_difference_pkey")),
        schema="coop",
    )
    for table in _TABLES:
        op.execute(f"grant select, insert, update, delete on coop.{table} to streamcoop_app")


def _memberships_end() -> None:
    op.add_column("member", sa.Column("ended_at", _INSTANT, nullable=True), schema="coop")
    # An admission that no two officers have approved goes back to where they are asked.
    op.execute("update coop.member set state = 'applied' where state = 'admitting'")
    op.execute(
        "update coop.chain_transaction set state = 'failed', error = 'officers approve first'"
        " where purpose = 'admission' and state in ('intended', 'sent')"
    )
    op.execute("update coop.member set ended_at = now() where state = 'refused'")
    op.drop_index("member_unfinished", "member", schema="coop")
    for name in ("member_user_id_unique", "member_address_unique", "member_state"):
        op.drop_constraint(op.f(name), "member", schema="coop")
    op.drop_column("member", "held_up_by", schema="coop")
    op.create_check_constraint(op.f("member_state"), "member", _STATES, schema="coop")
    op.create_check_constraint(op.f("member_ended"), "member", f"{_ENDED} = (ended_at is not null)", schema="coop")
    for column in ("user_id", "address"):
        op.create_index(
            op.f(f"member_of_{column.removesuffix('_id')}"),
            "member",
            [column],
            unique=True,
            schema="coop",
            postgresql_where=sa.text(f"not {_ENDED}"),
        )
    op.create_index(op.f("member_user_id_idx"), "member", ["user_id"], unique=False, schema="coop")


def _officers() -> None:
    op.create_table(
        "officer",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("kept_key", sa.LargeBinary(), nullable=True),
        sa.Column("since", _INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["coop.user.id"], name=op.f("officer_user_id_fkey")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("officer_pkey")),
        sa.UniqueConstraint("address", name=op.f("officer_address_unique")),
        schema="coop",
    )
    op.create_table(
        "approval",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("officer", sa.Text(), nullable=False),
        sa.Column("member_class", sa.Text(), nullable=False),
        sa.Column("nonce", sa.BigInteger(), nullable=False),
        sa.Column("deadline", sa.BigInteger(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("given_at", _INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["member_id"], ["coop.member.id"], name=op.f("approval_member_id_fkey")),
        sa.ForeignKeyConstraint(["user_id"], ["coop.user.id"], name=op.f("approval_user_id_fkey")),
        sa.PrimaryKeyConstraint("member_id", "user_id", name=op.f("approval_pkey")),
        schema="coop",
    )


def _orders() -> None:
    op.create_table(
        "register_order",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("member_class", sa.Text(), nullable=True),
        sa.Column("other_address", sa.Text(), nullable=True),
        sa.Column("nonce", sa.BigInteger(), nullable=True),
        sa.Column("deadline", sa.BigInteger(), nullable=True),
        sa.Column("signature", sa.LargeBinary(), nullable=True),
        sa.Column("second_signature", sa.LargeBinary(), nullable=True),
        sa.Column("evidence", sa.LargeBinary(), nullable=True),
        sa.Column("given_at", _INSTANT, nullable=False),
        sa.Column("done_at", _INSTANT, nullable=True),
        sa.Column("refused_because", sa.Text(), nullable=True),
        sa.Column("held_up_by", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "kind in ('admission', 'removal', 'class-change', 'rekey', 'delegation')",
            name=op.f("register_order_kind"),
        ),
        sa.CheckConstraint("refused_because is null or done_at is not null", name=op.f("register_order_refused")),
        sa.ForeignKeyConstraint(["member_id"], ["coop.member.id"], name=op.f("register_order_member_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("register_order_pkey")),
        schema="coop",
    )
    op.create_index(
        op.f("register_order_unfinished"),
        "register_order",
        ["member_id"],
        unique=True,
        schema="coop",
        postgresql_where=sa.text("done_at is null"),
    )
    op.create_index(
        op.f("register_order_of_member"), "register_order", ["member_id", "id"], unique=False, schema="coop"
    )
    op.create_index(op.f("register_order_done"), "register_order", ["done_at"], unique=False, schema="coop")


def _passkeys() -> None:
    op.create_table(
        "passkey",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("credential_id", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["coop.user.id"], name=op.f("passkey_user_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("passkey_pkey")),
        sa.UniqueConstraint("credential_id", name=op.f("passkey_credential_id_unique")),
        schema="coop",
    )
    op.create_index(op.f("passkey_of_user"), "passkey", ["user_id", "id"], unique=False, schema="coop")
