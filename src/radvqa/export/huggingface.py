"""A folder that Hugging Face `datasets` loads: Parquet files a split, pictures as the Image feature.

    datasets.load_dataset("vqa_rad-hf", split="test")[0]["image"]  # a PIL picture
    radvqa import huggingface vqa_rad-hf --out corpora/again       # the same Samples

The columns are the fields of a Sample; `image` holds the bytes of the file, once a row group however many questions ask
about it. The schema carries the features as `datasets` writes them, so the library need not guess.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from radvqa.export import croissant
from radvqa.export.pictures import ending
from radvqa.sample import SCHEMA, SPLITS, Corpus, to_row

ROWS, GROUP_BYTES = 1000, 64_000_000
"""A row group ends at so many rows or so many bytes of pictures."""
SHARD_BYTES = 500_000_000
TEXT = {"dtype": "string", "_type": "Value"}
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def features() -> dict[str, Any]:
    """The columns in the words of `datasets.Features`."""
    kinds: dict[str, Any] = {"image": {"_type": "Image"}, "mask": {"dtype": "binary", "_type": "Value"}}
    numbers = {name: {"dtype": "float32", "_type": "Value"} for name in ("x", "y", "width", "height")}
    kinds |= {"boxes": [{"label": TEXT} | numbers]}
    return {
        name: kinds.get(name, [TEXT] if pa.types.is_list(SCHEMA.field(name).type) else TEXT) for name in SCHEMA.names
    }


def _schema() -> pa.Schema:
    fields = [pa.field(field.name, IMAGE if field.name == "image" else field.type) for field in SCHEMA]
    described = json.dumps({"info": {"features": features()}})
    return pa.schema(fields, metadata={"huggingface": described})


def write(corpus: Corpus, folder: Path) -> Counter[str]:
    """data/<split>-*.parquet, README.md, croissant.json; leaves nothing out."""
    (folder / "data").mkdir()
    files: dict[str, list[Path]] = {}
    for split in SPLITS:
        shards = _Shards(folder / "data", split)
        for rows in _groups(corpus, split):
            shards.write(rows)
        found = shards.close()
        if found:
            files[split] = found
    (folder / "README.md").write_text(_readme(corpus.card, files), encoding="utf-8")
    described = croissant.describe(corpus.card, folder, files, _schema())
    text = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
    (folder / "croissant.json").write_text(text, encoding="utf-8")
    return Counter()


def _groups(corpus: Corpus, split: str) -> Iterator[list[dict[str, Any]]]:
    """Rows in groups; pictures that several rows of a group show are one object in memory."""
    rows: list[dict[str, Any]] = []
    held: dict[str, bytes] = {}
    for sample in corpus.samples(split=split):
        row = to_row(sample)
        key = sample.image
        if key is not None:
            held.setdefault(key, corpus.image_bytes(key) if key not in held else b"")
            row["image"] = {"bytes": held[key], "path": f"{key}.{ending(held[key])}"}
        rows.append(row)
        if len(rows) >= ROWS or sum(map(len, held.values())) >= GROUP_BYTES:
            yield rows
            rows, held = [], {}
    if rows:
        yield rows


class _Shards:
    """The Parquet files of one split, begun anew when one is large; numbered when their number is known."""

    def __init__(self, folder: Path, split: str) -> None:
        self._folder, self._split = folder, split
        self._files: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        self._schema = _schema()

    def write(self, rows: list[dict[str, Any]]) -> None:
        if self._writer is None:
            self._files.append(self._folder / f"{self._split}-{len(self._files):05d}")
            self._writer = pq.ParquetWriter(
                self._files[-1],
                self._schema,
                compression="zstd",
                # a picture that many questions ask about is stored once a row group
                dictionary_pagesize_limit=2 * GROUP_BYTES,
            )
        self._writer.write_table(pa.Table.from_pylist(rows, schema=self._schema))
        if self._files[-1].stat().st_size >= SHARD_BYTES:
            self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def close(self) -> list[Path]:
        """The files, under the names `datasets` gives."""
        self._close()
        number = len(self._files)
        return [file.rename(file.with_name(f"{file.name}-of-{number:05d}.parquet")) for file in self._files]


def _readme(card: dict[str, Any], files: dict[str, list[Path]]) -> str:
    """The page of the data set, with the head that tells `datasets` its splits."""
    title, licence = str(card.get("title") or card.get("name") or "A corpus"), str(card.get("licence") or "not stated")
    lines = ["---", "license: other", f"license_name: {json.dumps(licence)}", f"pretty_name: {json.dumps(title)}"]
    lines += ["task_categories:", "- visual-question-answering", "configs:", "- config_name: default", "  data_files:"]
    for split in files:
        lines += [f"  - split: {split}", f"    path: data/{split}-*"]
    lines += ["---", "", f"# {title}", ""]
    lines += [f"{card.get('num_questions', 0):,} questions about {card.get('num_images', 0):,} images.", ""]
    lines += [f"- Licence: {licence}", f"- Source: {card.get('homepage') or 'not stated'}"]
    lines += [f"- Citation: {card.get('citation') or 'not stated'}", "", "Written by radvqa; card.json has the counts."]
    return "\n".join(lines) + "\n"
