"""The constitution, fixed at founding; and the rules that members vote on."""

from importlib.resources import files

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.execute(files("ledger.store").joinpath("migrations/0013_constitution.sql").read_text(encoding="utf-8"))
