"""Favourites and playlists; releases by their owners, by chance and by genre."""

from importlib.resources import files

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"

_INSTANT = postgresql.TIMESTAMP(timezone=True)
_TABLES = ("favourite", "playlist", "playlist_item", "release_ownership")


def upgrade() -> None:
    _library()
    _discovery()
    for table in _TABLES:
        op.execute(f"grant select, insert, update, delete on coop.{table} to streamcoop_app")


def _library() -> None:
    op.create_table(
        "favourite",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("track_id", sa.Uuid(), nullable=False),
        sa.Column("added_at", _INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["coop.user.id"], name=op.f("favourite_user_id_fkey"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["track_id"], ["coop.track.id"], name=op.f("favourite_track_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("favourite_pkey")),
        sa.UniqueConstraint("user_id", "track_id", name=op.f("favourite_user_id_track_id_unique")),
        schema="coop",
    )
    op.create_index(op.f("favourite_newest"), "favourite", ["user_id", "id"], unique=False, schema="coop")
    op.create_index(op.f("favourite_track_id"), "favourite", ["track_id"], unique=False, schema="coop")
    op.create_table(
        "playlist",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("visibility", sa.Text(), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("changed_at", _INSTANT, nullable=False),
        sa.CheckConstraint("visibility in ('private', 'public')", name=op.f("playlist_visibility_known")),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["coop.user.id"], name=op.f("playlist_owner_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("playlist_pkey")),
        schema="coop",
    )
    op.create_index(op.f("playlist_owner"), "playlist", ["owner_id", "id"], unique=False, schema="coop")
    op.create_table(
        "playlist_item",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("playlist_id", sa.Uuid(), nullable=False),
        sa.Column("track_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("added_at", _INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["playlist_id"], ["coop.playlist.id"], name=op.f("playlist_item_playlist_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["track_id"], ["coop.track.id"], name=op.f("playlist_item_track_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("playlist_item_pkey")),
        sa.UniqueConstraint(
            "playlist_id",
            "position",
            name=op.f("playlist_item_playlist_id_position_unique"),
            deferrable=True,
            initially="DEFERRED",
        ),
        schema="coop",
    )
    op.create_index(op.f("playlist_item_track_id"), "playlist_item", ["track_id"], unique=False, schema="coop")


def _discovery() -> None:
    op.create_table(
        "release_ownership",
        sa.Column("release_id", sa.Uuid(), nullable=False),
        sa.Column("owners", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["release_id"], ["coop.release.id"], name=op.f("release_ownership_release_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("release_id", name=op.f("release_ownership_pkey")),
        schema="coop",
    )
    op.create_index(
        op.f("release_ownership_most"), "release_ownership", ["owners", "release_id"], unique=False, schema="coop"
    )
    published = sa.text("state = 'published'")
    op.create_index(
        op.f("release_shuffled"),
        "release",
        [sa.text("uuid_hash(id)"), "id"],
        unique=False,
        schema="coop",
        postgresql_where=published,
    )
    op.drop_index(op.f("release_genre"), "release", schema="coop", postgresql_where=published)
    op.create_index(
        op.f("release_genre"),
        "release",
        [sa.text("lower(genre)"), "genre"],
        unique=False,
        schema="coop",
        postgresql_where=published,
    )
    op.execute(files("ledger.store").joinpath("migrations/0016_ownership.sql").read_text(encoding="utf-8"))
