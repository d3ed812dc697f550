"""ROCO (version 1): 81,825 radiology figures of PubMed Central articles with captions. Licence per image.

Official folder: `data/{train,validation,test}/{radiology,non-radiology}/` with `captions.txt`, `cuis.txt`,
`keywords.txt`, `licences.txt` and, once fetched, `images/ROCO_NNNNN.jpg`. Tab separated, a blank before the caption:

    ROCO_00020\\t Axial computed tomography scan of the pelvis showing a diffuse infiltration of the bladder wall ...

    radvqa import roco roco-dataset/ --out corpora/roco splits=[validation]
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from radvqa.datasets.reading import csv_records, lines, picture_in
from radvqa.datasets.source import Card, Drop, Row, check_splits, sample_at
from radvqa.datasets.terms import only_modality_in
from radvqa.errors import InputError

CARD = Card(
    name="roco",
    title="ROCO",
    licence="per image: CC BY, CC BY-NC and others of the PubMed Central open access subset",
    commercial=False,
    citation="Pelka, Koitka, Rückert, Nensa, Friedrich. Radiology Objects in COntext (ROCO): A Multimodal Image Dataset. "
    "MICCAI LABELS workshop (2018).",
    homepage="https://github.com/razorx89/roco-dataset",
)
QUESTION = "What does the image show?"


def rows(
    path: Path | None,
    *,
    splits: tuple[Literal["train", "validation", "test"], ...] = ("train", "validation", "test"),
    groups: tuple[Literal["radiology", "non-radiology"], ...] = ("radiology",),
    drop: Drop,
) -> Iterator[Row]:
    """One question an image, its caption being the answer, in the order of captions.txt.

    The modality is the one the caption names, where it names only one.
    """
    if path is None:
        raise InputError("roco needs the folder of its files", key="path")
    base = path / "data" if (path / "data").is_dir() else path
    for group in groups:
        check_splits(path, {split: base / split / group / "captions.txt" for split in splits})
    for split in dict.fromkeys(splits):
        for group in dict.fromkeys(groups):
            yield from _group(base / split / group, split, group, drop)


def _group(folder: Path, split: str, group: str, drop: Drop) -> Iterator[Row]:
    cuis, keywords = _lists(folder / "cuis.txt"), _lists(folder / "keywords.txt")
    licences = _licences(folder / "licences.txt")
    file = folder / "captions.txt"
    for row, line in lines(file):
        if not line.strip():
            continue
        image, tab, caption = line.partition("\t")
        image, caption = image.strip(), caption.strip()
        if not tab:
            raise InputError("no tab between the image and its caption", file=file, row=row)
        if not caption:
            drop("an empty caption")
            continue
        extra: dict[str, Any] = {"image_name": image, "group": group, "cuis": cuis.get(image, [])}
        extra["keywords"] = keywords.get(image, [])
        sample = sample_at(
            file,
            row,
            id=f"roco-{split}-{image}",
            question=QUESTION,
            answers=(caption,),
            kind="open",
            topic="description",
            split=split,
            source=CARD.name,
            subject=licences.get(image, {}).get("article"),
            evidence=caption,
            modality=only_modality_in(caption),
            extra=extra | licences.get(image, {}),
        )
        yield Row(sample, picture_in(folder / "images", image + ".jpg", file, row))


def _lists(file: Path) -> dict[str, list[str]]:
    """`ID<tab><tab>a<tab>b`: {ID: [a, b]}; nothing where the file is not there."""
    if not file.is_file():
        return {}
    parts = (line.split("\t") for _, line in lines(file))
    return {
        words[0].strip(): [word.strip() for word in words[1:] if word.strip()] for words in parts if words[0].strip()
    }


def _licences(file: Path) -> dict[str, dict[str, str]]:
    """{ID: {article, licence}}; the article is the part of PMC_ID before its file name."""
    if not file.is_file():
        return {}
    return {
        record["ROCO_ID"].strip(): {"article": record["PMC_ID"].split("_")[0].strip(), "licence": record["CC"].strip()}
        for _, record in csv_records(file, required=("ROCO_ID", "PMC_ID", "CC"))
    }
