"""Waveforms of tracks, renditions without loss, and places for archives that are being sent."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.add_column("track", sa.Column("waveform", sa.LargeBinary(), nullable=True), schema="coop")
    op.drop_constraint(op.f("rendition_codec_known"), "rendition", schema="coop", type_="check")
    op.create_check_constraint(
        op.f("rendition_codec_known"), "rendition", "codec in ('mp3', 'opus', 'flac', 'preview')", schema="coop"
    )
    # What stands there is under way on processes that are being replaced: nobody goes on with it.
    op.execute("delete from coop.upload_place")
    op.rename_table("upload_place", "transfer_place", schema="coop")
    op.execute("alter table coop.transfer_place rename constraint upload_place_pkey to transfer_place_pkey")
    op.execute(
        "alter table coop.transfer_place rename constraint upload_place_account_id_fkey to"
        " transfer_place_account_id_fkey"
    )
    op.execute("alter index coop.upload_place_account_id rename to transfer_place_account_id")
    op.add_column("transfer_place", sa.Column("kind", sa.Text(), nullable=False), schema="coop")
    op.create_check_constraint(
        op.f("transfer_place_kind_known"), "transfer_place", "kind in ('upload', 'archive')", schema="coop"
    )
