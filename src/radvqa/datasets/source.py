"""What every data set loader gives: a Card that says what it is, and Rows that become a corpus.

A loader is a module of this folder with `CARD: Card` and
`rows(path, *, <typed options>, drop) -> Iterator[Row]`; `drop(reason)` counts a row that is left out. Loaders that take
the licence from the user also have `describe(options) -> Card`, `path` among the options.

    for row in radvqa.datasets.get("slake").rows(Path("Slake1.0"), languages=["en"], drop=print):
        print(row.sample.question, row.picture)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from radvqa.datasets.reading import json_value
from radvqa.errors import InputError
from radvqa.sample import Sample

Drop = Callable[[str], None]
Picture = Path | bytes | Image.Image
Holdout = Literal["validation", "test", "both"]
YES_NO = ("yes", "no")


@dataclass(frozen=True)
class Card:
    """What a data set is and on which terms it may be used; written into every corpus made from it."""

    name: str
    title: str
    licence: str
    commercial: bool
    """Whether the licence lets anybody use it for any purpose, as far as it says."""
    citation: str
    homepage: str


@dataclass
class Row:
    """One question with its picture; `sample.image` stays None until the picture is written."""

    sample: Sample
    picture: Picture | None


def told_card(card: Card, options: Mapping[str, Any], title: str | None = None) -> Card:
    """The card of data whose terms the files do not say: what the user says of it goes before the card.json that lies
    beside an export. `title` is that of data without a path."""
    path: Path | None = options["path"]
    title = title or (path.name if path else card.title)
    told: dict[str, Any] = {"name": path.stem if path else title.replace("/", "-"), "title": title}
    if path is not None:
        told |= _beside(path if path.is_dir() else path.parent)
    told |= {key: options[key] for key in ("name", "licence", "commercial", "citation") if options.get(key) is not None}
    return replace(card, **told)


def _beside(folder: Path) -> dict[str, Any]:
    """What the card.json of an export says, nothing where there is none."""
    file = folder / "card.json"
    found = json_value(file) if file.is_file() else None
    if not isinstance(found, dict) or not isinstance(found.get("licence"), str):
        return {}
    texts = {
        key: found[key]
        for key in ("name", "title", "licence", "citation", "homepage")
        if isinstance(found.get(key), str)
    }
    return texts | {"commercial": found.get("commercial") is True}


def check_splits(folder: Path, files: Mapping[str, Path]) -> None:
    """Raises InputError where the file of a split that is asked for is not there; it names those that are."""
    there = [split for split, file in files.items() if file.is_file()]
    missing = [file for split, file in files.items() if split not in there]
    if missing:
        found = f"no {missing[0].relative_to(folder)} here"
        fix = f"to read what there is, say splits=[{','.join(there)}]" if there else "check the path and the layout"
        raise InputError(found, file=folder, key="splits", fix=fix)


def held_out(subjects: Collection[str], share: float, seed: int, holdout: Holdout = "validation") -> dict[str, str]:
    """Which subjects leave train, and for which split: {subject: "validation" | "test"}.

    Subjects are ordered by the SHA-256 of "seed:subject" and the first round(share x number) are taken, at least one
    if the share is above 0, so the choice depends neither on the order of the files nor on Python's own hashing. With
    `both`, they go to validation and test in turn. Raises InputError for a share outside [0, 1) or one that would
    leave train empty.
    """
    if not 0 <= share < 1:
        raise InputError(f"validation_share is {share}", key="validation_share", fix="give a share from 0 to below 1")
    unique = sorted(set(subjects), key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    number = max(round(share * len(unique)), 1) if share else 0
    if number and number >= len(unique):
        raise InputError(
            f"{len(unique)} subjects cannot be divided with validation_share {share}", key="validation_share"
        )
    names = ("validation", "test") if holdout == "both" else (holdout,)
    return {subject: names[place % len(names)] for place, subject in enumerate(unique[:number])}


def sample_at(file: Path, row: int | str, **fields: Any) -> Sample:
    """The Sample of these fields; what is wrong with them is told with the file and row they come from."""
    try:
        return Sample(**fields)
    except InputError as error:
        raise InputError(error.found, file=file, row=row, key=error.key, fix=error.fix) from error


def kind_of(answers: Collection[str], choices: Collection[str] = ()) -> str:
    """The kind of a question whose source does not say: choice with options, closed for yes / no, else open."""
    if choices:
        return "choice"
    return "closed" if all(answer.strip().lower().rstrip(".") in YES_NO for answer in answers) else "open"


def tidy(answer: str) -> str:
    """The answer without blanks at its edges; yes and no in small letters, everything else as published."""
    answer = answer.strip()
    return answer.lower() if answer.lower() in YES_NO else answer
