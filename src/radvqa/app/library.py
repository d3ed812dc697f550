"""What there is to show: corpora with their pictures, runs with their answers, maps and scores.

In: Settings. Out: shelves that pages read from any thread; nothing is changed on disk.

    library = Library(settings); shelf = library.corpora["phantom"]; shelf.row("phantom-7-2-1")["question"]
"""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from radvqa.app.settings import Settings
from radvqa.errors import InputError
from radvqa.picture import read_picture
from radvqa.report.read import Run, read_run
from radvqa.review import corpus_key
from radvqa.sample import Corpus
from radvqa.score.closed import closed_accuracy
from radvqa.score.exact import exact_match
from radvqa.tables import read_table

THUMB_PX = 192
CACHED_PICTURES, CACHED_THUMBS = 48, 4096
RUN_FILES = ("recipe.yaml", "run.json", "scores/scores.json", "saliency/index.json")


class Shelf:
    """A corpus, its table in memory (without masks), its pictures read when asked for."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.corpus = name, Corpus(folder)
        self._lock = threading.Lock()  # a Parquet reader is one thread's at a time
        self.picture = lru_cache(CACHED_PICTURES)(self._picture)
        self.thumb = lru_cache(CACHED_THUMBS)(self._thumb)

    @cached_property
    def key(self) -> str:
        """What verdicts about exactly this content are stored under."""
        return corpus_key(self.corpus)

    @cached_property
    def table(self) -> pl.DataFrame:
        """A row a question; masks and boxes stay on disk."""
        return read_table(self.corpus.folder / "questions.parquet").drop("mask", "boxes")

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {name: place for place, name in enumerate(self.table["id"].to_list())}

    def place(self, sample: str) -> int | None:
        """The row of a question, which stands for it in addresses: an id may name a patient."""
        return self._places.get(sample)

    def row(self, sample: str) -> dict[str, Any] | None:
        """A question by its id, as the table has it."""
        place = self.place(sample)
        return None if place is None else self.table.row(place, named=True)

    def at(self, place: int) -> dict[str, Any] | None:
        """A question by its row."""
        return self.table.row(place, named=True) if 0 <= place < len(self.table) else None

    def _picture(self, key: str) -> tuple[bytes, str] | None:
        try:
            with self._lock:
                data = self.corpus.image_bytes(key)
        except InputError:
            return None
        return data, "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"

    def _thumb(self, key: str) -> bytes | None:
        found = self.picture(key)
        if found is None:
            return None
        small, buffer = read_picture(found[0])[0], io.BytesIO()
        small.thumbnail((THUMB_PX, THUMB_PX))
        small.save(buffer, "JPEG", quality=82)
        return buffer.getvalue()


class RunShelf:
    """A run folder. What it says is read again when one of its files has changed."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self._lock = threading.Lock()
        self._read: tuple[Any, Run | None] = (None, None)
        self._answers: tuple[Any, pl.DataFrame | None] = (None, None)
        self.run  # noqa: B018  a folder that is no run, or a broken one, is refused at the start

    @property
    def run(self) -> Run:
        """What the folder holds now."""
        with self._lock:
            mark = tuple(_changed(self.folder / name) for name in RUN_FILES)
            seen, run = self._read
            if run is None or seen != mark:
                run = read_run(self.folder)
                self._read = (mark, run)
            return run

    @property
    def title(self) -> str:
        """The recipe's name, else the folder's."""
        return str(self.run.recipe.get("name") or self.name)

    @property
    def items(self) -> list[dict[str, Any]]:
        """The answers that have maps."""
        return list((self.run.saliency or {}).get("items") or [])

    @property
    def ranking(self) -> Mapping[str, Any]:
        """method -> its row of ranking.json, where a study of faithfulness lies in the run."""
        for path in sorted(self.folder.glob("*/ranking.json")):
            try:
                return {row["method"]: row for row in json.loads(path.read_text())["methods"]}
            except (ValueError, KeyError, TypeError) as error:
                raise InputError("not a ranking of methods", file=path) from error
        return {}

    @property
    def answers(self) -> pl.DataFrame | None:
        """A row for every answer to a true picture, with `right` (None: cannot be scored); None: nothing predicted."""
        paths = sorted(self.folder.glob("predictions/*-none/predictions.parquet"))
        mark = tuple(_changed(path) for path in paths)
        with self._lock:
            if self._answers[0] != mark:
                self._answers = (mark, _answers(paths))
            return self._answers[1]


class Library:
    """The shelves by name."""

    def __init__(self, settings: Settings) -> None:
        self.runs: dict[str, RunShelf] = {}
        for folder in settings.runs:
            name = _free(folder.resolve().name, self.runs)
            self.runs[name] = RunShelf(name, folder)
        self.corpora: dict[str, Shelf] = {}
        """What can be reviewed: the corpora given, else those of the runs."""
        for folder in settings.corpora:
            name = _free(folder.resolve().name, self.corpora)
            self.corpora[name] = Shelf(name, folder)
        self.shelves = dict(self.corpora)
        """All that have pictures."""
        self._of_run: dict[tuple[str, str], Shelf] = {}
        for run in self.runs.values():
            for inner, corpus in run.run.corpora.items():
                name = _free(f"{run.name}.{inner}", self.shelves)
                self.shelves[name] = self._of_run[run.name, inner] = Shelf(name, corpus.folder)
        if not self.corpora:
            self.corpora = {shelf.name: shelf for shelf in self._of_run.values()}

    def shelf_of(self, run: str, corpus: str | None, image: str) -> Shelf | None:
        """Where a picture of a run lies: in the corpus named, else in the first of the run's that has it."""
        found = self._of_run.get((run, corpus or ""))
        if found is not None:
            return found
        return next((s for (name, _), s in self._of_run.items() if name == run and s.picture(image)), None)


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """A name for an address that is not taken yet."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "unnamed"
    return next(n for n in (plain, *(f"{plain}-{i}" for i in range(2, 1000))) if n not in taken)


def _changed(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _answers(paths: list[Path]) -> pl.DataFrame | None:
    if not paths:
        return None
    found = pl.concat([read_table(path) for path in paths], how="diagonal_relaxed")
    right = [_is_right(row) for row in found.select("kind", "answer", "answers").iter_rows(named=True)]
    return found.with_columns(pl.Series("right", right, dtype=pl.Boolean)).with_row_index("number")


def _is_right(row: Mapping[str, Any]) -> bool | None:
    """Open questions by exact match, the others by closed accuracy, as the maps' answers are chosen."""
    score = (exact_match if row["kind"] == "open" else closed_accuracy)(row["answer"], row["answers"])
    return None if score is None else score == 1.0
