"""The page: everything a run left on disk in one HTML file that opens without a server or a network.

In: a run folder, finished or not. Out: report.html; parts that are not there are named on the page.

    write_report("runs/demo", "runs/demo/report.html")
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from radvqa.licences import restriction, terms_of
from radvqa.report import words
from radvqa.report.card import data_card, leakage_sentence
from radvqa.report.charts import tone
from radvqa.report.consistency import consistency_section
from radvqa.report.curves import stage_curves
from radvqa.report.evidence import (
    comparisons,
    constant_letter,
    forest_of,
    overview,
    power,
    score_table,
    slice_tables,
    strips_of,
)
from radvqa.report.gallery import gallery, ranked
from radvqa.report.headline import headline, learned, model_name, stages_of
from radvqa.report.judged import judge_section
from radvqa.report.lookup import Scores
from radvqa.report.provenance import provenance, utc
from radvqa.report.read import Run, read_run
from radvqa.report.trust import trust_section

NUM_PICTURES = 12


def write_report(run_folder: str | Path, out: str | Path, *, title: str | None = None) -> Path:
    """Write the page of a run and return its path. The same run gives the same bytes.

    title: the heading; by default the recipe's `report.title`, else its name, else the folder's.
    Raises InputError for a folder that is not there and for files in it that are broken; nothing is written then.
    """
    out = Path(out)
    text = render(read_run(run_folder), title=title)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return out


def render(run: Run, *, title: str | None = None) -> str:
    """The page as text."""
    return _template().render(**_parts(run, title), **_inline())


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("radvqa.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"words": words, "tone": tone}
    return environment.get_template("report.html")


def _parts(run: Run, title: str | None) -> dict[str, Any]:
    """What the template is filled with, one entry a section."""
    told = run.recipe.get("report") if isinstance(run.recipe.get("report"), Mapping) else {}
    assert isinstance(told, Mapping)
    stages = stages_of(run.recipe)
    scores = Scores(run.scores, [stage["name"] for stage in stages])
    num_pictures = told.get("num_pictures", NUM_PICTURES)
    metric = scores.headline
    said, tests = comparisons(scores)
    made = provenance(run)
    tones = {arm: place for place, arm in enumerate(scores.arms or ["base", *(stage["name"] for stage in stages)])}
    return {
        "title": title or told.get("title") or run.recipe.get("name") or run.name,
        "run": run,
        "scores": scores,
        "model": model_name(run.recipe),
        "head": headline(run, scores),
        "restriction": restriction(terms_of(corpus.card for corpus in run.corpora.values())),
        "leakage": leakage_sentence(run.leakage),
        "cards": [data_card(name, corpus, num_pictures=num_pictures) for name, corpus in run.corpora.items()],
        "curves": [stage_curves(name, log, tone=tones.get(name, 1)) for name, log in _by_stage(run, stages)],
        "untrained": [words.arm_name(stage["name"]) for stage in stages if run.logs and stage["name"] not in run.logs],
        "learned": {words.arm_name(stage["name"]): learned(stage) for stage in stages},
        "forest": forest_of(scores, metric) if metric else None,
        "strips": strips_of(scores, [name for name in scores.metrics if name != metric]),
        "overview": overview(scores),
        "table": score_table(scores),
        "said": said,
        "tests": tests,
        "power": power(scores),
        "letter": constant_letter(scores),
        "slices": slice_tables(scores),
        "gallery": gallery(run),
        "methods": ranked(run),
        "judge": judge_section(run.judge),
        "consistency": consistency_section(run.consistency, run.unsettled),
        "trust": trust_section(run.trust),
        "made": made,
        "finished": utc(made.finished),
    }


def _by_stage(run: Run, stages: list[Mapping[str, Any]]) -> list[tuple[str, Any]]:
    """Logs in the order of the recipe's stages, then any others by name."""
    names = [stage["name"] for stage in stages]
    return sorted(
        run.logs.items(), key=lambda item: (names.index(item[0]) if item[0] in names else len(names), item[0])
    )


def _inline() -> dict[str, Markup]:
    """Style and script as part of the page; the script's hash is what the page's policy lets run, nothing else."""
    here = Path(__file__).parent
    style, script = (here / "report.css").read_text(), (here / "report.js").read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {"style": Markup(style), "script": Markup(script), "script_hash": Markup(f"'sha256-{digest}'")}
