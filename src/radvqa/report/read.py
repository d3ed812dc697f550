"""A run folder, read: what is there, and nothing that is not.

In: a folder as `radvqa run` writes it, finished or cut at any point. Out: a `Run`; a part that is not there is None or
empty, a part that is there and broken raises InputError with the name of the file.

    run = read_run(Path("runs/demo")); run.corpora["phantom"].card["num_images"]
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from radvqa.errors import InputError
from radvqa.sample import Corpus
from radvqa.tables import read_table


@dataclass(frozen=True)
class Log:
    """What one training stage wrote down while it ran."""

    rows: tuple[Mapping[str, Any], ...]
    torn: bool = False
    """The last line was cut in the middle (the run was killed); it is left out."""

    def column(self, y: str, x: str = "step") -> tuple[list[float], list[float]]:
        """The rows that have `y`: their x and their y."""
        found = [(row[x], row[y]) for row in self.rows if row.get(y) is not None and row.get(x) is not None]
        return [a for a, _ in found], [b for _, b in found]


@dataclass(frozen=True)
class Step:
    """One finished step: its folder's name within the run and its stage.json."""

    name: str
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """All that the report can say something about."""

    folder: Path
    recipe: Mapping[str, Any]
    recipe_text: str
    corpora: Mapping[str, Corpus]
    logs: Mapping[str, Log]
    predictions: pl.DataFrame | None
    """id, image, kind, arm, control of every prediction."""
    scores: Mapping[str, Any] | None
    saliency: Mapping[str, Any] | None
    ranking: Mapping[str, Any] | None
    """Of the saliency methods."""
    trust: Mapping[str, Any] | None
    consistency: Mapping[str, Any] | None
    unsettled: pl.DataFrame | None
    """consistency.parquet: a row a question that was asked several times."""
    judge: Mapping[str, Any] | None
    leakage: Mapping[str, Any] | None
    """leakage.json: what training and test questions share and what was done about it."""
    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.folder.resolve().name


def read_run(folder: str | Path) -> Run:
    """Read a run folder. Raises InputError when there is no such folder or one of its files is broken."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError("no such run folder", file=folder, fix="give the folder that `radvqa run` wrote")
    recipe_file = folder / "recipe.yaml"
    text = recipe_file.read_text() if recipe_file.is_file() else ""
    return Run(
        folder=folder,
        recipe=_yaml(recipe_file, text),
        recipe_text=text,
        corpora={path.parent.name: Corpus(path.parent) for path in _finished(folder, "corpora/*/card.json")},
        logs={path.parent.name: _read_log(path) for path in _finished(folder, "*/log.jsonl")},
        predictions=_read_predictions(folder),
        scores=_read_json(folder / "scores" / "scores.json"),
        saliency=_read_json(folder / "saliency" / "index.json"),
        ranking=_read_json(folder / "saliency" / "ranking.json"),
        trust=_read_json(folder / "trust" / "trust.json"),
        consistency=_read_json(folder / "consistency" / "consistency.json"),
        unsettled=_read_asked_again(folder / "consistency" / "consistency.parquet"),
        judge=_read_json(folder / "judge" / "judge.json"),
        leakage=_read_json(folder / "leakage" / "leakage.json"),
        steps=_read_steps(folder),
    )


def _finished(folder: Path, pattern: str) -> list[Path]:
    """Files below the run whose folder carries its final name, in the order of their names."""
    found = (path for path in folder.glob(pattern) if path.parent.suffix not in (".partial", ".old"))
    return sorted(found, key=lambda path: path.as_posix())


def _yaml(path: Path, text: str) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise InputError("not YAML", file=path, fix="write it again with `radvqa run`") from error
    if not isinstance(found, dict):
        raise InputError("a recipe is a mapping of keys", file=path)
    return found


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"not JSON ({error})", file=path, fix="run the step that writes it again") from error
    if not isinstance(found, dict):
        raise InputError(f"holds a {type(found).__name__} where an object belongs", file=path)
    return found


def _read_log(path: Path) -> Log:
    lines = path.read_text().split("\n")
    rows = []
    for i, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if i == len(lines) - 1:
                return Log(tuple(rows), torn=True)
            raise InputError("not a line of JSON", file=path, row=i + 1) from error
    return Log(tuple(rows))


def _read_predictions(folder: Path) -> pl.DataFrame | None:
    paths = _finished(folder, "predictions/*/predictions.parquet")
    if not paths:
        return None
    columns = ["id", "image", "kind", "arm", "control"]
    return pl.concat([read_table(path, columns=columns) for path in paths])


def _read_asked_again(path: Path) -> pl.DataFrame | None:
    return read_table(path) if path.is_file() else None


def _read_steps(folder: Path) -> tuple[Step, ...]:
    """Every stage.json of the run, in the order in which the steps were finished."""
    found = []
    for pattern in ("*/stage.json", "*/*/stage.json"):
        for path in _finished(folder, pattern):
            if path.parent == folder / "report":
                continue  # an earlier page is no part of what this page shows
            record = _read_json(path)
            assert record is not None
            found.append(Step(path.parent.relative_to(folder).as_posix(), record))
    return tuple(sorted(found, key=lambda step: (str(step.record.get("finished", "")), step.name)))
