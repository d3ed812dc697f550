"""Sample, the one record that crosses rooms, and Corpus, its folder on disk.

In: rows from a data set, each a Sample with its picture. Out: a corpus folder,
  questions.parquet      a Sample a row
  images-00000.parquet   each distinct picture once: key, bytes, width, height, phash
  card.json              licence, citation, counts, what was dropped and why

    with CorpusWriter(out, card) as writer:
        writer.add(sample, Path("chest.png"))
    corpus = Corpus(out); corpus.image(next(corpus.samples()).image).show()
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from radvqa.errors import InputError
from radvqa.picture import MAX_PIXELS, perceptual_hash, picture_key, read_picture
from radvqa.tables import opened, read_table

__all__ = ["MAX_PIXELS", "Box", "Corpus", "CorpusWriter", "Sample", "perceptual_hash", "picture_key", "read_picture"]

KINDS = ("open", "closed", "choice")
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A labelled rectangle: `x, y` is the top left corner, all in pixels of the stored picture."""

    label: str
    x: float
    y: float
    width: float
    height: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.x, self.y, self.width, self.height))) or min(self.width, self.height) < 0:
            raise InputError(f"the box of {self.label!r} has no place or size", key="boxes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One question about one image, with everything that is known of it."""

    id: str
    """Unique within its corpus."""
    question: str
    answers: tuple[str, ...]
    """At least one; the first is what training teaches, any of them is right."""
    kind: str
    """open, closed or choice."""
    split: str
    """train, validation or test."""
    source: str
    """The data set it comes from."""
    image: str | None = None
    """Key of the picture: SHA-256 of its pixels. None: a question without a picture."""
    choices: tuple[str, ...] = ()
    """The options of a choice question, without their letters."""
    topic: str | None = None
    """What is asked about: modality, plane, organ, position, finding ... (SLAKE's content_type)."""
    subject: str | None = None
    """Patient or case; splits and intervals are by it."""
    language: str = "en"
    origin: str = "human"
    """human, template, or the name of the LLM that wrote it."""
    evidence: str | None = None
    """The caption or report it came from."""
    modality: str | None = None
    plane: str | None = None
    region: str | None = None
    findings: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    mask: bytes | None = None
    """What the answer rests on: a PNG, 1 bit a pixel, the size of the picture."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Everything particular to one source; JSON values."""

    def __post_init__(self) -> None:
        for name, allowed in (("kind", KINDS), ("split", SPLITS)):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} is {getattr(self, name)!r}", row=self.id, fix="use " + ", ".join(allowed))
        if not self.question.strip():
            raise InputError("the question is empty", row=self.id, key="question")
        if not self.answers or not all(answer.strip() for answer in self.answers):
            raise InputError(
                "a question without an answer", row=self.id, key="answers", fix="give it one or drop the row"
            )
        if self.kind == "choice" and len(self.choices) < 2:
            raise InputError(f"a choice question with {len(self.choices)} choices", row=self.id, key="choices")


SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("image", pa.string()),
        ("question", pa.string()),
        ("answers", pa.list_(pa.string())),
        ("kind", pa.string()),
        ("choices", pa.list_(pa.string())),
        ("topic", pa.string()),
        ("split", pa.string()),
        ("source", pa.string()),
        ("subject", pa.string()),
        ("language", pa.string()),
        ("origin", pa.string()),
        ("evidence", pa.string()),
        ("modality", pa.string()),
        ("plane", pa.string()),
        ("region", pa.string()),
        ("findings", pa.list_(pa.string())),
        (
            "boxes",
            pa.list_(pa.struct([("label", pa.string())] + [(k, pa.float32()) for k in ("x", "y", "width", "height")])),
        ),
        ("mask", pa.binary()),
        ("extra", pa.string()),
    ]
)
IMAGE_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("bytes", pa.binary()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("phash", pa.uint64()),
    ]
)


def to_row(sample: Sample) -> dict[str, Any]:
    """The Sample as one row of SCHEMA."""
    row = {name: getattr(sample, name) for name in SCHEMA.names}
    row["boxes"] = [asdict(box) for box in sample.boxes]
    row["extra"] = json.dumps(dict(sample.extra), ensure_ascii=False, sort_keys=True)
    return row


def _holds(found: Any, wanted: Collection[Any]) -> bool:
    """Whether a field, or where it is a list one of its items, is among the values wanted."""
    return any(item in wanted for item in found) if isinstance(found, list) else found in wanted


def from_row(row: Mapping[str, Any]) -> Sample:
    """The Sample that `to_row` wrote."""
    fields = dict(row)
    for name in ("answers", "choices", "findings"):
        fields[name] = tuple(fields[name] or ())
    fields["boxes"] = tuple(Box(**box) for box in fields["boxes"] or ())
    fields["extra"] = json.loads(fields["extra"] or "{}")
    return Sample(**fields)


# ---------------------------------------------------------------- on disk


class CorpusWriter:
    """Writes a corpus folder row by row; it takes its final name only when the `with` block ends well.

    `card` is stored as card.json with the counts of what was written added. Memory does not grow with the corpus
    beyond 100 bytes an id and an image.
    """

    ROWS, IMAGES, SHARD_BYTES = 10_000, 256, 64 << 20

    def __init__(self, out: str | Path, card: Mapping[str, Any]) -> None:
        self.out, self.card = Path(out), dict(card)
        self.partial = self.out.with_name(self.out.name + ".partial")
        self.dropped: Counter[str] = Counter()
        self._counts: dict[str, Counter[str]] = {
            k: Counter() for k in ("split", "kind", "topic", "modality", "plane", "region", "language", "origin")
        }
        self._rows: list[dict[str, Any]] = []
        self._images: list[dict[str, Any]] = []
        self._pending_bytes = 0
        self._ids: set[str] = set()
        self._keys: set[str] = set()
        self._key_of_file: dict[Path, str] = {}
        self._last: tuple[object, str] = (None, "")
        self._questions: pq.ParquetWriter | None = None
        self._num_shards = 0

    def __enter__(self) -> CorpusWriter:
        if self.out.exists() and not _replaceable(self.out):
            found = "something that is not a corpus is there already"
            raise InputError(found, file=self.out, fix="choose another folder, or move it away")
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True)
        self._questions = pq.ParquetWriter(self.partial / "questions.parquet", SCHEMA, compression="zstd")
        return self

    def add(self, sample: Sample, picture: Path | bytes | Image.Image | None) -> Sample:
        """Write one sample and, if it is new, its picture. Returns the sample with its image key."""
        if sample.id in self._ids:
            raise InputError("this id is there twice", row=sample.id, key="id")
        if picture is not None:
            try:
                sample = replace(sample, image=self._store(picture))
            except InputError as error:
                raise InputError(error.found, file=error.file, row=sample.id, key="image", fix=error.fix) from error
        self._rows.append(_checked(to_row(sample)))
        self._ids.add(sample.id)
        for name, counter in self._counts.items():
            counter[getattr(sample, name) or "unknown"] += 1
        if len(self._rows) >= self.ROWS:
            self._flush_rows()
        return sample

    def drop(self, reason: str, number: int = 1) -> None:
        """Count a row that was left out, under its reason."""
        self.dropped[reason] += number

    def _store(self, picture: Path | bytes | Image.Image) -> str:
        if isinstance(picture, Path) and picture in self._key_of_file:
            return self._key_of_file[picture]
        if (
            isinstance(picture, bytes) and picture is self._last[0]
        ):  # the questions of one picture come one after the other
            return self._last[1]
        rgb, data = read_picture(picture)
        key = picture_key(rgb)
        if key not in self._keys:
            self._keys.add(key)
            self._images.append(
                {"key": key, "bytes": data, "width": rgb.width, "height": rgb.height, "phash": perceptual_hash(rgb)}
            )
            self._pending_bytes += len(data)
            if len(self._images) >= self.IMAGES or self._pending_bytes >= self.SHARD_BYTES:
                self._flush_images()
        if isinstance(picture, Path):
            self._key_of_file[picture] = key
        self._last = (picture, key)
        return key

    def _flush_rows(self) -> None:
        assert self._questions is not None
        if self._rows:
            self._questions.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA))
            self._rows = []

    def _flush_images(self) -> None:
        if self._images:
            table = pa.Table.from_pylist(self._images, schema=IMAGE_SCHEMA)
            pq.write_table(
                table, self.partial / f"images-{self._num_shards:05d}.parquet", compression="none", row_group_size=32
            )
            self._num_shards, self._images, self._pending_bytes = self._num_shards + 1, [], 0

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
        except BaseException:
            kind = BaseException
            raise
        finally:
            if kind is not None:
                self._abandon()

    def _finish(self) -> None:
        assert self._questions is not None
        self._flush_rows()
        self._flush_images()
        self._questions.close()
        self.card["num_questions"], self.card["num_images"] = len(self._ids), len(self._keys)
        self.card["counts"] = {name: dict(counter.most_common()) for name, counter in self._counts.items()}
        self.card["dropped"] = dict(self.dropped.most_common())
        text = json.dumps(self.card, indent=2, ensure_ascii=False) + "\n"
        (self.partial / "card.json").write_text(text, encoding="utf-8")
        if self.out.exists():
            shutil.rmtree(self.out)
        self.partial.rename(self.out)

    def _abandon(self) -> None:
        assert self._questions is not None
        with contextlib.suppress(OSError):  # a full disk refuses the footer too; the folder goes anyway
            self._questions.close()
        shutil.rmtree(self.partial, ignore_errors=True)


def _replaceable(folder: Path) -> bool:
    """Whether an import may take the folder's place: a corpus, or an empty folder, is; a user's other folder is not."""
    return folder.is_dir() and ((folder / "questions.parquet").is_file() or not any(folder.iterdir()))


def _checked(row: dict[str, Any]) -> dict[str, Any]:
    """The row, if all its text can be written: half of a surrogate pair, which JSON can hold, cannot."""
    for name, value in row.items():
        for text in value if isinstance(value, (list, tuple)) else (value,):
            text = text["label"] if isinstance(text, dict) else text
            if isinstance(text, str) and not text.isascii():
                try:
                    text.encode()
                except UnicodeEncodeError as error:
                    raise InputError("text that is not valid Unicode", row=ascii(row["id"]), key=name) from error
    return row


class Corpus:
    """A corpus folder, read. Pictures are decoded when asked for; only their keys are held in memory."""

    OPEN_SHARDS = 64

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / "questions.parquet").is_file() or not (self.folder / "card.json").is_file():
            raise InputError(
                "not a corpus folder (no questions.parquet and card.json)",
                file=folder,
                fix="make one with `radvqa import`",
            )
        try:
            self.card: dict[str, Any] = json.loads((self.folder / "card.json").read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError("card.json is not valid JSON", file=self.folder / "card.json") from error
        self._where: dict[str, tuple[Path, int, int]] | None = None
        self._shards: dict[Path, pq.ParquetFile] = {}

    @property
    def table(self) -> pl.DataFrame:
        """All questions, a row each, the columns of Sample."""
        return read_table(self.folder / "questions.parquet")

    def samples(self, **where: Any) -> Iterator[Sample]:
        """The samples in order; `where` keeps those whose field equals the value, or is one of a list of values.

        A field that is a list itself, such as findings or answers, need hold only one of the values.
        """
        for name in where:
            if name not in SCHEMA.names:
                raise InputError(f"samples have no field {name!r}", key=name, fix="use " + ", ".join(SCHEMA.names))
        allowed = {name: value if isinstance(value, (list, tuple, set)) else [value] for name, value in where.items()}
        for batch in self.batches(4096):
            for row in batch.to_pylist():
                if all(_holds(row[name], values) for name, values in allowed.items()):
                    yield from_row(row)

    def batches(self, size: int, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The questions in order, at most `size` rows of questions.parquet at a time.

        A row group after the other: read in one go, the reader holds on to what it has read. Raises InputError for a
        file that is cut or no Parquet.
        """
        with opened(self.folder / "questions.parquet") as file:
            for group in range(file.num_row_groups):
                yield from file.iter_batches(size, row_groups=[group], columns=columns)

    def image_keys(self) -> list[str]:
        """The key of every picture, in the order in which they were first seen."""
        return list(self._index())

    def image_bytes(self, key: str) -> bytes:
        """The stored file (JPEG or PNG) of a picture."""
        try:
            shard, group, row = self._index()[key]
        except KeyError:
            raise InputError(f"no picture {key[:12]}... in this corpus", file=self.folder, key=key) from None
        if shard not in self._shards:
            if len(self._shards) >= self.OPEN_SHARDS:
                self._shards.pop(next(iter(self._shards))).close()
            self._shards[shard] = opened(shard)
        return self._shards[shard].read_row_group(group, columns=["bytes"]).column("bytes")[row].as_py()

    def image(self, key: str) -> Image.Image:
        """The picture, RGB, upright."""
        return read_picture(self.image_bytes(key))[0]

    def _index(self) -> dict[str, tuple[Path, int, int]]:
        if self._where is None:
            self._where = {}
            for shard in sorted(self.folder.glob("images-*.parquet")):
                with opened(shard) as file:
                    for group in range(file.num_row_groups):
                        keys = file.read_row_group(group, columns=["key"]).column("key").to_pylist()
                        self._where |= {key: (shard, group, row) for row, key in enumerate(keys)}
        return self._where
