"""Transfers are found by their posting. An index by account cost settling more than all else, and nothing needed it.

A wallet's or a track's transfers are spread over all settlings, so each of them was a page of its own to read and to
write. What came into a wallet stands in `log_credit`, what was paid in the plays.
"""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    for index in ("transfer_debit", "transfer_credit"):
        op.drop_index(index, table_name="transfer", schema="ledger")
