"""The pictures of docs/app.md: every room of the app in Chromium, on phantoms.

In: a run on phantoms with maps (`make demo` makes one). Out: PNGs, at 1440 x 900 and at 900 x 760.

    python benchmarks/app_pictures.py --run runs/demo --out docs
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from app_reviewers import Server, fill

from app_chromium import SIZES, chromium
from radvqa.app.accounts import Accounts
from radvqa.app.database import database_url, open_database
from radvqa.review import ReviewStore, Verdict
from radvqa.sample import Corpus

NAME, PASSWORD = "mira", "a long pass phrase"


def prepared(corpus: Path, database: Path) -> None:
    """Accounts, a queue of 200 for two reviewers each, and 60 verdicts of two of them who sometimes differ."""
    key = fill(corpus, database, 200, wanted=2)
    engine = open_database(database)
    accounts = Accounts(engine)
    for name, role in ((NAME, "admin"), ("jonas", "reviewer"), ("lea", "reviewer"), ("tom", "reader")):
        accounts.add(name, role, PASSWORD)
    accounts.sign_in("tom", "not the right one")
    store = ReviewStore(database_url(database))
    for who, bad in (("jonas", (4, 11, 20)), ("lea", (4, 20, 27))):
        for i in range(30):
            sample = store.next(key, who)
            said = {"verdict": "reject", "reason": "unclear question"} if i in bad else {"verdict": "accept"}
            store.save(Verdict(id=str(uuid4()), corpus=key, sample=str(sample), reviewer=who, seconds=3.0, **said))
    store.close()
    engine.dispose()


def rooms(tab: Any, corpus: Path, run: Path, take: Callable[[str], None]) -> None:
    """Walk through the app as a person would, taking pictures."""
    review_room(tab, corpus, take)
    rate_room(tab, run, take)
    inspect_room(tab, run, corpus, take)
    for name, address in (
        ("runs", f"/runs/{run.name}"),
        ("examples", f"/runs/{run.name}/examples?right=no"),
        ("people", "/people"),
    ):
        tab.goto(address)
        tab.wait_for_load_state("networkidle")
        take(name)


def review_room(tab: Any, corpus: Path, take: Callable[[str], None]) -> None:
    tab.goto(f"/review/{corpus.name}")
    tab.wait_for_load_state("networkidle")
    tab.keyboard.press("a")
    tab.locator("#message", has_text="Accepted").wait_for()
    tab.wait_for_load_state("networkidle")
    take("review")
    tab.keyboard.press("r")
    take("review-reject")
    tab.keyboard.press("Escape")
    tab.keyboard.press("e")
    take("review-edit")
    tab.goto(f"/review/{corpus.name}/agreement")
    tab.wait_for_load_state("networkidle")
    take("agreement")


def rate_room(tab: Any, run: Path, take: Callable[[str], None]) -> None:
    tab.goto("/rate")
    take("rate-sets")
    for box in tab.locator("[name=arms]").all():
        box.set_checked(box.get_attribute("value") in (f"{run.name}/base", f"{run.name}/stage2"))
    tab.get_by_role("button", name="Make the set").click()
    tab.locator(".card").nth(1).wait_for()
    for key in "131":
        tab.keyboard.press(key)
    tab.wait_for_load_state("networkidle")
    take("rate")


def inspect_room(tab: Any, run: Path, corpus: Path, take: Callable[[str], None]) -> None:
    def ready() -> None:
        tab.locator("html[data-ready]").wait_for()
        tab.wait_for_load_state("networkidle")
        tab.wait_for_timeout(200)

    tab.goto(f"/inspect/{run.name}/0")
    ready()
    take("inspect")
    tab.keyboard.press("h")
    tab.locator("#tiles button").nth(5).wait_for()
    tab.wait_for_timeout(300)
    tab.locator("#tiles").scroll_into_view_if_needed()
    take("heads")
    tab.goto(f"/inspect/{run.name}/0?beside={run.name}/7")
    ready()
    take("beside")
    tab.goto("/ask")
    take("ask")
    found = Corpus(corpus)
    sample = next(s for s in found.samples(split="test") if "mass" in s.findings and "hemisphere" in s.answers[0])
    file = {"name": "x.png", "mimeType": "image/png", "buffer": found.image_bytes(sample.image)}
    tab.set_input_files("[name=picture]", file)
    tab.fill("[name=question]", "Which organ contains the mass?")
    tab.get_by_role("button", name="Answer and explain").click()
    ready()
    words = tab.locator(".words .word")
    words.nth(min(3, words.count() - 1)).click()
    take("asked")
    tab.keyboard.press("w")
    tab.keyboard.press("b")
    box = tab.locator(".stage canvas").bounding_box()
    x, y = box["x"] + box["width"] * 0.45, box["y"] + box["height"] * 0.4
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x + 60, y + 30, steps=6)
    tab.mouse.up()
    tab.wait_for_timeout(200)
    take("brush")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    (corpus,) = (given.run / "corpora").iterdir()
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "app.sqlite"
        prepared(corpus, database)
        adapter = ("--adapter", given.run / "stage2" / "adapter") if (given.run / "stage2").is_dir() else ()
        shown = ("--corpus", corpus, "--run", given.run, "--model", "radvqa-tiny", *adapter)
        with Server(database, *shown) as server, chromium() as browser:
            for width, size in SIZES.items():
                context = browser.new_context(viewport=size, base_url=server.address)
                tab = context.new_page()
                tab.set_default_timeout(120_000)
                ending = "" if width == "1440" else f"-{width}"
                tab.goto("/sign-in")
                tab.screenshot(path=given.out / f"app-sign-in{ending}.png")
                tab.get_by_label("Name").fill(NAME)
                tab.get_by_label("Password").fill(PASSWORD)
                tab.get_by_role("button", name="Sign in").click()
                tab.wait_for_url("**/review/*")
                rooms(
                    tab,
                    corpus,
                    given.run,
                    lambda name, tab=tab, ending=ending: tab.screenshot(path=given.out / f"app-{name}{ending}.png"),
                )
                context.close()


if __name__ == "__main__":
    main()
