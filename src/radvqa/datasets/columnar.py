"""Parquet and Arrow files: one in, `(row from 1, record)` out, a batch at a time.

A column that Hugging Face `datasets` describes as ClassLabel gives the names of its classes, not their numbers.

for row, record in parquet_records(Path("train-00000.parquet")): print(row, record["question"])
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
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
            classes = _classes(batch.schema)
            for start in range(0, batch.num_rows, ROWS_WITH_PICTURES):
                for record in batch.slice(start, ROWS_WITH_PICTURES).to_pylist():
                    row += 1
                    yield row, with_class_names(record, classes, file, row)
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        found = f"not a readable {form} file ({first})"
        raise InputError(found, file=file, row=row + 1 if row else None) from error


def with_class_names(record: Record, classes: Mapping[str, Sequence[str]], file: Path, row: int) -> Record:
    """The record with the names of its classes in the place of their numbers; -1 is no class."""
    for column, names in classes.items():
        value = record.get(column)
        if value is None or value == -1:
            record[column] = None
        elif not isinstance(value, int) or not 0 <= value < len(names):
            raise InputError(f"there is no class {value!r}; there are {len(names)}", file=file, row=row, key=column)
        else:
            record[column] = names[value]
    return record


def _classes(schema: pa.Schema) -> dict[str, list[str]]:
    """The class names of every ClassLabel column, as `datasets` writes them beside the schema."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        labelled = {
            k: f["names"] for k, f in features.items() if isinstance(f, dict) and f.get("_type") == "ClassLabel"
        }
        return {column: [str(name) for name in names] for column, names in labelled.items() if column in schema.names}
    except (ValueError, LookupError, TypeError, AttributeError):  # not of `datasets`
        return {}


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
