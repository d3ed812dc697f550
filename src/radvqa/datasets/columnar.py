"""Parquet and Arrow files: one in, `(row from 1, record)` out, a batch at a time.

for row, record in parquet_records(Path("train-00000.parquet")): print(row, record["question"])
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from radvqa.datasets.reading import Record, note
from radvqa.errors import InputError

ROWS = 1024
ROWS_WITH_PICTURES = 32


def parquet_records(file: Path) -> Iterator[tuple[int, Record]]:
    """The rows of a Parquet file; few are held at a time where a column holds bytes, which may be pictures."""
    if not file.is_file():
        raise InputError("no such file", file=file)
    note(file)
    yield from _numbered(_parquet_batches(file), "Parquet", file)


def arrow_records(file: Path) -> Iterator[tuple[int, Record]]:
    """The rows of an Arrow file or stream, as `datasets.save_to_disk` writes them."""
    if not file.is_file():
        raise InputError("no such file", file=file)
    note(file)
    yield from _numbered(_arrow_batches(file), "Arrow", file)


def _numbered(batches: Iterator[pa.RecordBatch], form: str, file: Path) -> Iterator[tuple[int, Record]]:
    row = 0
    try:
        for batch in batches:
            batch.validate(full=True)  # offsets and UTF-8: a damaged file must not be walked through unchecked
            for start in range(0, batch.num_rows, ROWS_WITH_PICTURES):
                for record in batch.slice(start, ROWS_WITH_PICTURES).to_pylist():
                    row += 1
                    yield row, record
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        found = f"not a readable {form} file ({first})"
        raise InputError(found, file=file, row=row + 1 if row else None) from error


def _parquet_batches(file: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(file) as table:
        size = ROWS_WITH_PICTURES if _holds_bytes(table.schema_arrow) else ROWS
        yield from table.iter_batches(batch_size=size)


def _arrow_batches(file: Path) -> Iterator[pa.RecordBatch]:
    """Of a stream, as `datasets` writes it, or of a file."""
    with pa.memory_map(str(file)) as source:
        try:
            reader: Any = pa.ipc.open_stream(source)
        except pa.ArrowInvalid:
            source.seek(0)
            reader = pa.ipc.open_file(source)
            yield from (reader.get_batch(place) for place in range(reader.num_record_batches))
            return
        yield from reader


def _holds_bytes(schema: pa.Schema) -> bool:
    return any(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_struct(kind) for kind in schema.types
    )
