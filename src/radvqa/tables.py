"""Parquet files, read whole or opened: one that is cut, or is something else, is named.

In: a file, and the columns that are wanted. Out: a table; or the open file.

    frame = read_table(folder / "predictions.parquet", columns=["id", "answer"])
    with opened(folder / "questions.parquet") as file: print(file.num_row_groups)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from radvqa.errors import InputError


def read_table(file: str | Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Raises InputError for a file that is no whole Parquet file, or lacks one of the columns."""
    try:
        return pl.read_parquet(file, columns=None if columns is None else list(columns))
    except pl.exceptions.PolarsError as error:
        raise InputError(f"cannot be read ({str(error).splitlines()[0]})", file=file, fix="make it anew") from error


def opened(file: Path) -> pq.ParquetFile:
    """A Parquet file to be read in parts. Raises InputError for one that is no whole Parquet file."""
    try:
        return pq.ParquetFile(file)
    except pa.ArrowInvalid as error:
        raise InputError(f"cannot be read ({str(error).splitlines()[0]})", file=file, fix="make it anew") from error
