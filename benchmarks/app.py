"""The web app under load, and how fast it is in a real browser, on localhost with 10,000 questions queued.

In: a run with a corpus of at least 20,000 questions and maps (`make demo` makes one). Out: a JSON of the numbers.

    python benchmarks/app.py load --run runs/demo --database sqlite --out benchmarks/app-2cpu.json
    python benchmarks/app.py load --run runs/demo --database postgresql --kills 5 --out benchmarks/app-2cpu.json
    python benchmarks/app.py browser --run runs/demo --out benchmarks/app-2cpu.json

load: 50 reviewers at once empty a queue of 10,000; `--kills` sends the server SIGKILL at random moments on the way. The
database writes to disk as it is set up (fsync on). browser: Chromium at 1440 x 900, from the event to the frame after
the one in which the picture was drawn anew; a page from the navigation to that frame, with an empty cache.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from app_reviewers import Server, checked, fill, review, reviewers

import postgres
from app_chromium import chromium
from radvqa.app.database import database_url, open_database
from radvqa.curate.review import draw
from radvqa.review import ReviewStore, Verdict, corpus_key
from radvqa.sample import Corpus

REVIEWERS, QUEUED, JUDGED = 50, 10_000, 10_000
REPEATS, PAGES = 60, 8
REACHED_MS = {"first useful paint": 1000, "next item": 150, "change": 50}


# ---------------------------------------------------------------- load


def load(run: Path, database: str, number: int, kills: int, folder: Path) -> dict[str, Any]:
    """Fifty reviewers on one queue; what was lost and what was doubled must be 0."""
    (corpus,) = (run / "corpora").iterdir()
    with ExitStack() as stack:
        url = folder / "load.sqlite"
        if database == "postgresql":
            url = stack.enter_context(postgres.running())
        key = fill(corpus, url, number)
        cookies = reviewers(url, REVIEWERS)
        server = stack.enter_context(Server(url, "--corpus", corpus))
        found = review(server, cookies, corpus.name, number, kills)
        return {"reviewers": REVIEWERS, "kills": kills} | checked(url, key, found, number)


# ---------------------------------------------------------------- browser

WATCH = """
window.began = 0; window.waiting = [];
const draw = CanvasRenderingContext2D.prototype.drawImage;
CanvasRenderingContext2D.prototype.drawImage = function (...all) {
  if (this.canvas.closest?.(".stage")) for (const done of window.waiting.splice(0)) requestAnimationFrame(() => done(performance.now()));
  return draw.apply(this, all);
};
for (const kind of ["keydown", "pointerdown", "pointerover"])
  addEventListener(kind, (event) => { window.began = event.timeStamp; }, true);
// when the frame begins after the one in which the stage is drawn next
window.framed = () => new Promise((done) => window.waiting.push(done));
window.first = window.framed();
"""


def browser_times(run: Path, folder: Path) -> dict[str, Any]:
    """Milliseconds in Chromium: pages, the next item, and every change of a map, of the run's own size and of PaliGemma's."""
    (corpus,) = (run / "corpora").iterdir()
    database = folder / "browser.sqlite"
    fill(corpus, database, QUEUED)
    judged(corpus, database)
    large = paligemma_sized(run, folder / "large")
    shown = ("--corpus", corpus, "--run", run, "--run", large)
    pages = {
        "review": f"/review/{corpus.name}",
        "inspect": f"/inspect/{run.name}/0",
        "inspect, large": "/inspect/large/0",
    }
    pages |= {"runs": f"/runs/{run.name}", "examples": f"/runs/{run.name}/examples", "people": "/people"}
    pages |= {"agreement": f"/review/{corpus.name}/agreement"}
    with Server(database, *shown) as server, chromium() as browser:
        found: dict[str, Any] = {"queued": QUEUED, "verdicts before": JUDGED, "first useful paint": {}}
        for name, address in pages.items():
            times = [page_time(browser, server.address + address) for _ in range(PAGES)]
            found["first useful paint"][name] = summed(times)
        tab = watched(browser)
        tab.goto(server.address + pages["review"])
        tab.evaluate("first")
        found["next item"] = summed([timed(tab, lambda: tab.keyboard.press("a")) for _ in range(REPEATS)])
        for name in ("inspect", "inspect, large"):
            found[f"change, {name}"] = changes(tab, server.address + pages[name])
    return found


def page_time(browser: Any, address: str) -> float:
    """From the navigation to the picture on the screen; where there is none, to the largest text on it."""
    tab = watched(browser)
    tab.goto(address)
    if tab.locator(".stage").count():
        took = tab.evaluate("first")
    else:
        took = tab.evaluate(
            "new Promise((done) => new PerformanceObserver((list) => done(list.getEntries().at(-1).startTime))"
            ".observe({type: 'largest-contentful-paint', buffered: true}))"
        )
    tab.context.close()
    return float(took)


def changes(tab: Any, address: str) -> dict[str, Any]:
    """Words by mouse and by keyboard, layer, head and method, each changed many times; all with the sheet of heads open too."""
    found = {}
    tab.goto(address)
    tab.locator("html[data-ready]").wait_for()
    for sheet in ("", ", all heads shown"):
        if sheet:
            tab.keyboard.press("h")
        words = tab.locator(".words .word")
        places = [words.nth(i % words.count()).bounding_box() for i in range(REPEATS)]
        out = tab.locator(".under").first.bounding_box()
        hovers = []
        for box in places:
            tab.mouse.move(out["x"] + 2, out["y"] + 2)
            tab.wait_for_timeout(60)
            hovers.append(timed(tab, lambda box=box: tab.mouse.move(box["x"] + 4, box["y"] + 4)))
        found[f"word, hovered{sheet}"] = summed(hovers)
        for name in ("layer", "head"):
            tab.locator(f"#{name}").focus()
            steps = ["ArrowRight", "ArrowLeft"] * (REPEATS // 2)
            found[name + sheet] = summed([timed(tab, lambda key=key: tab.keyboard.press(key)) for key in steps])
        tab.locator("[name=method]:checked").focus()
        steps = ["ArrowDown", "ArrowUp"] * (REPEATS // 2)
        found[f"method{sheet}"] = summed([timed(tab, lambda key=key: tab.keyboard.press(key)) for key in steps])
    return found


def watched(browser: Any) -> Any:
    tab = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    tab.add_init_script(WATCH)
    return tab


def timed(tab: Any, act: Any) -> float:
    """Milliseconds from the event that `act` makes to the frame after the stage was drawn."""
    tab.evaluate("() => { window.began = 0; window.end = framed(); }")
    act()
    end, began = tab.evaluate("async () => [await window.end, window.began]")
    return float(end - began)


def judged(corpus: Path, database: Path) -> None:
    """Verdicts of two others on questions outside of the queue, so that pages have something to count."""
    found, key = Corpus(corpus), corpus_key(Corpus(corpus))
    queued = {drawn.sample for drawn in draw(found.table, QUEUED)}
    rest = [name for name in found.table["id"].to_list() if name not in queued][: JUDGED // 2]
    rows = [
        {"id": f"{who}{i}", "corpus": key, "sample": name, "reviewer": who, "verdict": ("accept", "reject")[i % 7 == 0]}
        | {"reason": ("wrong answer" if i % 7 == 0 else None), "at": datetime.now(UTC).isoformat(), "seconds": 2.0}
        for i, name in enumerate(rest)
        for who in ("ada", "bo")
    ]
    assert Verdict(**rows[0])
    table = sa.Table("verdicts", sa.MetaData(), autoload_with=(engine := open_database(database)))
    with engine.begin() as connection:
        connection.execute(table.insert(), rows)
    engine.dispose()
    ReviewStore(database_url(database)).close()


def paligemma_sized(run: Path, folder: Path) -> Path:
    """The run with one answer of 24 tokens, 18 layers, 8 heads and 32 x 32 patches (PaliGemma at 448 px), made up."""
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("*.npz", "corpora", "stage*"))
    (folder / "corpora").symlink_to((run / "corpora").resolve())
    index = json.loads((folder / "saliency" / "index.json").read_text())
    item, rng = index["items"][0], np.random.default_rng(0)
    words = [f"word{i}" for i in range(24)]
    for method in item["maps"]:
        base = folder / "saliency" / f"large-{method}"
        arrays = {"values": rng.random((24, 32, 32), dtype=np.float32)}
        if method == "raw":
            arrays["details/image"] = rng.random((18, 8, 24, 1024), dtype=np.float32)
        np.savez(base.with_suffix(".npz"), **arrays)
        about = {"method": method, "scale": "attention", "signed": False, "chosen": list(range(24)), "tokens": words}
        base.with_suffix(".json").write_text(json.dumps(about))
        item["maps"][method] = {"npz": f"{base.name}.npz"}
    item |= {"answer": " ".join(words)}
    (folder / "saliency" / "index.json").write_text(json.dumps(index | {"items": [item]}))
    return folder


def summed(times: list[float]) -> dict[str, float]:
    return {"n": len(times)} | {
        name: round(float(np.percentile(times, p)), 1) for name, p in (("p50", 50), ("p95", 95), ("max", 100))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("load", "browser"))
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--number", type=int, default=QUEUED)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.run.parent) as folder:
        if given.what == "load":
            name = f"load, {given.database}" + (", server killed" if given.kills else "")
            found = load(given.run, given.database, given.number, given.kills, Path(folder))
            assert found["lost"] == found["doubled"] == 0 and found["questions_done"] == given.number, found
        else:
            name, found = "browser, ms", browser_times(given.run, Path(folder))
    print(json.dumps({name: found}, indent=1))
    if given.out:
        known = json.loads(given.out.read_text()) if given.out.exists() else {}
        machine = {"cpu": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
        known |= {"machine": machine, "to reach, ms": REACHED_MS, name: found}
        given.out.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
