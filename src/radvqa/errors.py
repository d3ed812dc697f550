"""The one error a user's mistake raises: it names the file, the row or key, what was found and what to do."""

from __future__ import annotations

from pathlib import Path


class InputError(ValueError):
    """A mistake in what the user gave. The command line prints it in one message and exits with code 2.

    >>> str(InputError("unknown kind 'opn'", file="q.csv", row=3, key="kind", fix="use open, closed or choice"))
    "q.csv, row 3, kind: unknown kind 'opn'; use open, closed or choice"
    """

    def __init__(
        self,
        found: str,
        *,
        file: str | Path | None = None,
        row: int | str | None = None,
        key: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.found, self.file, self.row, self.key, self.fix = found, file, row, key, fix
        where = [str(file)] if file is not None else []
        where += [f"row {row}"] if row is not None else []
        where += [key] if key is not None else []
        super().__init__((", ".join(where) + ": " if where else "") + found + (f"; {fix}" if fix else ""))
