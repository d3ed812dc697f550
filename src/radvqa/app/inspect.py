"""Inspect: the picture, the answer's words, and what each method says they rest on; two answers side by side.

In: a run's saliency folder, or an answer the model gave just now. Out: a page, and its maps packed for the browser.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from radvqa.app.door import Reader
from radvqa.app.library import RunShelf
from radvqa.app.pack import pack
from radvqa.app.pages import page
from radvqa.report import words

router = APIRouter(tags=["inspect"])
ASKED = "asked"
"""Stands for a run in addresses: the answers to questions asked here."""
KEEP = {"cache-control": "private, max-age=3600"}
VERDICTS = {
    "faithful": (
        "faithful",
        "Without its strongest patches the answer suffers more than without random or central ones.",
    ),
    "partly": (
        "partly faithful",
        "In some tests, not in all, the answer suffers more without its strongest patches than without random or central ones.",
    ),
    "not": (
        "not faithful",
        "Without its strongest patches the answer suffers no more than without random or central ones.",
    ),
    "control": ("control", "A map that knows nothing of the answer, to compare with."),
}
"""The verdicts of a ranking (saliency/ranking.py), short and in a sentence."""
DELETION = "the answer's probability, averaged while the strongest patches are taken out; less is better."
UNMEASURED = {"short": "not measured", "long": "How faithful it is was not measured: that takes many answers of a run."}


@dataclass(frozen=True)
class Shown:
    """An answer with maps, wherever it comes from."""

    name: str
    """`run/number`, its address."""
    folder: Path
    item: dict[str, Any]
    picture: str | None
    faithfulness: dict[str, dict[str, str]]
    """method -> what was measured, in words: `short` beside its name, `long` for the one that is shown."""

    def file(self, name: str | None) -> Path:
        """A file of the answer's folder; 404 for anything else."""
        if not name or Path(name).name != name or not (self.folder / name).is_file():
            raise HTTPException(404, "no such file")
        return self.folder / name


def shown(request: Request, run: str, number: int, person: Reader) -> Shown:
    """The answer of an address; 404 where there is none, or where it is another person's question."""
    if run == ASKED:
        asker = request.app.state.asker
        found = asker.found(number, person.name) if asker is not None else None
        if found is None:
            raise HTTPException(404, "no such answer")
        return Shown(f"{ASKED}/{number}", found.folder, found.item, f"/asked/{number}/picture", _unmeasured(found.item))
    shelf = request.app.state.library.runs.get(run)
    if shelf is None or not 0 <= number < len(shelf.items):
        raise HTTPException(404, "no such answer")
    item = shelf.items[number]
    picture = request.app.state.library.shelf_of(run, item.get("corpus"), item.get("image") or "")
    address = f"/picture/{picture.name}/{item['image']}" if picture is not None else None
    return Shown(f"{run}/{number}", shelf.folder / "saliency", item, address, _faithfulness(shelf, item))


Found = Annotated[Shown, Depends(shown)]


@router.get("/inspect", response_class=HTMLResponse)
def first(request: Request, person: Reader) -> Response:
    """The first answer there is."""
    run = next((run for run in request.app.state.library.runs.values() if run.items), None)
    if run is not None:
        return RedirectResponse(f"/inspect/{run.name}/0", 303)
    if request.app.state.asker is not None:
        return RedirectResponse("/ask", 303)
    said = "A run whose recipe has a section `explain` writes maps: start the app with --run FOLDER."
    return page(request, "nothing.html", title="Nothing to look into", said=said)


@router.get("/inspect/{run}/{number}", response_class=HTMLResponse)
def inspect(request: Request, found: Found, person: Reader, beside: str | None = None) -> Response:
    """One answer, or two (`beside`: `run/number`)."""
    panes = [found]
    if beside:
        run, _, number = beside.partition("/")
        if not number.isascii() or not number.isdigit() or len(number) > 9:
            raise HTTPException(404, "no such answer to set beside")
        panes.append(shown(request, run, int(number), person))
    rail = _rail(request, person)
    return page(
        request,
        "inspect.html",
        panes=[_pane(p) for p in panes],
        rail=rail,
        beside=_beside(found, rail),
        here_item=found.name,
    )


@router.get("/maps/{run}/{number}", response_class=Response)
def maps(found: Found) -> Response:
    """Every map of an answer, packed (see pack.py)."""
    files = {name: found.file(entry.get("npz")) for name, entry in found.item["maps"].items()}
    marks = tuple((name, path, path.stat().st_mtime_ns) for name, path in files.items())
    return Response(_packed(marks), media_type="application/octet-stream", headers=KEEP)


@router.get("/maps/{run}/{number}/mask", response_class=FileResponse)
def mask(found: Found) -> Response:
    """The true mask, a PNG of 1 bit a pixel."""
    return FileResponse(found.file(found.item.get("mask_png")), media_type="image/png", headers=KEEP)


@router.get("/maps/{run}/{number}/{method}/npz", response_class=FileResponse)
def arrays(found: Found, method: str) -> Response:
    """The arrays of one method as saliency wrote them."""
    path = found.file(found.item["maps"].get(method, {}).get("npz"))
    name = f"{found.name.replace('/', '-')}-{path.name}"
    return FileResponse(path, media_type="application/octet-stream", filename=name)


@lru_cache(64)
def _packed(marks: tuple[tuple[str, Path, int], ...]) -> bytes:
    return pack({name: path for name, path, _ in marks})


def _pane(found: Shown) -> dict[str, Any]:
    """What the page and its script need of an answer."""
    item = found.item
    return {
        "name": found.name,
        "arm": item.get("arm"),
        "question": item["question"],
        "answer": item["answer"],
        "references": item.get("references") or [],
        "right": item.get("right"),
        "probability": item.get("probability"),
        "picture": found.picture,
        "maps": f"/maps/{found.name}",
        "mask": f"/maps/{found.name}/mask" if item.get("mask_png") else None,
        "methods": list(item["maps"]),
        "faithfulness": found.faithfulness,
    }


def _rail(request: Request, person: Reader) -> list[dict[str, Any]]:
    """The answers one can go to: those asked here first, then each run's."""
    found = []
    asker = request.app.state.asker
    for number, asked in asker.of(person.name) if asker is not None else []:
        thumb = f"/asked/{number}/picture"
        found.append(_entry(f"{ASKED}/{number}", "Asked here", asked.item, thumb))
    for run in request.app.state.library.runs.values():
        for number, item in enumerate(run.items):
            shelf = request.app.state.library.shelf_of(run.name, item.get("corpus"), item.get("image") or "")
            small = f"/thumb/{shelf.name}/{item['image']}" if shelf is not None else None
            found.append(_entry(f"{run.name}/{number}", run.title, item, small))
    return found


def _entry(name: str, run: str, item: dict[str, Any], thumb: str | None) -> dict[str, Any]:
    about = {key: item.get(key) for key in ("question", "answer", "right", "arm", "image")}
    return {"name": name, "run": run, "thumb": thumb, **about}


def _beside(found: Shown, rail: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """What can be set beside an answer, what is nearest to it first: another model's to the same question, another
    question about the same picture, the rest."""
    groups: dict[str, list[dict[str, Any]]] = {"The same question": [], "The same picture": [], "Others": []}
    for entry in rail:
        if entry["name"] == found.name:
            continue
        same = bool(entry["image"]) and entry["image"] == found.item.get("image")
        alike = same and entry["question"] == found.item["question"]
        groups["The same question" if alike else "The same picture" if same else "Others"].append(entry)
    return {name: entries for name, entries in groups.items() if entries}


def _faithfulness(shelf: RunShelf, item: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What is known of each method over the run's answers, and of this answer's map against the true mask."""
    ranking, found = shelf.ranking, {}
    for name in item["maps"]:
        short, long = _measured(ranking.get(name))
        mass, chance = (item.get("mass_in_mask") or {}).get(name), item.get("mask_share")
        if mass is not None and chance:
            long += f" Here {words.percent(mass)} of the map lies in the true mask; chance is {words.percent(chance)}."
        found[name] = {"short": short, "long": long}
    return found


def _unmeasured(item: dict[str, Any]) -> dict[str, dict[str, str]]:
    return dict.fromkeys(item["maps"], UNMEASURED)


def _measured(row: Mapping[str, Any] | None) -> tuple[str, str]:
    """A ranking's row in a few words, and in sentences."""
    if row is None:
        return UNMEASURED["short"], UNMEASURED["long"]
    verdict = VERDICTS.get(row["verdict"], (row["verdict"], ""))
    first = next((m for m in row["measures"] if m["measure"] == "deletion" and m.get("value") is not None), None)
    if first is None:
        return verdict[0], verdict[1]
    area = words.interval(first["value"], first["low"], first["high"])
    long = f"{verdict[1]} Deletion {area} over {words.count(first['n'], 'answer')}: {DELETION}"
    return f"{verdict[0]} · deletion {words.number(first['value'])}", long
