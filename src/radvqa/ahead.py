"""Pictures decoded and resized by worker processes ahead of the step that needs them, and kept on disk as uint8.

In: corpora, a PixelFormat, a folder, and how many workers. Out: what a PixelStore gives, the same bytes.

    store = AheadStore([corpus], model.form, folder / "pixels", workers=4); store.ahead(keys); store.batch(keys)

A picture's file gets its name when it is whole, so a killed run leaves none that cannot be read; from the second epoch on
nothing is decoded. Nothing is added once less than a tenth of the disk is free: pictures are then decoded again.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from joblib.externals.loky import ProcessPoolExecutor

from radvqa.pixels import PixelFormat, PixelStore
from radvqa.sample import Corpus

FREE = 0.1
"""Share of the disk that stays free."""


def num_workers(asked: int | None, trains_on: str) -> int:
    """What a stage asks for; None: no workers where the CPU trains, for they would take its time, else up to eight."""
    if asked is not None:
        return asked
    return 0 if trains_on == "cpu" else max(1, min(8, (os.cpu_count() or 1) - 1))


class AheadStore(PixelStore):
    """A PixelStore whose pictures are made by workers and lie on disk."""

    def __init__(self, corpora: Sequence[Corpus], form: PixelFormat, folder: Path, workers: int) -> None:
        super().__init__(corpora, form)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._pool: Any = ProcessPoolExecutor(max_workers=workers, initializer=_end_with, initargs=(os.getpid(),))
        self._coming: dict[str, Future[None]] = {}

    def ahead(self, keys: Sequence[str]) -> None:
        """Let workers make those of the pictures that are not there."""
        for key in dict.fromkeys(keys):
            if key not in self._resized and key not in self._coming and not _file(self.folder, key).is_file():
                where = str(self._corpus_of[key].folder)
                self._coming[key] = self._pool.submit(_make, where, self.form, str(self.folder), key)

    def make(self, key: str) -> np.ndarray:
        """From disk, where a worker has put it; decoded here where none could."""
        coming = self._coming.pop(key, None)
        if coming is not None:
            coming.exception()  # wait; what went wrong there goes wrong here too, and is then said
        found = _read(_file(self.folder, key), self.form.size_px)
        if found is None:
            found = super().make(key)
            _write(_file(self.folder, key), found)
        return found

    def close(self) -> None:
        """Let the workers go and remove the files."""
        self._pool.shutdown(kill_workers=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _file(folder: Path, key: str) -> Path:
    return folder / f"{key}.npy"


def _read(file: Path, size_px: int) -> np.ndarray | None:
    try:
        found = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # not there, or torn by a machine that stopped
        return None
    return found if found.shape == (size_px, size_px, 3) and found.dtype == np.uint8 else None


def _write(file: Path, picture: np.ndarray) -> None:
    usage = shutil.disk_usage(file.parent)
    if usage.free < FREE * usage.total:
        return
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    with partial.open("wb") as out:
        np.save(out, picture)
    partial.replace(file)


def _end_with(run: int) -> None:
    """In a worker: end when the run is gone, which a killed one cannot ask for."""

    def watch() -> None:
        while os.getppid() == run:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _make(corpus: str, form: PixelFormat, folder: str, key: str) -> None:
    """In a worker."""
    _write(_file(Path(folder), key), form.resize(_opened(corpus).image(key)))


@lru_cache(maxsize=8)
def _opened(corpus: str) -> Corpus:
    return Corpus(Path(corpus))
