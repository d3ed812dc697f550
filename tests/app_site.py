"""A small site for the app's tests: a corpus and a run made by hand, the app over them, and browsers that sign in."""

import json
import re
import shutil
import sqlite3
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path
from urllib.request import Request, urlopen
from uuid import uuid4

import numpy as np
import polars as pl
from argon2 import PasswordHasher
from starlette.testclient import TestClient

from radvqa.app.database import open_database
from radvqa.app.door import COOKIE, csrf_of
from radvqa.app.server import create_app
from radvqa.app.settings import Settings
from radvqa.curate.review import draw
from radvqa.sample import Corpus
from report_run import make_run

PASSWORD = "a long pass phrase"
HTML = {"accept": "text/html"}
LAYERS, HEADS = 3, 2


def make_site(folder: Path) -> Path:
    """The run of report_run with answers in words and maps with layers and heads."""
    run = make_run(folder / "small")
    samples = list(Corpus(run / "corpora" / "phantom").samples(split="test"))
    for path in run.glob("predictions/*/predictions.parquet"):
        arm, _, control = path.parent.name.partition("-")
        rows = [
            {
                "id": s.id, "image": s.image, "subject": s.subject, "topic": s.topic, "kind": s.kind, "arm": arm,
                "question": s.question, "answers": list(s.answers), "choices": [], "modality": s.modality,
                "plane": "axial", "region": s.region, "control": control, "probability": 0.1 * (i + 1),
                "answer": "yes" if arm == "stage2" else ("no" if i else "perhaps <b>"),
            }
            for i, s in enumerate(samples)
        ]  # fmt: skip
        pl.DataFrame(rows).write_parquet(path)
    for number in range(len(samples)):
        values = np.zeros((3, 4, 4), np.float32)
        values[0, 1, 2], values[1, 0, 0], values[2, 3, 3] = 0.25, 0.5, 0.1
        heads = np.random.default_rng(number).random((LAYERS, HEADS, 3, 16), dtype=np.float32) / 16
        base = run / "saliency" / f"{number}-raw"
        np.savez_compressed(
            base.with_suffix(".npz"), values=values, **{"details/image": heads}, prompt_values=values[:, 0]
        )
        about = {
            "method": "raw",
            "chosen": [0, 1],
            "signed": False,
            "scale": "attention",
            "tokens": ["mass", " left", "<eos>"],
        }
        about |= {"words": [["mass", 0, 1], ["left", 1, 2]], "prompt_tokens": ["is", " it", " a", "?"]}
        base.with_suffix(".json").write_text(json.dumps(about))
    return run


def app_over(run: Path, database: Path | str, **more):
    """The app over a run and its corpus; passwords are hashed cheaply, the tables copied from a file made once."""
    more = {"corpora": (run / "corpora" / "phantom",), "runs": (run,)} | more
    if isinstance(database, Path) and not database.exists():
        shutil.copy(_empty(), database)
    app = create_app(Settings(database=str(database), **more))
    app.state.accounts._hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    return app


@cache
def _empty() -> Path:
    path = Path(tempfile.mkdtemp()) / "empty.sqlite"
    open_database(path).dispose()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


class Browser(TestClient):
    """A client that keeps its cookie and sends the form token, as our pages and scripts do."""

    def __init__(self, app, **more):
        super().__init__(
            app, base_url="http://127.0.0.1:8600", raise_server_exceptions=False, follow_redirects=False, **more
        )

    @property
    def csrf(self) -> str:
        if COOKIE not in self.cookies:
            self.get("/sign-in", headers=HTML)
            self.get("/runs", headers=HTML)
        return csrf_of(self.cookies[COOKIE])

    def form(self, address: str, **fields):
        return self.post(address, data={"csrf": self.csrf, **fields}, headers=HTML)

    def say(self, address: str, body):
        return self.post(address, json=body, headers={"x-csrf-token": self.csrf})

    def page(self, address: str) -> str:
        response = self.get(address, headers=HTML, follow_redirects=True)
        assert response.status_code == 200, (address, response.status_code, response.text[:2000])
        return response.text

    def sign_in(self, name: str, password: str = PASSWORD):
        self.get("/sign-in", headers=HTML)
        return self.form("/sign-in", name=name, password=password)


def token_for(address: str) -> tuple[str, str]:
    """A cookie header and its form token from a site that is served, for clients that are not a Browser."""
    with urlopen(Request(f"{address}/runs", headers=HTML)) as response:
        cookie = response.headers["set-cookie"].partition(";")[0]
    return cookie, csrf_of(cookie.partition("=")[2])


def shelf_of(app):
    """The one corpus that is reviewed."""
    return next(iter(app.state.library.corpora.values()))


def queue(app, number: int = 12, wanted: int = 1) -> None:
    """Fill the queue at random."""
    shelf = shelf_of(app)
    app.state.reviews.enqueue(shelf.key, draw(shelf.table, number), wanted=wanted)


def verdict(place: int, verdict: str = "accept", **more) -> dict:
    """What the page sends."""
    return {"id": str(uuid4()), "place": place, "verdict": verdict, **more}


def visible(text: str) -> str:
    """A page's text without its markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))
