"""The good pairs of a corpus and, with a reason each, the others.

In: a corpus folder. Out: another one with the pairs that stay, and dropped.parquet beside its questions: the same columns
with reason and detail. Nothing disappears: kept and dropped are all there were.

    filter_corpus(Corpus("corpora/medpix"), Path("corpora/medpix-good"), limits=Limits(), blind=[])

The pairs are judged one by one (judging.py), then, where predictions of a model that did not see the pictures are given, by
whether it was right all the same, then by models that read the evidence (support.py), then against each other (repeats.py).
The questions are read twice and never held; what has to be known of them in between lies in a scratch folder beside the
output, 0.23 KB a pair. Memory: 0.4 GB, and from one to three million pairs less than 20 bytes a pair more.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from radvqa.curate.checks import CHECKS, LANGUAGES, Limits
from radvqa.curate.judging import REASONS, REPEAT, STAYS, Judged, easy, judged_blocks, pair_of
from radvqa.curate.repeats import Repeats, Stored
from radvqa.curate.support import Asked, Judge
from radvqa.errors import InputError
from radvqa.sample import SCHEMA, Corpus, CorpusWriter
from radvqa.stage import link
from radvqa.tables import read_table

DROPPED = pa.schema([*SCHEMA, ("reason", pa.string()), ("detail", pa.string())])
Progress = Callable[[int], None]


def filter_corpus(
    corpus: Corpus,
    out: Path,
    *,
    limits: Limits | None = None,
    blind: Sequence[Path] = (),
    workers: int = 1,
    judges: Sequence[Judge] = (),
    progress: Progress | None = None,
) -> Counter[str]:
    """Write the corpus `out` (replaced if it is one) and return how many pairs went for which reason.

    `workers`: processes that run the checks. `judges`: models that are asked, one after the other, whether the evidence
    supports what is left; a pair on which one gives no verdict stays, and is counted in the card. `progress`: called with
    the number of pairs judged so far. Raises InputError for a check that does not exist.
    """
    limits = limits or Limits()
    unknown = set(limits.off) - {check.name for check in CHECKS}
    if unknown:
        fix = "use " + ", ".join(check.name for check in CHECKS)
        raise InputError(f"there is no check {', '.join(sorted(unknown))}", key="off", fix=fix)
    if foreign := set(limits.languages) - LANGUAGES:
        fix = "use " + ", ".join(sorted(LANGUAGES))
        raise InputError(f"{', '.join(sorted(foreign))} cannot be told", key="languages", fix=fix)
    tell, right, models = progress or (lambda _: None), easy(blind), [Asked(judge) for judge in judges]
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with TemporaryDirectory(prefix="scratch-", dir=partial) as scratch, Kept(Path(scratch)) as kept:
            for block, judged in judged_blocks(corpus, limits, workers):
                ids = _with_models(block, judged, right, models, lambda place: tell(len(kept.reasons) + place))
                kept.add(ids, judged)
                tell(len(kept.reasons))
            card = _write(corpus, partial, kept)
        if models:
            card["support"] = {asked.judge.name: asked.account() for asked in models}
        for shard in sorted(corpus.folder.glob("images-*.parquet")):
            link(shard, partial / shard.name)
        (partial / "card.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if out.exists():
            Corpus(out)  # raises where it is something else
            shutil.rmtree(out)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return kept.counts


def _with_models(
    block: pa.RecordBatch, judged: Judged, right: dict[str, str], models: Sequence[Asked], tell: Progress
) -> list[str]:
    """The ids of a block; what models say of the pairs that the checks leave is added to its verdicts."""
    ids, reasons = block.column("id").to_pylist(), judged.reasons
    for place in np.flatnonzero(reasons == STAYS) if right else ():
        reasons[place] = REASONS.index(right.get(ids[place]))
    rows = block.to_pylist() if models else []
    for asked in models:
        left = {int(place): pair_of(rows[place]) for place in np.flatnonzero(reasons == STAYS)}
        reasons[asked.unsupported(left, tell)] = REASONS.index(asked.judge.reason)
    judged.sketches.forget(reasons != STAYS)
    return ids


class Kept:
    """What the first reading leaves for the second, in a folder; in memory a byte a pair and what the repeats need."""

    def __init__(self, folder: Path) -> None:
        self.reasons, self._ids, self._repeats = bytearray(), Stored(folder / "ids", np.uint8), Repeats(folder)
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_: object) -> None:
        self._ids.close()
        self._repeats.close()

    def add(self, ids: list[str], judged: Judged) -> None:
        self.reasons += judged.reasons.tobytes()
        names = [name.encode() for name in ids]
        self._ids.add(np.frombuffer(b"".join(names), np.uint8), np.array([len(name) for name in names], np.int64))
        self._repeats.add(judged.sketches)

    def find(self) -> tuple[NDArray[np.uint8], NDArray[np.int32], int]:
        """uint8[N] reasons, int32[N] the earlier pair that a repeat repeats or -1, and the number of pictures left."""
        reasons, earlier = np.frombuffer(self.reasons, np.uint8), self._repeats.find()
        reasons[earlier >= 0] = REASONS.index(REPEAT)
        numbers = np.bincount(reasons, minlength=len(REASONS)).tolist()
        self.counts.update({name: n for name, n in zip(REASONS, numbers) if name and n})
        return reasons, earlier, self._repeats.num_images(reasons == STAYS)

    def id(self, place: int) -> str:
        return self._ids[place].tobytes().decode()


def _write(corpus: Corpus, folder: Path, kept: Kept) -> dict[str, Any]:
    """questions.parquet and dropped.parquet, batch by batch; returns the card."""
    names = ("split", "kind", "topic", "modality", "plane", "region", "language", "origin")
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    reasons, earlier, num_images = kept.find()
    place = 0
    with (
        pq.ParquetWriter(folder / "questions.parquet", SCHEMA, compression="zstd") as good_ones,
        pq.ParquetWriter(folder / "dropped.parquet", DROPPED, compression="zstd") as dropped,
    ):
        for batch in corpus.batches(CorpusWriter.ROWS):
            here = slice(place, place + len(batch))
            stays = pa.array(reasons[here] == STAYS)
            table = pa.Table.from_batches([batch]).cast(SCHEMA)
            good = table.filter(stays)
            details = [f"of {kept.id(before)}" if before >= 0 else None for before in earlier[here].tolist()]
            bad = table.append_column("reason", pa.array([REASONS[reason] for reason in reasons[here]], pa.string()))
            bad = bad.append_column("detail", pa.array(details, pa.string()))
            good_ones.write_table(good)
            dropped.write_table(bad.filter(pc.invert(stays)))
            for name in names:
                counts[name].update(value or "unknown" for value in good.column(name).to_pylist())
            place += len(batch)
    return {
        **corpus.card,
        "num_questions": place - kept.counts.total(),
        "num_images": num_images,
        "counts": {name: dict(counter.most_common()) for name, counter in counts.items()},
        "dropped": dict((Counter(corpus.card.get("dropped", {})) + kept.counts).most_common()),
    }


def examples(folder: Path, number: int = 10) -> list[tuple[str, int, pl.DataFrame]]:
    """(reason, how many, up to `number` of them drawn by a fixed seed) of a filtered corpus, the commonest first."""
    file = folder / "dropped.parquet"
    if not file.is_file():
        raise InputError("nothing was filtered here", file=file, fix="make it with `radvqa filter CORPUS --out OUT`")
    frame = read_table(file, columns=["id", "question", "answers", "reason", "detail"])
    groups = [(str(name[0]), some) for name, some in frame.group_by("reason")]
    groups.sort(key=lambda group: (-len(group[1]), group[0]))
    return [(reason, len(some), some.sort("id").sample(min(number, len(some)), seed=0)) for reason, some in groups]
