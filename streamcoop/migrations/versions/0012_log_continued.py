"""Under which name the shared log goes on when it could not under its own."""

from importlib.resources import files

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.execute(files("ledger.store").joinpath("migrations/0012_log_continued.sql").read_text(encoding="utf-8"))
