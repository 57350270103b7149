"""How the log's keys change, and what two officers attest of the bank."""

from importlib.resources import files

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.execute(files("ledger.store").joinpath("migrations/0010_log_keys.sql").read_text(encoding="utf-8"))
