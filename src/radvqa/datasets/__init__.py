"""The data sets: official files in, one corpus folder out.

In: the folder a data set is published as. Out: `questions.parquet`, `images-*.parquet` and `card.json` (licence,
citation, counts, the SHA-256 of every file that was read, what was dropped and why). One module a data set.

    radvqa import vqa_rad VQA_RAD/ --out corpora/vqa_rad
    import_corpus("vqa_rad", Path("VQA_RAD"), Path("corpora/vqa_rad"), options={"validation_share": 0.1})
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from radvqa.datasets.reading import sha256_of, watching
from radvqa.datasets.source import Card, Row
from radvqa.errors import InputError
from radvqa.sample import Corpus, CorpusWriter

NAMES = (
    "dicom",
    "huggingface",
    "iu_xray",
    "llava",
    "medpix",
    "mimic_cxr",
    "path_vqa",
    "phantom",
    "pmc_vqa",
    "roco",
    "rocov2",
    "slake",
    "table",
    "vlmevalkit",
    "vqa_med",
    "vqa_rad",
)
MISSING_SHOWN, INPUTS_LISTED = 20, 50


def get(name: str) -> ModuleType:
    """The loader of this name: a module with CARD and rows."""
    if name not in NAMES:
        raise InputError(f"unknown data set {name!r}", key="name", fix="use " + ", ".join(NAMES))
    return importlib.import_module(f"radvqa.datasets.{name}")


def allowed_options(name: str) -> dict[str, inspect.Parameter]:
    """The options of a loader: the keyword-only parameters of its `rows`, but for `drop`."""
    parameters = inspect.signature(get(name).rows).parameters.values()
    return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "drop"}


def checked_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options in their declared types; InputError for an unknown one or a value that does not fit."""
    allowed, hints = allowed_options(name), get_type_hints(get(name).rows)
    checked = {}
    for key, value in options.items():
        if key not in allowed:
            fix = "its options are " + ", ".join(allowed) if allowed else "it has no options"
            raise InputError(f"{name} has no option {key!r}", key=key, fix=fix)
        try:
            checked[key] = TypeAdapter(hints[key]).validate_python(value)
        except ValidationError as error:
            fault = error.errors()[0]
            raise InputError(
                f"{value!r} does not fit ({fault['msg']})", key=key, fix=f"see {name}'s options"
            ) from error
    for key, parameter in allowed.items():
        if parameter.default is parameter.empty and key not in checked:
            raise InputError(f"{name} needs the option {key!r}", key=key)
    return checked


def import_corpus(
    name: str,
    path: str | Path | None,
    out: str | Path,
    *,
    options: Mapping[str, Any] | None = None,
    allow_missing: bool = False,
    pictures: bool = True,
    progress: bool = True,
) -> Corpus:
    """Write the corpus folder `out` from the data set `name` at `path`, and open it.

    All rows are looked through first, so that a bad row or a missing image stops the import before any picture is
    decoded; then they are streamed, and memory does not grow with the pictures.
    `allow_missing` leaves out, and counts, the questions whose image is missing or unreadable instead of stopping.
    With `pictures=False` only the questions are taken (to compare texts and ids, not to train).
    Raises InputError for what is wrong with the files, the options or `out`.
    """
    module, checked = get(name), checked_options(name, options or {})
    source = None if path is None else Path(path)
    if source is not None and not source.exists():
        raise InputError("no such file or folder", file=source, fix=f"give the folder of {module.CARD.title}")
    with watching() as files:
        total = _survey(module.rows(source, **checked, drop=lambda reason: None), pictures and not allow_missing)
        card = module.describe(checked | {"path": source}) if hasattr(module, "describe") else module.CARD
        head = asdict(card) | {"options": to_jsonable_python(checked), "pictures": pictures, "inputs": {}}
        try:
            with CorpusWriter(out, head) as writer:
                rows = module.rows(source, **checked, drop=writer.drop)
                _write(writer, _shown(rows, total, name) if progress else rows, allow_missing, pictures)
                writer.card["inputs"] = _hashes(files, source)
        except OSError as error:
            raise InputError(f"the corpus cannot be written ({error.strerror or error})", file=out) from error
    return Corpus(out)


def _survey(rows: Iterable[Row], check_pictures: bool) -> int | None:
    """How many rows there are; InputError with a list when images are missing. None: pictures are made on the way."""
    seen: dict[Path, bool] = {}
    missing: list[tuple[str, Path]] = []
    ids: set[str] = set()
    num_missing = 0
    for row in rows:
        if row.sample.id in ids:
            raise InputError("this id is there twice", row=row.sample.id, key="id")
        ids.add(row.sample.id)
        if isinstance(row.picture, Path):
            if check_pictures and row.picture not in seen:
                seen[row.picture] = row.picture.is_file()
                if not seen[row.picture]:
                    num_missing += 1
                    missing += [(row.sample.id, row.picture)] if num_missing <= MISSING_SHOWN else []
        elif row.picture is not None:
            return None
    if missing:
        listed = "".join(f"\n  {picture} (first asked for by {sample})" for sample, picture in missing)
        more = f"\n  and {num_missing - len(missing)} more" if num_missing > len(missing) else ""
        allow = "with --allow-missing their questions are left out and counted, with --no-pictures no image is needed"
        raise InputError(f"{num_missing} of {len(seen)} images are missing; {allow}:{listed}{more}")
    if not ids:
        raise InputError("no questions were found", fix="check the path and the options")
    return len(ids)


def _write(writer: CorpusWriter, rows: Iterable[Row], allow_missing: bool, pictures: bool) -> None:
    num_written = 0
    for row in rows:
        picture = row.picture if pictures else None
        if allow_missing and isinstance(picture, Path) and not picture.is_file():
            writer.drop("the image is missing")
            continue
        try:
            writer.add(row.sample, picture)
        except InputError as error:
            if allow_missing and error.key == "image":
                writer.drop("the image is unreadable")
                continue
            raise
        num_written += 1
    if num_written == 0:
        dropped = ", ".join(f"{reason}: {number}" for reason, number in writer.dropped.items())
        raise InputError(
            f"no question is left ({dropped})",
            fix="check the path and the options; --no-pictures takes the questions alone",
        )


def _hashes(files: set[Path], source: Path | None) -> dict[str, str]:
    """{name: SHA-256} of the files that were read; where they are many, one hash for all of a folder."""
    base = source if source is not None and source.is_dir() else None
    named = {(str(f.relative_to(base)) if base and f.is_relative_to(base) else f.name): f for f in sorted(files)}
    if len(named) <= INPUTS_LISTED:
        return {name: sha256_of(file) for name, file in named.items()}
    folders: dict[str, list[str]] = {}
    for name, file in named.items():
        folders.setdefault(Path(name).parts[0] if len(Path(name).parts) > 1 else name, []).append(sha256_of(file))
    together = {f"{name}/ ({len(hashes)} files)": hashes for name, hashes in folders.items() if len(hashes) > 1}
    alone = {name: hashes[0] for name, hashes in folders.items() if len(hashes) == 1}
    return alone | {name: hashlib.sha256("".join(hashes).encode()).hexdigest() for name, hashes in together.items()}


def _shown(rows: Iterable[Row], total: int | None, name: str) -> Iterator[Row]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(f"import {name}", total=total)
        for row in rows:
            yield row
            bar.advance(task)


__all__ = ["NAMES", "Card", "Row", "allowed_options", "checked_options", "get", "import_corpus"]
