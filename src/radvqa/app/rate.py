"""Rate: a model's answers, or those of two, blinded and in random order, on the expert scales of ratings.py.

In: the answers of a run. Out: rows of ratings, a summary, and a table that calibrates the judge.
"""

from __future__ import annotations

import io
from typing import Annotated, Any
from uuid import UUID

import polars as pl
from fastapi import APIRouter, Depends, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, Field

from radvqa.app.door import Admin, Guarded, Reviewer, checked_token
from radvqa.app.pages import page
from radvqa.app.ratings import ASKED, SCALES, Rating, Ratings, RatingSet, summary, to_rate
from radvqa.errors import InputError

router = APIRouter(tags=["rate"])
MAX_TEXT = 4000


class OneRating(BaseModel):
    """The rating of one of the answers shown."""

    key: UUID
    slot: Annotated[int, Field(ge=0, le=1)]
    """Which of the answers, in the order in which they were shown."""
    correctness: Annotated[str | None, Field(max_length=16)] = None
    completeness: Annotated[str | None, Field(max_length=16)] = None
    harm: Annotated[str | None, Field(max_length=16)] = None
    cannot_judge: bool = False
    comment: Annotated[str | None, Field(max_length=MAX_TEXT)] = None


class Rated(BaseModel):
    """What the page sends: all answers to one question at once."""

    place: Annotated[int, Field(ge=0, le=2**31)]
    ratings: Annotated[list[OneRating], Field(min_length=1, max_length=2)]


Shown = list[list[dict[str, Any]]]


def set_numbered(request: Request, number: int) -> tuple[RatingSet, Shown]:
    """The set of an address and what it shows; 404 where there is none, or its run is not at hand."""
    state = request.app.state
    found = next((s for s in state.ratings.sets() if s.id == number), None)
    run = state.library.runs.get(found.run) if found else None
    if found is None or run is None or run.answers is None:
        raise HTTPException(404, "no such set of answers, or its run is not open here")
    return found, to_rate(run.answers, found)


Numbered = Annotated[tuple[RatingSet, Shown], Depends(set_numbered)]


@router.get("/rate", response_class=HTMLResponse)
def overview(request: Request, person: Reviewer) -> Response:
    """The sets there are; for the admin a form that makes one."""
    state = request.app.state
    arms = {
        run.name: answers["arm"].unique().sort().to_list()
        for run in state.library.runs.values()
        if (answers := run.answers) is not None
    }
    sets = [s for s in state.ratings.sets() if s.run in arms]
    mine = {s.id: len(state.ratings.rated(s.id, person.name).unique(["question", "image"])) for s in sets}
    return page(request, "rate_sets.html", arms=arms, sets=sets, mine=mine, titles=_titles(request))


@router.post("/rate")
def make_set(
    request: Request,
    person: Admin,
    csrf: Annotated[str, Form(max_length=256)],
    arms: Annotated[list[str], Form(min_length=1, max_length=2)],
    number: Annotated[int, Form(ge=1, le=100_000)] = 50,
    seed: Annotated[int, Form(ge=0, le=2**31)] = 0,
) -> Response:
    """Draw questions whose answers are to be rated. arms: one or two of `run/arm`, of one run."""
    checked_token(request, csrf)
    runs = {arm.partition("/")[0] for arm in arms}
    run = request.app.state.library.runs.get(next(iter(runs)))
    names = [arm.partition("/")[2] for arm in arms]
    known = set() if run is None or run.answers is None else set(run.answers["arm"].to_list())
    if len(runs) != 1 or run is None or not set(names) <= known or len(set(names)) != len(names):
        raise InputError("one or two models of one run are needed", key="arms")
    made = request.app.state.ratings.make_set(run.name, names, number, seed)
    request.app.state.accounts.log(person.name, "rating set made", f"{made}: {run.name}, {number} questions")
    return RedirectResponse(f"/rate/{made}", 303)


@router.get("/rate/{number}", response_class=HTMLResponse)
def rate(request: Request, person: Reviewer, found: Numbered) -> Response:
    """The page; its script asks for what follows."""
    rating_set, shown = found
    first = _next(request, rating_set, shown, person.name)
    return page(request, "rate.html", rating_set=rating_set, first=first, scales=SCALES, asked=ASKED)


@router.get("/api/rate/{number}/next")
def following(request: Request, person: Reviewer, found: Numbered) -> dict[str, Any]:
    """The first question that this rater has not rated."""
    return _next(request, *found, person.name)


@router.get("/api/rate/{number}/items/{place}")
def item(request: Request, person: Reviewer, found: Numbered, place: int) -> dict[str, Any]:
    """A question of the set by its place, to rate it again."""
    if not 0 <= place < len(found[1]):
        raise HTTPException(404, "no such question")
    return _shown(request, found[0], found[1], place)


@router.post("/api/rate/{number}/ratings", dependencies=[Guarded])
def save(request: Request, person: Reviewer, found: Numbered, said: Rated) -> dict[str, Any]:
    """Store the ratings of one question's answers; when this answers, they are on disk. Gives the next question."""
    rating_set, shown = found
    if said.place >= len(shown) or sorted(r.slot for r in said.ratings) != list(range(len(shown[said.place]))):
        raise InputError("every answer to the question has to be rated", key="ratings")
    rows: list[Rating] = []
    for one in said.ratings:
        answer = shown[said.place][one.slot]
        about = one.model_dump(exclude={"key", "slot"})
        about["comment"] = (one.comment or "").replace("\0", "").strip() or None
        image, question = answer["row"]["image"] or "", answer["row"]["id"]
        for arm in answer["arms"]:
            rows.append(Rating(key=f"{one.key}:{len(rows)}", question=question, image=image, arm=arm, **about))
    request.app.state.ratings.save(rating_set.id, person.name, rows)
    return _next(request, rating_set, shown, person.name)


@router.get("/rate/{number}/results", response_class=HTMLResponse)
def results(request: Request, person: Admin, found: Numbered) -> Response:
    """What the raters said of each model."""
    ratings: Ratings = request.app.state.ratings
    rated = ratings.rated(found[0].id)
    return page(
        request,
        "rate_results.html",
        rating_set=found[0],
        rows=summary(rated, found[0].arms),
        raters=rated["rater"].unique().sort().to_list(),
        comments=rated.filter(pl.col("comment").is_not_null()).to_dicts()[-50:],
    )


@router.get("/rate/{number}/ratings.parquet", response_class=Response)
def download(request: Request, person: Admin, found: Numbered) -> Response:
    """The last word of each rater about each answer, as `radvqa judge --ratings` reads it: id, image, arm, control,
    rater, verdict (the judge's words; none where `cannot_judge`) and the rest."""
    rated = request.app.state.ratings.rated(found[0].id).rename({"question": "id", "correctness": "verdict"})
    rated = rated.with_columns(control=pl.lit("none"))  # people see the true picture
    buffer = io.BytesIO()
    rated.write_parquet(buffer)
    headers = {"content-disposition": f'attachment; filename="ratings-{found[0].id}.parquet"'}
    return Response(buffer.getvalue(), media_type="application/vnd.apache.parquet", headers=headers)


def _next(request: Request, rating_set: RatingSet, shown: Shown, rater: str) -> dict[str, Any]:
    rated = request.app.state.ratings.rated(rating_set.id, rater)
    done = set(rated.select("question", "image").iter_rows())
    open_ = [
        i for i, answers in enumerate(shown) if (answers[0]["row"]["id"], answers[0]["row"]["image"] or "") not in done
    ]
    progress = {"mine": len(shown) - len(open_), "wanted": len(shown)}
    found = _shown(request, rating_set, shown, open_[0]) if open_ else {"done": True}
    return found | {"progress": progress}


def _shown(request: Request, rating_set: RatingSet, shown: Shown, place: int) -> dict[str, Any]:
    """What a rater sees: the answers' texts, not whose they are."""
    row = shown[place][0]["row"]
    shelf = request.app.state.library.shelf_of(rating_set.run, None, row["image"] or "")
    return {
        "done": False,
        "place": place,
        "picture": f"/picture/{shelf.name}/{row['image']}" if shelf is not None else None,
        "question": row["question"],
        "choices": list(row["choices"] or []),
        "references": list(row["answers"]),
        "answers": [answer["text"] for answer in shown[place]],
    }


def _titles(request: Request) -> dict[str, str]:
    return {run.name: run.title for run in request.app.state.library.runs.values()}
