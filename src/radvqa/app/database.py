"""The database: accounts, sessions, ratings and what happened; verdicts lie beside them in tables of radvqa.review.

In: a file for SQLite (the default) or a PostgreSQL URL. Out: an engine whose tables are those of the newest migration.

    engine = open_database("radvqa-app.sqlite")
    with engine.begin() as connection: ...

Every write is one short transaction. SQLite runs in WAL mode with synchronous=FULL, so that what was acknowledged
outlives a killed process and a power cut.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

from radvqa.errors import InputError

META = sa.MetaData()

USERS = sa.Table(
    "users",
    META,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("password", sa.String(256), nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("locked_until", sa.Float, nullable=False),
    sa.Column("made", sa.Float, nullable=False),
)
"""password: an argon2id hash. Times are seconds since 1970, UTC."""

SESSIONS = sa.Table(
    "sessions",
    META,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("user", sa.String(64), sa.ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    sa.Column("made", sa.Float, nullable=False),
    sa.Column("seen", sa.Float, nullable=False),
    sa.Index("sessions_of", "user"),
)
"""hash: SHA-256 of the cookie, so that a stolen database opens no session."""

RATING_SETS = sa.Table(
    "rating_sets",
    META,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("arms", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("seed", sa.Integer, nullable=False),
    sa.Column("made", sa.Float, nullable=False),
)
"""What is rated: one or two arms of a run (JSON), so many questions, drawn and ordered by the seed."""

RATINGS = sa.Table(
    "ratings",
    META,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("rating_set", sa.Integer, sa.ForeignKey("rating_sets.id"), nullable=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("question", "image", "arm", "rater")),
    *(sa.Column(name, sa.String(16)) for name in ("correctness", "completeness", "harm")),
    sa.Column("cannot_judge", sa.Boolean, nullable=False),
    sa.Column("comment", sa.Text),
    sa.Column("at", sa.Float, nullable=False),
    sa.Index("ratings_of", "rating_set", "rater"),
)
"""Append-only; of one rater about one answer the last row counts."""

EVENTS = sa.Table(
    "events",
    META,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("who", sa.String(64), nullable=False),
    sa.Column("what", sa.String(64), nullable=False),
    sa.Column("about", sa.Text, nullable=False),
    sa.Index("events_at", "at"),
)
"""Sign-ins, refusals, changes of accounts, queues made, corpora written. Never a question's text."""


def database_url(where: str | Path) -> str:
    """The SQLAlchemy URL of a file or a URL; `postgresql://` is read with psycopg 3."""
    text = str(where)
    if text.startswith(("postgresql://", "postgres://")):
        return "postgresql+psycopg://" + text.split("://", 1)[1]
    return text if "://" in text else f"sqlite:///{Path(text).resolve()}"


def open_database(where: str | Path) -> sa.Engine:
    """The engine, its tables brought up to date. Raises InputError where no database can be opened."""
    url = database_url(where)
    shown = sa.make_url(url).render_as_string(hide_password=True) if "://" in str(where) else str(where)
    try:
        engine = sa.create_engine(url, pool_size=32, max_overflow=32, **_options(url))
        if engine.dialect.name == "sqlite":
            sa.event.listen(engine, "connect", _set_up_sqlite)
        migrate(engine)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        fix = "give a file, or a URL such as postgresql://user@host/name (pip install 'radvqa[postgres]')"
        raise InputError(f"no database can be opened ({type(error).__name__})", file=shown, fix=fix) from error
    except OperationalError as error:
        found = str(error.orig).strip().splitlines()[0]
        raise InputError(f"the database cannot be opened: {found}", file=shown) from error
    return engine


def migrate(engine: sa.Engine, to: str = "head") -> None:
    """Bring the tables to a migration of migrations/versions; one process at a time on PostgreSQL."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("select pg_advisory_xact_lock(72616476)"))
        config.attributes["connection"] = connection
        command.upgrade(config, to)


def _options(url: str) -> dict[str, Any]:
    return {} if url.startswith("postgresql") else {"connect_args": {"timeout": 30}}


def _set_up_sqlite(connection: Any, _: object) -> None:
    for setting in ("busy_timeout = 30000", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {setting}")
