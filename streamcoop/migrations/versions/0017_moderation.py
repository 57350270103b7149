"""Reports of music, decisions on them, and what is taken down."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"

_INSTANT = postgresql.TIMESTAMP(timezone=True)
_TABLES = ("moderation_decision", "moderation_report")
_GROUNDS = "ground in ('copyright', 'unlawful', 'not-own', 'wrongly-described', 'other')"


def upgrade() -> None:
    _taken_down()
    _decisions()
    _reports()
    for table in _TABLES:
        op.execute(f"grant select, insert, update, delete on coop.{table} to streamcoop_app")


def _taken_down() -> None:
    for table in ("release", "track"):
        op.add_column(table, sa.Column("taken_down", sa.Text(), nullable=True), schema="coop")
        op.create_check_constraint(
            op.f(f"{table}_taken_down_known"), table, "taken_down in ('hidden', 'removed')", schema="coop"
        )
    op.create_check_constraint(
        op.f("release_taken_down_is_withdrawn"), "release", "taken_down is null or state = 'withdrawn'", schema="coop"
    )


def _subject(table: str) -> list[sa.schema.SchemaItem]:
    """A track or a release."""
    return [
        sa.Column("track_id", sa.Uuid(), nullable=True),
        sa.Column("release_id", sa.Uuid(), nullable=True),
        sa.Column("ground", sa.Text(), nullable=False),
        sa.CheckConstraint("(track_id is null) <> (release_id is null)", name=op.f(f"{table}_of_one")),
        sa.CheckConstraint(_GROUNDS, name=op.f(f"{table}_ground_known")),
        sa.ForeignKeyConstraint(
            ["track_id"], ["coop.track.id"], name=op.f(f"{table}_track_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["release_id"], ["coop.release.id"], name=op.f(f"{table}_release_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f(f"{table}_pkey")),
    ]


def _decisions() -> None:
    table = "moderation_decision"
    op.create_table(
        table,
        sa.Column("id", sa.Uuid(), nullable=False),
        *_subject(table),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("was_published", sa.Boolean(), nullable=False),
        sa.Column("decided_by", sa.Uuid(), nullable=False),
        sa.Column("decided_at", _INSTANT, nullable=False),
        sa.Column("appealed_by", sa.Uuid(), nullable=True),
        sa.Column("appeal_text", sa.Text(), nullable=True),
        sa.Column("appealed_at", _INSTANT, nullable=True),
        sa.Column("appeal_outcome", sa.Text(), nullable=True),
        sa.Column("appeal_reason", sa.Text(), nullable=True),
        sa.Column("appeal_decided_by", sa.Uuid(), nullable=True),
        sa.Column("appeal_decided_at", _INSTANT, nullable=True),
        sa.CheckConstraint("outcome in ('dismissed', 'taken-down')", name=op.f(f"{table}_outcome_known")),
        sa.CheckConstraint("appeal_outcome in ('upheld', 'restored')", name=op.f(f"{table}_appeal_outcome_known")),
        sa.CheckConstraint("appealed_at is null or outcome = 'taken-down'", name=op.f(f"{table}_appealed")),
        sa.CheckConstraint(
            "(appeal_outcome is null) = (appeal_decided_at is null)"
            " and (appeal_outcome is null or appealed_at is not null)",
            name=op.f(f"{table}_appeal_decided"),
        ),
        schema="coop",
    )
    for column in ("track", "release"):
        op.create_index(op.f(f"{table}_{column}"), table, [f"{column}_id"], unique=False, schema="coop")
    op.create_index(op.f(f"{table}_appealed_by"), table, ["appealed_by"], unique=False, schema="coop")
    op.create_index(
        op.f(f"{table}_appealed"),
        table,
        ["appealed_at"],
        unique=False,
        schema="coop",
        postgresql_where=sa.text("appealed_at is not null and appeal_outcome is null"),
    )


def _reports() -> None:
    table = "moderation_report"
    op.create_table(
        table,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("reporter_id", sa.Uuid(), nullable=True),
        *_subject(table),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("reported_at", _INSTANT, nullable=False),
        sa.Column("decision_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["reporter_id"], ["coop.user.id"], name=op.f(f"{table}_reporter_id_fkey"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["decision_id"], ["coop.moderation_decision.id"], name=op.f(f"{table}_decision_id_fkey")
        ),
        schema="coop",
    )
    for column in ("reporter", "track", "release"):
        op.create_index(op.f(f"{table}_{column}"), table, [f"{column}_id"], unique=False, schema="coop")
    op.create_index(op.f(f"{table}_decision_id"), table, ["decision_id"], unique=False, schema="coop")
    op.create_index(
        op.f(f"{table}_open"),
        table,
        ["id"],
        unique=False,
        schema="coop",
        postgresql_where=sa.text("decision_id is null"),
    )
