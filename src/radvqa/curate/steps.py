"""Curation as a recipe has it: choose by pathology, ask, filter, and show what that did to the counts.

In: a corpus folder and the `curate` section of its data. Out: the curated corpus, dropped.parquet with a reason for
every question that went, curation.json and curation.png with how often each finding was there before and after.

    curate(Corpus("corpora/rocov2"), Path("corpora/rocov2-curated"), Curate(common=12, questions="template"))
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from radvqa.curate.checks import Limits
from radvqa.curate.filter import DROPPED, filter_corpus
from radvqa.curate.generate import Wanted, caption_samples, ledger_of, num_calls, one_an_image, written
from radvqa.curate.pathology import cap, common, select, value_counts
from radvqa.curate.review import applied
from radvqa.curate.support import Judge
from radvqa.curate.templates import template_questions
from radvqa.errors import InputError
from radvqa.recipe_sections import Curate
from radvqa.review import Verdict
from radvqa.sample import Corpus, CorpusWriter, Sample, to_row
from radvqa.tables import read_table

if TYPE_CHECKING:
    from radvqa.calls import Calls

Tell = Callable[[int, int, str], None]
FIGURE, COUNTS, GONE = "curation.png", "curation.json", "dropped.parquet"


def curate(
    corpus: Corpus, out: Path, settings: Curate, *, seed: int = 0, ledger: Path | None = None, tell: Tell | None = None
) -> str:
    """Write the corpus `out`; returns a sentence on what was done.

    ledger: where the replies of `server` are kept; beside `out` unless given. tell: called with (done, total, note).
    Raises InputError where nothing is left, or a finding asked for is unknown, ServerGone where the server dies.
    """
    samples = list(corpus.samples())
    before = value_counts(samples, settings.by)
    chosen = _chosen(samples, settings, before, seed)
    staying = {sample.id for sample in chosen}
    gone = [(sample, "not among the pathologies chosen") for sample in samples if sample.id not in staying]
    lost: Counter[str] = Counter()
    with _calls(settings, ledger or ledger_of(out)) as calls:
        asked = list(_asked(corpus, chosen, settings, seed, calls, lost, tell))
        if not asked:
            raise InputError(
                "no question is left", key="curate.questions", fix="look at topics, or at the server's replies"
            )
        written_corpus, dropped = write_samples(corpus, out, asked, gone, lost), 0
        if settings.filter:
            told = _part(tell, len(asked), "pairs judged")
            dropped = _filtered(written_corpus, settings, calls, ledger or ledger_of(out), told)
    _keep_gone(out, gone)
    made = Corpus(out)
    after = value_counts(made.samples(), settings.by)
    (out / COUNTS).write_text(json.dumps({"by": settings.by, "before": before, "after": after}, indent=2) + "\n")
    draw_counts({"before": dict(before), "after": dict(after)}, out / FIGURE)
    said = f"{len({s.image for s in chosen}):,} pictures chosen, {len(asked):,} questions, {dropped:,} filtered out"
    said += f", {made.card['num_questions']:,} stay" + (f"; {calls.account()}" if calls is not None else "")
    for name, support in made.card["support"].items() if settings.support or settings.nli else ():
        said += f"; {name}: {support['without_verdict']:,} of {support['asked']:,} without a verdict stay"
    return said


def _filtered(corpus: Corpus, settings: Curate, calls: Calls | None, ledger: Path, told: Callable[[int], None]) -> int:
    """Filter a corpus in its place; how many pairs went."""
    limits = Limits(off=settings.off, languages=settings.languages)
    with judges_of(calls if settings.support else None, settings.nli, ledger) as judges:
        counts = filter_corpus(corpus, corpus.folder, limits=limits, blind=settings.blind, judges=judges, progress=told)
    return counts.total()


def _chosen(samples: Sequence[Sample], settings: Curate, before: Counter[str], seed: int) -> Sequence[Sample]:
    """The samples of the pictures that are selected, under the cap."""
    chosen = samples
    wanted: Sequence[str] = settings.select
    if settings.common is not None:
        wanted = common(samples, settings.common, settings.by)
    if wanted:
        unknown = set(wanted) - set(before)
        if unknown:
            fix = "it has " + ", ".join(f"{value} ({n})" for value, n in before.most_common(15))
            raise InputError(f"no picture has {', '.join(sorted(unknown))}", key="curate.select", fix=fix)
        chosen = select(chosen, wanted, settings.by)
    if settings.cap is not None:
        chosen = cap(chosen, settings.cap, settings.by, seed=seed)
    if not chosen:
        raise InputError("nothing is left after the selection", key="curate")
    return chosen


def _calls(settings: Curate, ledger: Path) -> AbstractContextManager[Calls | None]:
    if settings.server is None:
        return nullcontext()
    from radvqa.calls import Calls

    return Calls(ledger, settings.server.url, settings.server.model, concurrency=settings.server.concurrency)


@contextmanager
def judges_of(calls: Calls | None, nli: Path | None, ledger: Path) -> Iterator[list[Judge]]:
    """Who is asked whether the evidence supports the answers: the entailment model first, which costs less."""
    from radvqa.curate.support_llm import LanguageModel

    judges: list[Judge] = [] if calls is None else [LanguageModel(calls)]
    if nli is None:
        yield judges
        return
    from radvqa.curate.support_nli import Entailment

    with closing(Entailment(nli, ledger)) as entailment:
        yield [entailment, *judges]


def _part(tell: Tell | None, total: int, note: str) -> Callable[[int], None]:
    return lambda done: tell(done, total, note) if tell else None


def _asked(
    corpus: Corpus,
    chosen: Sequence[Sample],
    settings: Curate,
    seed: int,
    calls: Calls | None,
    lost: Counter[str],
    tell: Tell | None,
) -> Iterable[Sample]:
    if settings.questions == "template":
        return template_questions(chosen, topics=settings.topics, seed=seed)
    if settings.questions == "captions":
        return caption_samples(chosen, seed=seed)
    if settings.questions == "llm":
        assert calls is not None
        wanted = Wanted(settings.prompts, settings.number, settings.pictures, seed=seed)
        total = num_calls(chosen, wanted, corpus)
        return written(
            corpus, one_an_image(chosen), calls, wanted, lambda why: lost.update([why]), _part(tell, total, "calls")
        )
    return chosen


def write_samples(
    corpus: Corpus,
    out: Path,
    samples: Iterable[Sample],
    gone: Sequence[tuple[Sample, str]] = (),
    lost: Mapping[str, int] | None = None,
) -> Corpus:
    """A corpus of these samples, picture by picture, with the pictures they have in `corpus`.

    Counted as dropped in its card: what was so in `corpus`, the samples of `gone`, and `lost` (reason -> number).
    """
    with CorpusWriter(out, {**corpus.card, "dropped": {}}) as writer:
        for reason, number in corpus.card.get("dropped", {}).items():
            writer.drop(reason, number)
        for _, reason in gone:
            writer.drop(reason)
        for reason, number in (lost or {}).items():
            writer.drop(reason, number)
        of_image: dict[str | None, list[Sample]] = {}
        for sample in samples:
            of_image.setdefault(sample.image, []).append(sample)
        for image, some in of_image.items():  # a picture is read and decoded once
            picture = corpus.image_bytes(image) if image is not None else None
            for sample in some:
                writer.add(sample, picture)
    return Corpus(out)


def write_judged(corpus: Corpus, out: Path, verdicts: Sequence[Verdict], *, only_reviewed: bool = False) -> Corpus:
    """A corpus in which verdicts are carried out; what was rejected is in its dropped.parquet."""
    judged = list(applied(corpus.samples(), verdicts, only_reviewed=only_reviewed))
    gone = [(sample, reason) for sample, reason in judged if reason is not None]
    made = write_samples(corpus, out, (sample for sample, reason in judged if reason is None), gone)
    _keep_gone(out, gone)
    return made


def _keep_gone(out: Path, gone: Sequence[tuple[Sample, str]]) -> None:
    """Add the samples that went before the filter to dropped.parquet."""
    rows = [{**to_row(sample), "reason": reason, "detail": None} for sample, reason in gone]
    table = pa.Table.from_pylist(rows, schema=DROPPED)
    if (out / GONE).is_file():
        table = pa.concat_tables([table, pq.read_table(out / GONE).cast(DROPPED)])
    partial = out / (GONE + ".partial")
    pq.write_table(table, partial, compression="zstd")
    partial.replace(out / GONE)


# ---------------------------------------------------------------- figures


def draw_counts(counts: dict[str, dict[str, int]], file: Path) -> None:
    """Pictures with each value, a panel for each of `counts`, the same values in the same place."""
    from radvqa.card_figures import Counts, bars

    totals = {name: max(1, sum(values.values())) for name, values in counts.items()}
    panels = [Counts(name, values, totals[name], "findings in pictures") for name, values in counts.items()]
    figure = bars(panels)
    figure.savefig(file, dpi=120, metadata={"Software": None})


def draw_mix(mix: Path, file: Path, *, num_bins: int = 40) -> None:
    """The share of each source over a mix.parquet, as stacked areas."""
    from matplotlib.figure import Figure

    from radvqa.card_figures import COLOURS, INK, SOFT
    from radvqa.mix import shares_over

    frame = read_table(mix).sort("place")
    found = frame.select("source", "corpus").unique(maintain_order=True).sort("source")
    num = int(found["source"].max() or 0) + 1  # type: ignore[arg-type]
    titles = dict(zip(found["source"].to_list(), found["corpus"].to_list()))
    bins = min(num_bins, max(1, len(frame) // 10))
    shares = shares_over(frame["source"].to_numpy(), num, bins)
    figure = Figure(figsize=(7.5, 3.2), layout="constrained")
    axes = figure.subplots()
    places = [(k + 0.5) / bins * len(frame) for k in range(bins)]
    axes.stackplot(
        places, 100 * shares.T, colors=[COLOURS[k % len(COLOURS)] for k in range(num)], alpha=0.85, step="mid"
    )
    below = 0.0
    for source in range(num):
        middle, below = 100 * (below + shares[0, source] / 2), below + shares[0, source]
        if shares[:, source].max() > 0.04:
            axes.text(
                places[0], middle, f" {titles.get(source, source)}", color="white", va="center", fontweight="bold"
            )
    axes.set(
        xlim=(places[0], places[-1]), ylim=(0, 100), xlabel="questions learned", ylabel="share of what is learned, %"
    )
    axes.tick_params(colors=SOFT)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(file, dpi=120, metadata={"Software": None})
