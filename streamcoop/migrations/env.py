"""Alembic's environment: migrations run as the owner, on the connection `migrate` hands over."""

from alembic import context

from streamcoop import models  # noqa: F401  (every table is known before metadata is compared)
from streamcoop.database import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table_schema="coop",
    include_schemas=True,
    include_name=lambda name, type_, _: type_ != "schema" or name == "coop",
)
with context.begin_transaction():
    context.run_migrations()
