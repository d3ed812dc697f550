"""The web app: `app`, `account`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from radvqa.commands import verb
from radvqa.errors import InputError

Database = Annotated[
    str, typer.Option("--database", envvar="RADVQA_DATABASE", help="A file for SQLite, or a postgresql:// URL.")
]
DEFAULT = "radvqa-app.sqlite"


@verb("app")
def app(
    corpus: Annotated[
        list[Path] | None, typer.Option("--corpus", help="A corpus to review; may be given again.")
    ] = None,
    run: Annotated[list[Path] | None, typer.Option("--run", help="A run to look at; may be given again.")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Show everything on phantoms (made first, once).")] = False,
    model: Annotated[
        str | None, typer.Option("--model", help="Answers new questions: radvqa-tiny, a hub id, a folder.")
    ] = None,
    adapter: Annotated[Path | None, typer.Option("--adapter", help="An adapter for it.")] = None,
    method: Annotated[list[str] | None, typer.Option("--method", help="Saliency methods for new questions.")] = None,
    database: Database = DEFAULT,
    host: Annotated[str, typer.Option("--host", help="Another address needs accounts.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 8600,
    name: Annotated[list[str] | None, typer.Option("--name", help="A host name the app is reached by.")] = None,
    https: Annotated[bool, typer.Option("--https", help="A proxy in front speaks TLS.")] = False,
) -> None:
    """Review questions, rate answers and look inside the model, in a browser."""
    from radvqa.app.demo import demo_settings
    from radvqa.app.server import serve
    from radvqa.app.settings import Settings

    more = {"host": host, "port": port, "names": tuple(name or ()), "https": https}
    if demo:
        if corpus or run or model:
            raise InputError("shows its own corpus, run and model", key="--demo", fix="leave the others out")
        settings = demo_settings(Path("runs/app-demo"), **more)
    else:
        shown = {"corpora": tuple(corpus or ()), "runs": tuple(run or ()), "model": model, "adapter": adapter}
        methods = {"methods": tuple(method)} if method else {}
        settings = Settings(**shown, **methods, database=database, **more)  # type: ignore[arg-type]
    serve(settings, lambda address: typer.echo(f"radvqa is at {address}  (Ctrl-C stops it)"))


@verb("account")
def account(
    what: Annotated[str, typer.Argument(metavar="ACTION", help="add, role, password, close, open or list.")],
    name: Annotated[str | None, typer.Argument(metavar="NAME")] = None,
    role: Annotated[str, typer.Option("--role", help="reader, reviewer or admin.")] = "reviewer",
    database: Database = DEFAULT,
) -> None:
    """Make, change or list the accounts of the app. A password is asked for, or read from standard input."""
    from radvqa.app.accounts import Accounts
    from radvqa.app.database import open_database

    accounts = Accounts(open_database(database))
    if what == "list":
        for row in accounts.all():
            typer.echo(f"{row.name}\t{row.role}\t{'open' if row.active else 'closed'}")
        return
    if name is None:
        raise InputError("whose?", key="NAME", fix=f"radvqa account {what} NAME")
    if what == "add":
        accounts.add(name, role, _password())
    elif what in ("close", "open"):
        accounts.change(name, active=what == "open")
    elif what == "role":
        accounts.change(name, role=role)
    elif what == "password":
        accounts.change(name, password=_password())
    else:
        raise InputError(f"found {what!r}", key="ACTION", fix="use add, role, password, close, open or list")


def _password() -> str:
    """Typed twice at a terminal, else the first line of standard input."""
    import sys

    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\n")
