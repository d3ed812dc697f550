"""Where a training log goes besides log.jsonl: TensorBoard files, Weights & Biases, Trackio, MLflow, through accelerate.

In: names of trackers and the rows of the log. Out: the same numbers in each; nothing but numbers leaves the process.

    trackers = Trackers(("tensorboard",), folder, name="stage1"); trackers.log({"step": 1, "loss": 2.3}); trackers.close()

A run that was cut is told again from the log's first row, so that every tracker has every step once: TensorBoard's files
are made anew, the others begin a run. What a tracker needs (an account, a server) is taken from its own environment.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from radvqa.errors import InputError


def check(names: Sequence[str]) -> None:
    """Raises InputError for a tracker whose package is not installed."""
    for name in names:
        if find_spec(name) is None:
            raise InputError(f"{name} is not installed", key="trackers", fix=f"pip install {name}, or leave it out")


class Trackers:
    """All trackers of one stage, on the process that writes."""

    def __init__(self, names: Sequence[str], folder: Path, name: str, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        check(names)
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)
        self.open: list[GeneralTracker] = [self._start(kind, folder, name) for kind in names]
        for row in rows:
            self.log(row)

    @staticmethod
    def _start(kind: str, folder: Path, name: str) -> GeneralTracker:
        made = LOGGER_TYPE_TO_CLASS[kind]
        where = folder if kind == "tensorboard" else folder / kind
        run = "tensorboard" if kind == "tensorboard" else name
        tracker = made(run, where) if made.requires_logging_directory else made(run)
        tracker.start()
        return tracker

    def log(self, row: Mapping[str, Any]) -> None:
        """A row of the log: its numbers, at its step."""
        numbers = {key: value for key, value in row.items() if key != "step" and isinstance(value, (int, float))}
        for tracker in self.open:
            tracker.log(numbers, step=row["step"])

    def close(self) -> None:
        """Write what is not yet written."""
        for tracker in self.open:
            tracker.finish()
