"""Ballots that members propose, on several parameters at once, with signed votes of an electorate read from the contract."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"

_INSTANT = postgresql.TIMESTAMP(timezone=True)
_TABLES = (
    "ballot",
    "ballot_question",
    "ballot_support",
    "ballot_comment",
    "ballot_seat",
    "ballot_vote",
    "contract_pin",
)


def upgrade() -> None:
    # Ballots of before were unsigned and of another electorate: nothing of them can be told in the form of now.
    for table in ("ballot_vote", "ballot_weight", "ballot"):
        op.drop_table(table, schema="coop")
    _ballots()
    _what_members_say()
    _electorate()
    for table in _TABLES:
        op.execute(f"grant select, insert, update, delete on coop.{table} to streamcoop_app")


def _ballots() -> None:
    op.create_table(
        "ballot",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("is_under_way", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("stopped_because", sa.Text(), nullable=True),
        sa.Column("held_up_by", sa.Text(), nullable=True),
        sa.Column("proposed_by", sa.Uuid(), nullable=False),
        sa.Column("proposed_at", _INSTANT, nullable=False),
        sa.Column("lapses_at", _INSTANT, nullable=False),
        sa.Column("discussed_until", _INSTANT, nullable=True),
        sa.Column("duration_s", sa.Integer(), nullable=False),
        sa.Column("opened_at", _INSTANT, nullable=True),
        sa.Column("closes_at", _INSTANT, nullable=True),
        sa.Column("closes_by", _INSTANT, nullable=True),
        sa.Column("closed_at", _INSTANT, nullable=True),
        sa.Column("chain_id", sa.BigInteger(), nullable=True),
        sa.Column("contract", sa.Text(), nullable=True),
        sa.Column("code_hash", sa.Text(), nullable=True),
        sa.Column("block_number", sa.BigInteger(), nullable=True),
        sa.Column("block_hash", sa.Text(), nullable=True),
        sa.Column("block_timestamp", sa.BigInteger(), nullable=True),
        sa.Column("read_to", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("total_weight", sa.BigInteger(), nullable=True),
        sa.Column("cast_weight", sa.BigInteger(), nullable=True),
        sa.Column("phantom_weight", sa.BigInteger(), nullable=True),
        sa.Column("kept_key_weight", sa.BigInteger(), nullable=True),
        sa.Column("batch", sa.Integer(), nullable=True),
        sa.Column("result_hash", sa.LargeBinary(), nullable=True),
        sa.Column("effective_at", sa.BigInteger(), nullable=True),
        sa.Column("effective_epoch", sa.Integer(), nullable=True),
        sa.CheckConstraint(
            "state in ('proposed', 'discussing', 'preparing', 'open', 'counting', 'closed', 'effective', 'stopped',"
            " 'lapsed', 'withdrawn')",
            name=op.f("ballot_state"),
        ),
        sa.CheckConstraint(
            "not state in ('open', 'counting', 'closed', 'effective') or total_weight is not null",
            name=op.f("ballot_snapshot"),
        ),
        sa.CheckConstraint("state in ('closed', 'effective') = (cast_weight is not null)", name=op.f("ballot_counted")),
        sa.CheckConstraint("(state = 'effective') = (effective_epoch is not null)", name=op.f("ballot_takes_effect")),
        sa.ForeignKeyConstraint(["proposed_by"], ["coop.member.id"], name=op.f("ballot_proposed_by_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("ballot_pkey")),
        schema="coop",
    )
    op.create_index(op.f("ballot_batch"), "ballot", ["batch"], unique=False, schema="coop")
    op.create_index(
        op.f("ballot_unfinished"),
        "ballot",
        ["id"],
        unique=False,
        schema="coop",
        postgresql_where=sa.text("is_under_way or state = 'proposed'"),
    )
    op.create_table(
        "ballot_question",
        sa.Column("ballot_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("parameter", sa.Text(), nullable=False),
        sa.Column("is_under_way", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("status_quo", sa.BigInteger(), nullable=True),
        sa.Column("median", sa.BigInteger(), nullable=True),
        sa.Column("result", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["ballot_id"], ["coop.ballot.id"], name=op.f("ballot_question_ballot_id_fkey")),
        sa.PrimaryKeyConstraint("ballot_id", "position", name=op.f("ballot_question_pkey")),
        schema="coop",
    )
    op.create_index(
        op.f("ballot_question_under_way"),
        "ballot_question",
        ["parameter"],
        unique=True,
        schema="coop",
        postgresql_where=sa.text("is_under_way"),
    )
    op.create_index(
        op.f("ballot_question_parameter"), "ballot_question", ["ballot_id", "parameter"], unique=True, schema="coop"
    )


def _what_members_say() -> None:
    op.create_table(
        "ballot_support",
        sa.Column("ballot_id", sa.Uuid(), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["ballot_id"], ["coop.ballot.id"], name=op.f("ballot_support_ballot_id_fkey")),
        sa.ForeignKeyConstraint(["member_id"], ["coop.member.id"], name=op.f("ballot_support_member_id_fkey")),
        sa.PrimaryKeyConstraint("ballot_id", "member_id", name=op.f("ballot_support_pkey")),
        schema="coop",
    )
    op.create_index(op.f("ballot_support_member_id"), "ballot_support", ["member_id"], unique=False, schema="coop")
    op.create_table(
        "ballot_comment",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("ballot_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["ballot_id"], ["coop.ballot.id"], name=op.f("ballot_comment_ballot_id_fkey")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["coop.user.id"], name=op.f("ballot_comment_user_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("ballot_comment_pkey")),
        schema="coop",
    )
    op.create_index(op.f("ballot_comment_in_order"), "ballot_comment", ["ballot_id", "id"], unique=False, schema="coop")
    op.create_index(op.f("ballot_comment_user_id"), "ballot_comment", ["user_id"], unique=False, schema="coop")
    op.create_table(
        "ballot_vote",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("ballot_id", sa.Uuid(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("nonce", sa.BigInteger(), nullable=False),
        sa.Column("values", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("deadline", sa.BigInteger(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("evidence", sa.LargeBinary(), nullable=True),
        sa.Column("cast_at", _INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["ballot_id"], ["coop.ballot.id"], name=op.f("ballot_vote_ballot_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("ballot_vote_pkey")),
        schema="coop",
    )
    op.create_index(
        op.f("ballot_vote_nonce"), "ballot_vote", ["ballot_id", "address", "nonce"], unique=True, schema="coop"
    )


def _electorate() -> None:
    op.create_table(
        "ballot_seat",
        sa.Column("ballot_id", sa.Uuid(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("token_id", sa.BigInteger(), nullable=False),
        sa.Column("member_class", sa.Text(), nullable=False),
        sa.Column("delegate", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("has_waited", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["ballot_id"], ["coop.ballot.id"], name=op.f("ballot_seat_ballot_id_fkey")),
        sa.PrimaryKeyConstraint("ballot_id", "address", name=op.f("ballot_seat_pkey")),
        schema="coop",
    )
    op.create_index(op.f("ballot_seat_delegate"), "ballot_seat", ["ballot_id", "delegate"], unique=False, schema="coop")
    op.create_table(
        "contract_pin",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("code_hash", sa.Text(), nullable=False),
        sa.Column("pinned_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("contract_pin_pkey")),
        schema="coop",
    )
