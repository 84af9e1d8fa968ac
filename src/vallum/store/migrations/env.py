"""Run by Alembic inside the transaction that `Database.migrate` holds."""

from alembic import context

from vallum.store.tables import metadata

# `Database.migrate` holds the writer lock and commits: Alembic must not.
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,
)
context.run_migrations()
