"""The verbs of the command line, one file a room, and what they share: `verb`, which registers one.

In: what was typed. Out: what the room does; exit code 0. A mistake in what was given ends with one message on stderr and
code 2, any other failure of the machine with code 1, Ctrl-C with 130, and nothing half-written under a final name.

    @verb("score")
    def score(...): ...

Nothing heavy is imported in these files: each verb imports its own room when it is called.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from radvqa.errors import InputError

app = typer.Typer(
    name="radvqa",
    help="Adapt a lightweight vision-language model to radiological visual question answering, with evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
debugging = False

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.")]
Changes = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Changes to it, e.g. stages.stage2.lr=1e-4")
]
ModelName = Annotated[str, typer.Option("--model", help="radvqa-tiny, a hub id or a folder.")]
AdapterPath = Annotated[Path | None, typer.Option("--adapter", help="An adapter folder, e.g. runs/x/stage2/adapter.")]
Image = Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture.")]
Question = Annotated[str, typer.Argument(metavar="QUESTION", help="What is asked about it.")]
Choices = Annotated[
    list[str] | None, typer.Option("--choice", help="An answer to choose from; give it again for each.")
]
BaseUrl = Annotated[str | None, typer.Option("--base-url", help="Address of an OpenAI-compatible server, up to /v1.")]
CallsFile = Annotated[
    Path | None, typer.Option("--calls", help="Where replies are kept; calls.sqlite beside OUT unless given.")
]
Concurrency = Annotated[int, typer.Option("--concurrency", help="Calls under way at once.")]


def group(name: str, help: str) -> typer.Typer:
    """A verb that has verbs of its own: `radvqa NAME VERB`."""
    inner = typer.Typer(help=help, no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(inner, name=name)
    return inner


def verb(name: str, within: typer.Typer = app) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a verb whose failures become one message and an exit code."""

    def register(work: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(work)
        def guarded(*args: Any, **kwargs: Any) -> None:
            try:
                work(*args, **kwargs)
            except (InputError, OSError, KeyboardInterrupt, RuntimeError) as error:
                message, code = _said(error)
                if debugging or message is None:
                    raise
                typer.echo(message, err=True)
                raise typer.Exit(code) from None

        return within.command(name)(guarded)

    return register


def _said(error: BaseException) -> tuple[str | None, int]:
    """What is printed for an error and the exit code; None: not one we know, so the traceback is shown."""
    if isinstance(error, KeyboardInterrupt):
        return "\nstopped; the same command goes on from here", 130
    if is_disk_full(error):
        name = getattr(error, "filename", None)
        where = f" while writing {name}" if name else ""
        return f"error: the disk is full{where}; make room, and the same command goes on from here", 1
    if isinstance(error, InputError):
        return f"error: {error}", 2
    if isinstance(error, OSError):
        return f"error: {error}", 1
    if type(error).__name__ == "OutOfMemoryError":
        return "error: out of GPU memory; lower batch_size (and raise accumulation as much)", 1
    return None, 1


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or what led to it, is a full disk or quota; libraries wrap that in errors of their own."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"radvqa {version('radvqa')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    global debugging
    debugging = debug
