"""Runs: scores with intervals, groups that fail, the examples behind them, and the report.

In: run folders. Out: pages; numbers and plots are those of the report's own functions.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Annotated, Any

import polars as pl
from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, Response

from radvqa.app.door import Reader
from radvqa.app.library import RunShelf
from radvqa.app.pages import page
from radvqa.report.evidence import comparisons, forest_of, overview, slice_tables
from radvqa.report.headline import headline, stages_of
from radvqa.report.lookup import Scores
from radvqa.report.words import is_number

router = APIRouter(tags=["runs"])
PAGE = 24
FILTERS = ("topic", "kind", "modality", "region", "plane")
FAILING, FAILING_LEAST_N = 12, 20


def run_named(request: Request, run: str) -> RunShelf:
    """The run of an address; 404 where there is none."""
    found = request.app.state.library.runs.get(run)
    if found is None:
        raise HTTPException(404, "no such run")
    return found


Named = Annotated[RunShelf, Depends(run_named)]


@router.get("/runs", response_class=HTMLResponse)
def runs(request: Request, person: Reader) -> Response:
    """Every run with the number it opens with."""
    shelves = list(request.app.state.library.runs.values())
    rows = [{"shelf": shelf, "head": headline(shelf.run, _scores(shelf))} for shelf in shelves]
    if not rows:
        return page(request, "nothing.html", title="No runs", said="Start the app with --run FOLDER.")
    return page(request, "runs.html", rows=rows)


@router.get("/runs/{run}", response_class=HTMLResponse)
def run(request: Request, person: Reader, found: Named) -> Response:
    """Scores, plots, failing groups."""
    scores = _scores(found)
    metric = scores.headline
    said, _ = comparisons(scores)
    tables = slice_tables(scores)
    return page(
        request,
        "run.html",
        shelf=found,
        head=headline(found.run, scores),
        scores=scores,
        forest=forest_of(scores, metric) if metric else None,
        overview=overview(scores),
        slices=tables[:1],
        said=said,
        failing=failing(scores),
        has_report=(found.folder / "report.html").is_file(),
    )


@router.get("/runs/{run}/report", response_class=FileResponse)
def report(request: Request, person: Reader, found: Named) -> Response:
    """The report as it was written, in a box of its own: only its known script runs, and it reaches nothing."""
    path = found.folder / "report.html"
    if not path.is_file():
        raise HTTPException(404, "this run has no report yet")
    policy = (
        f"sandbox allow-scripts; default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {_script()}"
    )
    return FileResponse(path, media_type="text/html", headers={"content-security-policy": policy})


@router.get("/runs/{run}/examples", response_class=HTMLResponse)
def examples(
    request: Request,
    person: Reader,
    found: Named,
    arm: Annotated[str | None, Query(max_length=100)] = None,
    right: Annotated[str | None, Query(pattern="^(yes|no|)$")] = None,
    topic: Annotated[str | None, Query(max_length=200)] = None,
    kind: Annotated[str | None, Query(max_length=200)] = None,
    modality: Annotated[str | None, Query(max_length=200)] = None,
    region: Annotated[str | None, Query(max_length=200)] = None,
    plane: Annotated[str | None, Query(max_length=200)] = None,
    words: Annotated[str | None, Query(max_length=200)] = None,
    at: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:
    """Questions with their answers, filtered."""
    answers = found.answers
    if answers is None:
        return page(request, "nothing.html", title="No answers yet", said="This run has not predicted anything yet.")
    chosen = {"topic": topic, "kind": kind, "modality": modality, "region": region, "plane": plane}
    arms = answers["arm"].unique(maintain_order=True).to_list()
    arm = arm if arm in arms else arms[-1]
    some = answers.filter(pl.col("arm") == arm)
    options = {name: some[name].drop_nulls().unique().sort().to_list() for name in FILTERS if name in some.columns}
    for name, value in chosen.items():
        some = some.filter(pl.col(name) == value) if value and name in some.columns else some
    if right:
        some = some.filter(pl.col("right") == (right == "yes"))
    if words:
        text = pl.concat_str(pl.col("question", "answer"), separator=" ", ignore_nulls=True).str.to_lowercase()
        some = some.filter(text.str.contains(words.lower(), literal=True))
    asked = {"arm": arm, "right": right, "words": words, **chosen}
    return page(
        request,
        "examples.html",
        shelf=found,
        arms=arms,
        options={name: values for name, values in options.items() if len(values) > 1},
        asked={name: value or "" for name, value in asked.items()},
        total=len(some),
        at=at,
        step=PAGE,
        rows=[_example(request, found, row) for row in some.slice(at, PAGE).iter_rows(named=True)],
    )


def _example(request: Request, shelf: RunShelf, row: dict[str, Any]) -> dict[str, Any]:
    picture = request.app.state.library.shelf_of(shelf.name, None, row["image"] or "")
    maps = next((n for n, i in enumerate(shelf.items) if i["id"] == row["id"] and i.get("arm") == row["arm"]), None)
    return {**row, "thumb": f"/thumb/{picture.name}/{row['image']}" if picture is not None else None, "maps": maps}


def _scores(shelf: RunShelf) -> Scores:
    found = shelf.run
    return Scores(found.scores, [stage["name"] for stage in stages_of(found.recipe)])


def failing(scores: Scores) -> list[dict[str, Any]]:
    """The groups in which the last arm does worst, and surely worse than overall (intervals apart), worst first."""
    metric, arms = scores.headline, scores.arms
    whole = scores.find(metric, arms[-1]) if metric and arms else None
    if metric is None or whole is None or not is_number(whole.get("low")):
        return []
    found: list[dict[str, Any]] = []
    for dimension, values in scores.slices(metric).items():
        for value in values:
            entry = scores.find(metric, arms[-1], "none", {dimension: value})
            if entry is None or entry.get("n", 0) < FAILING_LEAST_N or not is_number(entry.get("high")):
                continue
            if entry["high"] < whole["low"]:
                found.append({"dimension": dimension, "name": value, "entry": entry})
    return sorted(found, key=lambda group: group["entry"]["value"])[:FAILING]


def _script() -> str:
    """The hash of the report's script: what its own page lets run."""
    script = (files("radvqa.report") / "report.js").read_bytes()
    return f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
