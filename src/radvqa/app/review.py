"""Review: one question after another, accepted, edited or rejected with a reason; queues, agreement, export.

In: a corpus and the verdicts of people. Out: rows in the review store, a reviewed corpus. What is drawn and what
follows from verdicts: curate/review.py; here are the pages and what their script asks for.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Annotated, Any, Literal
from uuid import UUID

import polars as pl
from fastapi import APIRouter, Depends, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, Field

from radvqa.app.door import Admin, Guarded, Reviewer, checked_token
from radvqa.app.library import Library, Shelf
from radvqa.app.pages import page
from radvqa.app.reviewed import write_reviewed
from radvqa.curate.agreement import agreement
from radvqa.curate.review import draw, remaining_bad
from radvqa.errors import InputError
from radvqa.review import REASONS, ReviewStore, Verdict

router = APIRouter(tags=["review"])
STRATA = ("modality", "topic", "kind", "region", "plane", "origin", "split", "source")
HISTORY, DISAGREEMENTS = 50, 60
MAX_TEXT = 4000


class Said(BaseModel):
    """A verdict as the page sends it. The id is made in the browser: sent twice, it is stored once."""

    id: UUID
    place: Annotated[int, Field(ge=0, le=2**31)]
    verdict: Literal["accept", "edit", "reject"]
    reason: Annotated[str | None, Field(max_length=64)] = None
    question: Annotated[str | None, Field(max_length=MAX_TEXT)] = None
    answer: Annotated[str | None, Field(max_length=MAX_TEXT)] = None
    comment: Annotated[str | None, Field(max_length=MAX_TEXT)] = None
    seconds: Annotated[float | None, Field(ge=0, le=1e6)] = None


def shelf_named(request: Request, shelf: str) -> Shelf:
    """The corpus of an address; 404 where there is none."""
    found = request.app.state.library.corpora.get(shelf)
    if found is None:
        raise HTTPException(404, "no such corpus")
    return found


Named = Annotated[Shelf, Depends(shelf_named)]

# ---------------------------------------------------------------- one question after another


@router.get("/review", response_class=HTMLResponse)
def first(request: Request, person: Reviewer) -> Response:
    """The first corpus with something in its queue, else the first."""
    state = request.app.state
    shelves = list(state.library.corpora.values())
    if not shelves:
        return page(request, "nothing.html", title="Nothing to review", said="Start the app with --corpus FOLDER.")
    queued = (shelf for shelf in shelves if state.reviews.next(shelf.key, person.name) is not None)
    return RedirectResponse(f"/review/{next(queued, shelves[0]).name}", 303)


@router.get("/review/{shelf}", response_class=HTMLResponse)
def review(request: Request, person: Reviewer, found: Named) -> Response:
    """The page: the question at hand comes with it, the ones that follow are fetched by its script."""
    store: ReviewStore = request.app.state.reviews
    begun = _progress(store, found, person.name)
    return page(
        request,
        "review.html",
        shelf=found,
        shelves=request.app.state.library.corpora,
        reasons=REASONS,
        strata=[name for name in STRATA if found.table[name].n_unique() > 1],
        has_uncertainty=bool(_uncertainty(request.app.state.library, found)),
        begun=begun,
        first=_next(request, found, person.name) if begun["questions"] else {"done": True},
        history=_history(store, found, person.name),
    )


@router.get("/api/review/{shelf}/next")
def following(request: Request, person: Reviewer, found: Named) -> dict[str, Any]:
    """The question at hand, kept for this reviewer; the same until it is judged."""
    return _next(request, found, person.name)


@router.get("/api/review/{shelf}/items/{place}")
def item(request: Request, person: Reviewer, found: Named, place: int) -> dict[str, Any]:
    """A question by its row, with what this reviewer last said of it."""
    row = found.at(place)
    if row is None:
        raise HTTPException(404, "no such question")
    return _shown(found, row, request.app.state.reviews.last(found.key, person.name, row["id"]))


@router.post("/api/review/{shelf}/verdicts", dependencies=[Guarded])
def judge(request: Request, person: Reviewer, found: Named, said: Said) -> dict[str, Any]:
    """Store a verdict; when this answers, it is on disk. Gives the next question."""
    row = found.at(said.place)
    if row is None:
        raise HTTPException(404, "no such question")
    about = said.model_dump(exclude={"id", "place"})
    about |= {name: about[name].replace("\0", "") for name in ("question", "answer", "comment") if about[name]}
    verdict = Verdict(id=str(said.id), corpus=found.key, sample=row["id"], reviewer=person.name, **about)
    saved = request.app.state.reviews.save(verdict)
    return {"saved": saved, "next": _next(request, found, person.name)}


def _next(request: Request, shelf: Shelf, reviewer: str) -> dict[str, Any]:
    store: ReviewStore = request.app.state.reviews
    sample = store.next(shelf.key, reviewer)
    row = shelf.row(sample) if sample is not None else None
    shown = {"done": True} if row is None else _shown(shelf, row, None)
    return shown | {"progress": _progress(store, shelf, reviewer)}


def _shown(shelf: Shelf, row: dict[str, Any], said: Verdict | None) -> dict[str, Any]:
    """What the page shows of a question: no id and no subject, which may name a patient."""
    facts = [row[name] for name in ("modality", "plane", "region", "topic") if row[name]]
    return {
        "done": False,
        "place": shelf.place(row["id"]),
        "picture": f"/picture/{shelf.name}/{row['image']}" if row["image"] else None,
        "question": row["question"],
        "answers": row["answers"],
        "choices": row["choices"] or [],
        "evidence": row["evidence"],
        "facts": [*facts, *(row["findings"] or [])],
        "origin": row["origin"],
        "said": said
        and {"verdict": said.verdict, "reason": said.reason, "comment": said.comment}
        | {"question": said.question, "answer": said.answer},
    }


def _progress(store: ReviewStore, shelf: Shelf, reviewer: str) -> dict[str, int]:
    return _counted(store, shelf.key, int(time.monotonic())) | {"mine": store.num_judged(shelf.key, reviewer)}


@lru_cache(16)
def _counted(store: ReviewStore, corpus: str, second: int) -> dict[str, int]:
    """The progress of all reviewers together, counted once a second however many of them there are."""
    return store.progress(corpus)


def _history(store: ReviewStore, shelf: Shelf, reviewer: str) -> list[int]:
    """The rows this reviewer judged last, oldest first: what undo goes back to."""
    recent = store.recent(shelf.key, reviewer, HISTORY)
    return [place for sample in recent if (place := shelf.place(sample)) is not None]


# ---------------------------------------------------------------- queues, agreement, export


@router.post("/review/{shelf}/queue")
def queue(
    request: Request,
    person: Admin,
    found: Named,
    csrf: Annotated[str, Form(max_length=256)],
    number: Annotated[int, Form(ge=1, le=1_000_000)] = 100,
    how: Annotated[Literal["random", "stratified", "uncertain"], Form()] = "random",
    by: Annotated[str, Form(max_length=32)] = "topic",
    wanted: Annotated[int, Form(ge=1, le=20)] = 1,
    seed: Annotated[int, Form(ge=0, le=2**31)] = 0,
) -> Response:
    """Draw questions and put them at the end of the queue, each for `wanted` reviewers."""
    checked_token(request, csrf)
    if by not in STRATA:
        raise InputError(f"found {by[:40]!r}", key="by", fix="use one of " + ", ".join(STRATA))
    known = _uncertainty(request.app.state.library, found) if how == "uncertain" else None
    drawn = draw(found.table, number, how=how, seed=seed, by=by, uncertainty=known)
    new = request.app.state.reviews.enqueue(found.key, drawn, wanted=wanted)
    request.app.state.accounts.log(person.name, "queue made", f"{found.name}: {new} questions, {how}, for {wanted}")
    return RedirectResponse(f"/review/{found.name}", 303)


def _uncertainty(library: Library, shelf: Shelf) -> dict[str, float]:
    """1 - the probability of the model's answer, from the runs at hand; a later stage's word counts."""
    found: dict[str, float] = {}
    ids = set(shelf.table["id"].to_list())
    for run in library.runs.values():
        if (answers := run.answers) is not None:
            some = answers.filter(pl.col("probability").is_not_null()).select("id", "probability")
            found |= {name: 1.0 - p for name, p in some.iter_rows() if name in ids}
    return found


@router.get("/review/{shelf}/agreement", response_class=HTMLResponse)
def agreeing(request: Request, person: Admin, found: Named) -> Response:
    """How far reviewers agree, where they do not, and what share of the unreviewed rest is bad."""
    store: ReviewStore = request.app.state.reviews
    verdicts = store.verdicts(found.key)
    try:
        rest, why = remaining_bad(found.table, store.drawn(found.key), verdicts), None
    except InputError as error:
        rest, why = None, error.found
    return page(
        request,
        "agreement.html",
        shelf=found,
        agreed=agreement([(v.sample, v.reviewer, v.verdict) for v in verdicts]),
        counts={kind: sum(v.verdict == kind for v in verdicts) for kind in ("accept", "edit", "reject")},
        reasons=[(reason, n) for reason in REASONS if (n := sum(v.reason == reason for v in verdicts))],
        disagreements=_disagreements(found, verdicts),
        rest=rest,
        why=why,
    )


def _disagreements(shelf: Shelf, verdicts: list[Verdict]) -> list[dict[str, Any]]:
    of: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        of.setdefault(verdict.sample, []).append(verdict)
    found = []
    for sample, said in of.items():
        row = shelf.row(sample)
        if row is not None and len({v.verdict for v in said}) > 1:
            found.append({"row": row, "said": said})
    return found[:DISAGREEMENTS]


@router.post("/review/{shelf}/export", response_class=HTMLResponse)
def export(
    request: Request,
    person: Admin,
    found: Named,
    csrf: Annotated[str, Form(max_length=256)],
    only_reviewed: Annotated[bool, Form()] = False,
) -> Response:
    """Write the corpus as the verdicts leave it beside the corpus, under a name of its own."""
    checked_token(request, csrf)
    out, counts = write_reviewed(found.corpus, request.app.state.reviews.verdicts(found.key), only_reviewed)
    request.app.state.accounts.log(person.name, "corpus written", f"{found.name}: {out.name}")
    return page(request, "exported.html", shelf=found, out=out, counts=counts)
