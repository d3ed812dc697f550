"""What Alembic runs: the migrations, on the connection that `database.migrate` holds."""

from alembic import context

from radvqa.app.database import META

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=META,
    render_as_batch=True,
    version_table="app_version",
    include_name=lambda name, kind, parents: kind != "table" or name in META.tables,
)
with context.begin_transaction():
    context.run_migrations()
