"""Curation measured: reasons on the real replies, precision and recall against hand labels, speed on a million pairs.

RADVQA_DATA=/your/data python benchmarks/curation.py replies --out benchmarks/curation-replies.json
RADVQA_DATA=/your/data python benchmarks/curation.py speed --out benchmarks/curation-2cpu.json
RADVQA_DATA=/your/data python benchmarks/curation.py models --nli models/nli
RADVQA_DATA=/your/data python benchmarks/curation.py guess --out benchmarks/curation-guess.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from founding_pairs import labelled
from radvqa.calls import Calls
from radvqa.curate.checks import Limits
from radvqa.curate.filter import filter_corpus
from radvqa.curate.judging import REPEAT, judge
from radvqa.curate.repeats import Repeats
from radvqa.curate.sketches import sketch
from radvqa.curate.steps import judges_of
from radvqa.curate.support import Asked
from radvqa.sample import SCHEMA, Corpus

HERE = Path(__file__).parent


def replies(data: Path, _: argparse.Namespace) -> dict:
    """Counts of every reason by file, and the filter against the labels."""
    pairs = labelled(data)
    table: dict[str, Counter[str]] = {}
    staying, files, verdict = [], [], {}
    for name, pair in pairs.items():
        file, image, _place = name.split("/")
        verdict[name] = judge(pair, Limits())
        table.setdefault(file, Counter())[verdict[name] or "kept"] += 1
        if verdict[name] is None:
            staying.append((f"{file}/{image}", pair.question, pair.answer))
            files.append(file)
    with tempfile.TemporaryDirectory() as scratch, Repeats(Path(scratch)) as repeats:
        repeats.add(sketch(staying))
        for place in np.flatnonzero(repeats.find() >= 0):
            table[files[place]]["kept"] -= 1
            table[files[place]][REPEAT] += 1
    found = {"reasons": {file: dict(counts.most_common()) for file, counts in table.items()}}
    for labels in sorted(HERE.glob("curation-labels*.json")):
        rows = json.loads(labels.read_text())["labels"]
        bad = [row for row in rows if row["bad"] is not None]
        gone = [row for row in rows if verdict[row["id"]] is not None]
        both = sum(row["bad"] is not None for row in gone)
        found[labels.stem] = {"n": len(rows), "bad": len(bad), "dropped": len(gone), "right": both,
                              "precision": round(both / len(gone), 3), "recall": round(both / len(bad), 3)}  # fmt: skip
    return found


def models(data: Path, settings: argparse.Namespace) -> dict:
    """The checks against the labels without and with models that are asked what they leave."""
    pairs, found = labelled(data), {}
    ledger = (settings.folder or Path(tempfile.mkdtemp())) / "verdicts.sqlite"
    with contextlib.ExitStack() as stack:
        calls = stack.enter_context(Calls(ledger, settings.url, settings.model)) if settings.url else None
        asked = [Asked(judge) for judge in stack.enter_context(judges_of(calls, settings.nli, ledger))]
        for labels in sorted(HERE.glob("curation-labels*.json")):
            rows = json.loads(labels.read_text())["labels"]
            bad = {at for at, row in enumerate(rows) if row["bad"] is not None}
            gone = {at for at, row in enumerate(rows) if judge(pairs[row["id"]], Limits()) is not None}
            found[labels.stem] = {"checks": _against(gone, bad)}
            for one in asked:
                gone |= set(one.unsupported({at: pairs[row["id"]] for at, row in enumerate(rows) if at not in gone}))
                found[labels.stem][f"and {one.judge.name}"] = _against(gone, bad)
    return found | {one.judge.name: one.account() for one in asked}


def _against(gone: set[int], bad: set[int]) -> dict:
    right = len(gone & bad)
    return {"dropped": len(gone), "right": right, "precision": round(right / max(1, len(gone)), 3),
            "recall": round(right / len(bad), 3)}  # fmt: skip


def speed(data: Path, settings: argparse.Namespace) -> list[dict]:
    """Pairs made of the real ones, a fifth of the words replaced so that few are repeats; each number in a fresh process."""
    folder = Path(settings.folder or tempfile.mkdtemp())
    made = [folder / f"pairs-{pairs}" for pairs in settings.pairs]
    if len(made) > 1 or not (made[0] / "card.json").is_file():
        for corpus, pairs in zip(made, settings.pairs):
            if not (corpus / "card.json").is_file():
                _make(corpus, list(labelled(data).values()), pairs)
        command = [sys.executable, __file__, "speed", "--folder", folder, "--workers", str(settings.workers)]
        each = ([*command, "--pairs", str(pairs)] for pairs in settings.pairs)
        return [row for one in each for row in json.loads(subprocess.check_output(one))]
    return [_speed(made[0], folder / "out", settings.workers)]


def _speed(corpus: Path, out: Path, workers: int) -> dict:
    scratch, done = [0], threading.Event()
    watching = threading.Thread(target=_watch, args=(out.with_name("out.partial"), scratch, done))
    watching.start()
    start, before = time.perf_counter(), _cpu()
    counts = filter_corpus(Corpus(corpus), out, workers=workers)
    wall, cpu = time.perf_counter() - start, _cpu() - before
    done.set()
    watching.join()
    own, one = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {"pairs": Corpus(corpus).card["num_questions"], "workers": workers, "wall_s": round(wall, 1),
            "cpu_s": round(cpu, 1), "peak_rss_mb": round(own / 1024), "peak_rss_of_a_worker_mb": round(one / 1024),
            "scratch_mb": round(scratch[0] / 2**20), "dropped": dict(counts.most_common()),
            "load": round(os.getloadavg()[0], 1), "cpus": os.cpu_count()}  # fmt: skip


def _watch(partial: Path, most: list[int], done: threading.Event) -> None:
    """The largest size of the scratch folder, looked at twice a second."""
    while not done.wait(0.5):
        files = list(partial.glob("scratch-*/*"))
        most[0] = max(most[0], sum(file.stat().st_size for file in files if file.exists()))


def _make(corpus: Path, real: list, pairs: int) -> None:
    rng = np.random.default_rng(0)
    words = sorted({word for pair in real[:3000] for word in pair.answer.split()})
    corpus.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(corpus / "questions.parquet", SCHEMA) as file:
        for at in range(0, pairs, 10_000):
            rows = [_row(at + k, real, words, rng) for k in range(min(10_000, pairs - at))]
            file.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
    (corpus / "card.json").write_text(json.dumps({"num_questions": pairs, "num_images": 0, "dropped": {}}))


def _row(place: int, real: list, words: list[str], rng: np.random.Generator) -> dict:
    pair = real[int(rng.integers(len(real)))]
    answer = pair.answer.split()
    for at in np.flatnonzero(rng.random(len(answer)) < 0.2):
        answer[at] = words[int(rng.integers(len(words)))]
    base = dict.fromkeys(SCHEMA.names)
    return base | {"id": f"q{place}", "image": f"i{place // 5}", "question": pair.question, "answers": [" ".join(answer)],
                   "kind": pair.kind, "split": "train", "source": "b", "language": "en", "origin": "llm", "choices": [],
                   "findings": [], "boxes": [], "extra": "{}", "evidence": pair.evidence[:1500]}  # fmt: skip


def _cpu() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def guess(data: Path, _: argparse.Namespace) -> dict:
    """What the question alone gives away, in templates of MedPix, ROCOv2 and phantoms, and in the phantoms' own."""
    from radvqa.curate.guessing import between, template_guessing
    from radvqa.datasets import import_corpus

    found = {}
    phantom = {"num_images": 1200, "test_share": 0.4, "validation_share": 0.0, "size_px": 96}
    sources = {
        "medpix": ("medpix", data / "MedPix-2-0", {"questions": "descriptions", "splits": ["train"]}),
        "rocov2": ("rocov2", data / "rocov2_sample", {"splits": ["train", "validation"]}),
        "phantom": ("phantom", None, phantom),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, (dataset, path, options) in sources.items():
            samples = list(import_corpus(dataset, path, Path(folder) / name, options=options).samples())
            found[f"{name}, templates"] = template_guessing(samples)
            if name == "phantom":
                halves = ([s for s in samples if s.split == split] for split in ("train", "test"))
                found["phantom, its own questions"] = between(*halves)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["replies", "speed", "guess", "models"])
    parser.add_argument("--pairs", type=int, nargs="+", default=[100_000, 300_000, 1_000_000, 3_000_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the made pairs lie, and stay")
    parser.add_argument("--nli", type=Path, help="folder of an entailment model")
    parser.add_argument("--url", help="a server whose --model is asked")
    parser.add_argument("--model", default="llama3.1")
    parser.add_argument("--out", type=Path)
    settings = parser.parse_args()
    found = {"replies": replies, "speed": speed, "guess": guess, "models": models}[settings.what](
        Path(os.environ["RADVQA_DATA"]), settings
    )
    text = json.dumps(found, indent=1) + "\n"
    print(text)
    if settings.out:
        settings.out.write_text(text)


if __name__ == "__main__":
    main()
