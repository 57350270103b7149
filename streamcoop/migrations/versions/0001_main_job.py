"""The books, accounts, catalogue, royalties, payouts, membership and ballots."""

from importlib.resources import files

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute(files("ledger.store").joinpath("migrations/0001_books.sql").read_text(encoding="utf-8"))
    _accounts()
    _catalogue()
    _royalties()
    _payouts()
    _membership()
    _governance()
    op.execute("grant usage on schema coop to streamcoop_app")
    op.execute("grant select, insert, update, delete on all tables in schema coop to streamcoop_app")
    # Which version the schema has is the owner's to say.
    op.execute("revoke insert, update, delete on coop.alembic_version from streamcoop_app")


def _accounts() -> None:
    op.create_table(
        "user",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("roles", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("user_pkey")),
        sa.UniqueConstraint("email", name=op.f("user_email_unique")),
        schema="coop",
    )
    op.create_table(
        "api_token",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["coop.user.id"], name=op.f("api_token_user_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("api_token_pkey")),
        sa.UniqueConstraint("digest", name=op.f("api_token_digest_unique")),
        schema="coop",
    )
    op.create_index(op.f("api_token_user_id"), "api_token", ["user_id"], unique=False, schema="coop")
    op.create_table(
        "sign_in",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["coop.user.id"], name=op.f("sign_in_user_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("sign_in_pkey")),
        sa.UniqueConstraint("digest", name=op.f("sign_in_digest_unique")),
        schema="coop",
    )
    op.create_index(op.f("sign_in_user_id"), "sign_in", ["user_id"], unique=False, schema="coop")


def _catalogue() -> None:
    op.create_table(
        "discarded_object",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("due_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("discarded_object_pkey")),
        schema="coop",
    )
    op.create_index(op.f("discarded_object_due_at"), "discarded_object", ["due_at"], unique=False, schema="coop")
    op.create_table(
        "artist",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("bio", sa.Text(), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column(
            "search",
            postgresql.TSVECTOR(),
            sa.Computed("array_to_tsvector(array_remove(string_to_array(words, ' '), ''))", persisted=True),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["coop.user.id"], name=op.f("artist_owner_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("artist_pkey")),
        schema="coop",
    )
    op.create_index(op.f("artist_owner_id"), "artist", ["owner_id"], unique=False, schema="coop")
    op.create_index(op.f("artist_search"), "artist", ["search"], unique=False, schema="coop", postgresql_using="gin")
    op.create_index(op.f("artist_words"), "artist", ["words", "id"], unique=False, schema="coop")
    op.create_table(
        "release",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("artist_id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("released_on", sa.Date(), nullable=True),
        sa.Column("genre", sa.Text(), nullable=True),
        sa.Column("artwork", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("published_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("artist_words", sa.Text(), nullable=False),
        sa.Column(
            "search",
            postgresql.TSVECTOR(),
            sa.Computed(
                "array_to_tsvector(array_remove(string_to_array(words || ' ' || artist_words, ' '), ''))",
                persisted=True,
            ),
            nullable=False,
        ),
        sa.CheckConstraint("kind in ('album', 'ep', 'single')", name=op.f("release_kind_known")),
        sa.CheckConstraint("state = 'draft' or published_at is not null", name=op.f("release_published_has_date")),
        sa.CheckConstraint("state in ('draft', 'published', 'withdrawn')", name=op.f("release_state_known")),
        sa.ForeignKeyConstraint(["artist_id"], ["coop.artist.id"], name=op.f("release_artist_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("release_pkey")),
        sa.UniqueConstraint("id", "artist_id", name=op.f("release_id_artist_id_unique")),
        schema="coop",
    )
    op.create_index(op.f("release_artist"), "release", ["artist_id", "id"], unique=False, schema="coop")
    op.create_index(
        op.f("release_genre"),
        "release",
        [sa.literal_column("lower(genre)")],
        unique=False,
        schema="coop",
        postgresql_where="state = 'published'",
    )
    op.create_index(
        op.f("release_newest"),
        "release",
        ["published_at", "id"],
        unique=False,
        schema="coop",
        postgresql_where="state = 'published'",
    )
    op.create_index(op.f("release_search"), "release", ["search"], unique=False, schema="coop", postgresql_using="gin")
    op.create_table(
        "track",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("release_id", sa.Uuid(), nullable=False),
        sa.Column("artist_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("isrc", sa.Text(), nullable=True),
        sa.Column("genre", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("problem", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        sa.Column("original", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("lossless", sa.Boolean(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("uploaded_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("tags", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease", sa.Uuid(), nullable=True),
        sa.Column("leased_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("due_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("release_words", sa.Text(), nullable=False),
        sa.Column("artist_words", sa.Text(), nullable=False),
        sa.Column(
            "search",
            postgresql.TSVECTOR(),
            sa.Computed(
                "array_to_tsvector(array_remove(string_to_array(words || ' ' || release_words || ' ' || artist_words, ' '), ''))",
                persisted=True,
            ),
            nullable=False,
        ),
        sa.CheckConstraint("(state = 'failed') = (problem is not null)", name=op.f("track_failed_has_problem")),
        sa.CheckConstraint("state <> 'ready' or duration_ms > 0", name=op.f("track_ready_has_duration")),
        sa.CheckConstraint("state in ('storing', 'processing', 'ready', 'failed')", name=op.f("track_state_known")),
        sa.CheckConstraint("bytes > 0", name=op.f("track_not_empty")),
        sa.ForeignKeyConstraint(
            ["release_id", "artist_id"],
            ["coop.release.id", "coop.release.artist_id"],
            name=op.f("track_release_id_artist_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("track_pkey")),
        sa.UniqueConstraint("artist_id", "sha256", name=op.f("track_artist_id_sha256_unique")),
        schema="coop",
    )
    op.create_index(op.f("track_release"), "track", ["release_id"], unique=False, schema="coop")
    op.create_index(op.f("track_search"), "track", ["search"], unique=False, schema="coop", postgresql_using="gin")
    op.create_index(
        op.f("track_unfinished"),
        "track",
        ["due_at"],
        unique=False,
        schema="coop",
        postgresql_where="state in ('storing', 'processing')",
    )
    op.create_table(
        "rendition",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("track_id", sa.Uuid(), nullable=False),
        sa.Column("codec", sa.Text(), nullable=False),
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("bitrate", sa.Integer(), nullable=False),
        sa.Column("header_bytes", sa.Integer(), nullable=False),
        sa.CheckConstraint("codec in ('mp3', 'opus', 'preview')", name=op.f("rendition_codec_known")),
        sa.ForeignKeyConstraint(
            ["track_id"], ["coop.track.id"], name=op.f("rendition_track_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("rendition_pkey")),
        sa.UniqueConstraint("track_id", "codec", name=op.f("rendition_track_id_codec_unique")),
        schema="coop",
    )


def _royalties() -> None:
    op.create_table(
        "hold",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("payee", sa.Uuid(), nullable=True),
        sa.Column("track_id", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("placed_by", sa.Uuid(), nullable=False),
        sa.Column("placed_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("(payee is null) <> (track_id is null)", name=op.f("hold_of_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("hold_pkey")),
        sa.UniqueConstraint("payee", name=op.f("hold_payee_unique")),
        sa.UniqueConstraint("track_id", name=op.f("hold_track_id_unique")),
        schema="coop",
    )
    op.create_table(
        "split",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("track_id", sa.Uuid(), nullable=False),
        sa.Column("effective_epoch", sa.Integer(), nullable=False),
        sa.Column("proposed_by", sa.Uuid(), nullable=False),
        sa.Column("proposed_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("split_pkey")),
        schema="coop",
    )
    op.create_index(
        op.f("split_track_id_effective_epoch_id"),
        "split",
        ["track_id", "effective_epoch", "id"],
        unique=False,
        schema="coop",
    )
    op.create_table(
        "split_share",
        sa.Column("split_id", sa.Uuid(), nullable=False),
        sa.Column("payee", sa.Uuid(), nullable=False),
        sa.Column("share_bp", sa.Integer(), nullable=False),
        sa.Column("consented_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("share_bp between 1 and 10000", name=op.f("split_share_share")),
        sa.ForeignKeyConstraint(["payee"], ["coop.user.id"], name=op.f("split_share_payee_fkey")),
        sa.ForeignKeyConstraint(["split_id"], ["coop.split.id"], name=op.f("split_share_split_id_fkey")),
        sa.PrimaryKeyConstraint("split_id", "payee", name=op.f("split_share_pkey")),
        schema="coop",
    )
    op.create_index(op.f("split_share_payee"), "split_share", ["payee"], unique=False, schema="coop")


def _payouts() -> None:
    op.create_table(
        "payout_run",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("planned_by", sa.Uuid(), nullable=False),
        sa.Column("planned_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("payout_run_pkey")),
        schema="coop",
    )
    op.create_table(
        "payout",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("payee", sa.Uuid(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("planned_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("sent_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("settled_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("state in ('planned', 'sent', 'confirmed', 'returned')", name=op.f("payout_state")),
        sa.CheckConstraint("amount_minor > 0", name=op.f("payout_amount")),
        sa.ForeignKeyConstraint(["run_id"], ["coop.payout_run.id"], name=op.f("payout_run_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("payout_pkey")),
        schema="coop",
    )
    op.create_index(
        op.f("payout_one_at_a_time"),
        "payout",
        ["payee"],
        unique=True,
        schema="coop",
        postgresql_where=sa.text("state in ('planned', 'sent')"),
    )
    op.create_index(op.f("payout_payee"), "payout", ["payee"], unique=False, schema="coop")
    op.create_index(op.f("payout_run_id"), "payout", ["run_id"], unique=False, schema="coop")
    op.create_table(
        "payout_destination",
        sa.Column("payee", sa.Uuid(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["payee"], ["coop.user.id"], name=op.f("payout_destination_payee_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("payee", name=op.f("payout_destination_pkey")),
        schema="coop",
    )


def _membership() -> None:
    op.create_table(
        "chain_transaction",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("subject", sa.Uuid(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("nonce", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=True),
        sa.Column("block_hash", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("sent_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("confirmed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state in ('intended', 'sent', 'confirmed', 'failed')", name=op.f("chain_transaction_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("chain_transaction_pkey")),
        sa.UniqueConstraint("purpose", "subject", name=op.f("chain_transaction_purpose_subject_unique")),
        schema="coop",
    )
    op.create_index(
        op.f("chain_transaction_unfinished"),
        "chain_transaction",
        ["nonce"],
        unique=True,
        schema="coop",
        postgresql_where=sa.text("state in ('intended', 'sent')"),
    )
    op.create_table(
        "member",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("member_class", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("kept_key", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("held_up_by", sa.Text(), nullable=True),
        sa.Column("applied_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("admitted_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("member_class in ('listener', 'artist', 'worker')", name=op.f("member_class")),
        sa.CheckConstraint("state in ('applied', 'admitting', 'member', 'refused')", name=op.f("member_state")),
        sa.ForeignKeyConstraint(["user_id"], ["coop.user.id"], name=op.f("member_user_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("member_pkey")),
        sa.UniqueConstraint("address", name=op.f("member_address_unique")),
        sa.UniqueConstraint("user_id", name=op.f("member_user_id_unique")),
        schema="coop",
    )
    op.create_index(
        op.f("member_unfinished"),
        "member",
        ["id"],
        unique=False,
        schema="coop",
        postgresql_where=sa.text("state = 'admitting'"),
    )


def _governance() -> None:
    op.create_table(
        "ballot",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("parameter", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("stopped_because", sa.Text(), nullable=True),
        sa.Column("called_by", sa.Uuid(), nullable=False),
        sa.Column("called_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("duration_s", sa.Integer(), nullable=False),
        sa.Column("opened_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("closes_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("closed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("status_quo", sa.Integer(), nullable=False),
        sa.Column("lowest", sa.Integer(), nullable=False),
        sa.Column("highest", sa.Integer(), nullable=False),
        sa.Column("step_max", sa.Integer(), nullable=False),
        sa.Column("quorum_bp", sa.Integer(), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=True),
        sa.Column("contract", sa.Text(), nullable=True),
        sa.Column("code_hash", sa.Text(), nullable=True),
        sa.Column("block_number", sa.BigInteger(), nullable=True),
        sa.Column("block_hash", sa.Text(), nullable=True),
        sa.Column("block_timestamp", sa.BigInteger(), nullable=True),
        sa.Column("total_weight", sa.BigInteger(), nullable=True),
        sa.Column("result", sa.Integer(), nullable=True),
        sa.Column("median", sa.Integer(), nullable=True),
        sa.Column("cast_weight", sa.BigInteger(), nullable=True),
        sa.Column("phantom_weight", sa.BigInteger(), nullable=True),
        sa.Column("effective_epoch", sa.Integer(), nullable=True),
        sa.Column("rates_version", sa.Integer(), nullable=True),
        sa.CheckConstraint("(state = 'closed') = (rates_version is not null)", name=op.f("ballot_takes_effect")),
        sa.CheckConstraint("state in ('preparing', 'open', 'closed', 'stopped')", name=op.f("ballot_state")),
        sa.CheckConstraint("state not in ('open', 'closed') or total_weight is not null", name=op.f("ballot_snapshot")),
        sa.ForeignKeyConstraint(["called_by"], ["coop.user.id"], name=op.f("ballot_called_by_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("ballot_pkey")),
        schema="coop",
    )
    op.create_index(
        op.f("ballot_under_way"),
        "ballot",
        ["parameter"],
        unique=True,
        schema="coop",
        postgresql_where=sa.text("state in ('preparing', 'open')"),
    )
    op.create_table(
        "ballot_vote",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("ballot_id", sa.Uuid(), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("value", sa.Integer(), nullable=False),
        sa.Column("cast_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["ballot_id"], ["coop.ballot.id"], name=op.f("ballot_vote_ballot_id_fkey")),
        sa.ForeignKeyConstraint(["member_id"], ["coop.member.id"], name=op.f("ballot_vote_member_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("ballot_vote_pkey")),
        schema="coop",
    )
    op.create_index(
        op.f("ballot_vote_newest"), "ballot_vote", ["ballot_id", "member_id", "id"], unique=False, schema="coop"
    )
    op.create_table(
        "ballot_weight",
        sa.Column("ballot_id", sa.Uuid(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("weight", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("weight > 0", name=op.f("ballot_weight_positive")),
        sa.ForeignKeyConstraint(["ballot_id"], ["coop.ballot.id"], name=op.f("ballot_weight_ballot_id_fkey")),
        sa.ForeignKeyConstraint(["member_id"], ["coop.member.id"], name=op.f("ballot_weight_member_id_fkey")),
        sa.PrimaryKeyConstraint("ballot_id", "address", name=op.f("ballot_weight_pkey")),
        schema="coop",
    )
    op.create_index(op.f("ballot_weight_member_id"), "ballot_weight", ["member_id"], unique=False, schema="coop")
