"""Data sets in the layout of Hugging Face `datasets`: a local folder, or a repository of the hub.

A folder holds Parquet files named after their split (`data/train-00000-of-00002.parquet`), or what `save_to_disk` writes
(`train/data-00000-of-00001.arrow`, `dataset_dict.json`). It is read with pyarrow. A repository is named with
`repository=owner/name` and needs the `datasets` library (`pip install radvqa[hub]`) and a network. Columns are named as for
`table`; pictures are the Image feature, or file names below the folder.

    radvqa import huggingface vqa-rad/ --out corpora/hf columns.answer=label
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from radvqa.datasets.columnar import arrow_records, parquet_records, with_class_names
from radvqa.datasets.columns import SPLIT_WORDS, Columns
from radvqa.datasets.reading import Record
from radvqa.datasets.source import Card, Drop, Holdout, Row, held_out, told_card
from radvqa.errors import InputError
from radvqa.sample import SPLITS

CARD = Card(
    name="huggingface",
    title="A Hugging Face data set",
    licence="not stated",
    commercial=False,
    citation="not stated",
    homepage="https://huggingface.co/datasets",
)


def rows(
    path: Path | None,
    *,
    columns: dict[str, str] | None = None,
    repository: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    split: Literal["train", "validation", "test"] = "train",
    validation_share: float = 0.0,
    holdout: Holdout = "validation",
    seed: int = 0,
    separator: str = "",
    drop_empty_answers: bool = False,
    without_image: Literal["refuse", "keep", "drop"] = "refuse",
    name: str | None = None,
    licence: str = CARD.licence,
    commercial: bool = False,
    citation: str = CARD.citation,
    drop: Drop,
) -> Iterator[Row]:
    """The questions split by split, file by file.

    `columns` and what follows `split` are as for `table`; `split` is that of files whose name says none. `config` and
    `revision` choose within a repository.
    """
    if (path is None) == (repository is None):
        raise InputError("give either a folder or a repository", key="repository")
    name = name or (repository or str(path)).rstrip("/").rpartition("/")[2]
    parts = _of_folder(path, split) if path is not None else _of_hub(repository or "", config, revision)
    readers = [
        Columns(
            part.file,
            columns or {},
            images=path or Path(),
            split=part.split,
            separator=separator,
            name=name,
            ids=f"{name}-{part.split}-{part.file.stem}",
        )
        for part in parts
    ]
    moved: dict[str, str] = {}
    if validation_share:
        subjects = {
            subject for part, reader in zip(parts, readers) for subject in reader.train_subjects(part.records())
        }
        moved = held_out(subjects, validation_share, seed, holdout)
    ids: set[str] = set()
    for part, reader in zip(parts, readers):
        yield from reader.rows(
            part.records(),
            moved,
            drop_empty_answers=drop_empty_answers,
            without_image=without_image,
            ids=ids,
            drop=drop,
        )


def describe(options: Mapping[str, Any]) -> Card:
    """The card with what the user, or the card.json of an export, says of the data set."""
    return told_card(CARD, options, title=options.get("repository"))


class Part(NamedTuple):
    """One file (or hub split) and how to read it from its start."""

    file: Path
    split: str
    records: Callable[[], Iterator[tuple[int, Record]]]


def _of_folder(folder: Path, default: str) -> list[Part]:
    """The Parquet or Arrow files of a folder, train first; what `datasets` keeps for itself (cache-*) is passed over."""
    if folder.is_file():
        files = [folder]
    else:
        files = [file for pattern in ("*.parquet", "*.arrow") for file in sorted(folder.rglob(pattern))]
    files = [file for file in files if not file.name.startswith("cache-")]
    if not files:
        fix = (
            "give a folder of Parquet or Arrow files; for a repository leave the path out and say repository=owner/name"
        )
        raise InputError("no Parquet or Arrow files here", file=folder, fix=fix)
    parts = [Part(file, _split_of(file, folder, default), _reader(file)) for file in files]
    return sorted(parts, key=lambda part: SPLITS.index(part.split))


def _reader(file: Path) -> Callable[[], Iterator[tuple[int, Record]]]:
    read = arrow_records if file.suffix == ".arrow" else parquet_records
    return lambda: read(file)


def _split_of(file: Path, folder: Path, default: str) -> str:
    """The split a file's name begins with (`train-00000-of-00001`), else the folder it lies in, else the default."""
    below = file.relative_to(folder).parts[:-1] if file.is_relative_to(folder) else ()
    for word in (re.split(r"[-._]", file.name)[0], *reversed(below)):
        word = SPLIT_WORDS.get(word.lower(), word.lower())
        if word in SPLITS:
            return word
    return default


def _of_hub(repository: str, config: str | None, revision: str | None) -> list[Part]:
    """The splits of a repository, streamed; pictures stay as the bytes they are stored as."""
    try:
        import datasets
    except ImportError as error:
        found = "reading a repository needs the `datasets` library"
        raise InputError(found, key="repository", fix="pip install 'radvqa[hub]', or give a local folder") from error
    try:
        found = datasets.load_dataset(repository, config, revision=revision, streaming=True)
    except (OSError, ValueError) as error:  # no network, no such repository, several configurations
        raise InputError(f"the repository cannot be opened ({error})", key="repository") from error
    parts = []
    for word, data in found.items():
        split = SPLIT_WORDS.get(word.lower(), word.lower())
        if split not in SPLITS:
            raise InputError(f"{repository} has a split {word!r}", key="repository", fix="use " + ", ".join(SPLITS))
        classes = {}
        for column, feature in (data.features or {}).items():
            if isinstance(feature, datasets.Image):
                data = data.cast_column(column, datasets.Image(decode=False))
            if isinstance(feature, datasets.ClassLabel):
                classes[column] = feature.names
        parts.append(_part(Path(f"{repository}/{word}"), split, data, classes))
    return parts


def _part(file: Path, split: str, data: Any, classes: dict[str, list[str]]) -> Part:
    return Part(file, split, lambda: ((n, with_class_names(dict(r), classes, file, n)) for n, r in enumerate(data, 1)))
