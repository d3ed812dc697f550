"""Many reviewers at once against the app in a process of its own, which may be killed on the way.

In: a corpus with a filled queue and a database. Out: what was acknowledged, what is stored, and how long answers took.

    with Server(corpus, database) as server:
        found = review(server, reviewers(database, 50), kills=2)

A reviewer does what the page's script does: asks for a question, says something of it under an id of their own, and says
the same again under the same id when the server does not answer.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from argon2 import PasswordHasher

from radvqa.app.accounts import Accounts
from radvqa.app.database import database_url, open_database
from radvqa.app.door import COOKIE, csrf_of
from radvqa.curate.review import draw
from radvqa.review import ReviewStore, corpus_key
from radvqa.sample import Corpus

PATIENCE_S = 120.0


class Server:
    """`radvqa app` as a user starts it, on a free port."""

    def __init__(self, database: str | Path, *shown: str | Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.command = [sys.executable, "-m", "radvqa.cli", "app", *map(str, shown)]
        self.command += ["--database", str(database), "--port", str(self.port)]
        self.address = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Server:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            assert self.process.poll() is None, "the app did not start"
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                time.sleep(0.05)
        raise TimeoutError(self.address)

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    def kill(self) -> None:
        """SIGKILL, and a new process in its place."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.__enter__()


def fill(corpus: Path, database: str | Path, number: int, wanted: int = 1) -> str:
    """Put questions into the queue; the corpus's key."""
    open_database(database).dispose()
    store, found = ReviewStore(database_url(database)), Corpus(corpus)
    store.enqueue(corpus_key(found), draw(found.table, number), wanted=wanted)
    store.close()
    return corpus_key(found)


def reviewers(database: str | Path, number: int) -> list[str]:
    """Accounts with a session each; the cookies. (Passwords are hashed cheaply: signing in is not what is measured.)"""
    engine = open_database(database)
    accounts = Accounts(engine)
    accounts._hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    cookies = []
    for i in range(number):
        accounts.add(f"reader{i}", "reviewer", "a long pass phrase")
        cookies.append(accounts.sign_in(f"reader{i}", "a long pass phrase"))
    engine.dispose()
    return [cookie for cookie in cookies if cookie]


class Reviewer(threading.Thread):
    """One reviewer with a connection of their own, until nothing is left for them."""

    def __init__(self, port: int, cookie: str, shelf: str) -> None:
        super().__init__(daemon=True)
        self.port, self.base = port, f"/api/review/{shelf}"
        self.headers = {"cookie": f"{COOKIE}={cookie}", "x-csrf-token": csrf_of(cookie), "accept": "application/json"}
        self.connection: http.client.HTTPConnection | None = None
        self.acknowledged: list[str] = []
        self.took_s: list[float] = []
        self.retries = 0
        self.failed: str | None = None

    def run(self) -> None:
        try:
            item = self.ask("GET", "/next")
            while not item["done"]:
                said = {"id": str(uuid4()), "place": item["place"], "verdict": "accept", "seconds": 1.0}
                begun = time.perf_counter()
                item = self.ask("POST", "/verdicts", said)["next"]
                self.took_s.append(time.perf_counter() - begun)
                self.acknowledged.append(said["id"])
        except Exception as error:  # told to whoever waits for this thread
            self.failed = repr(error)

    def ask(self, method: str, address: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer, asked for until it comes."""
        data = json.dumps(body) if body is not None else None
        headers = self.headers | ({"content-type": "application/json"} if data else {})
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.connection = self.connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                self.connection.request(method, self.base + address, data, headers)
                response = self.connection.getresponse()
                found = response.read()
                assert response.status == 200, (response.status, found[:200])
                return dict(json.loads(found))
            except (OSError, http.client.HTTPException):
                self.connection, self.retries = None, self.retries + 1
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)


def review(server: Server, cookies: Sequence[str], shelf: str, number: int, kills: int = 0) -> dict[str, Any]:
    """Let everybody review until the queue of `number` is done, the server killed `kills` times at random moments."""
    crowd = [Reviewer(server.port, cookie, shelf) for cookie in cookies]
    begun = time.perf_counter()
    for one in crowd:
        one.start()
    for at in sorted(random.uniform(0.1, 0.9) * number for _ in range(kills)):
        while sum(len(one.acknowledged) for one in crowd) < at and any(one.is_alive() for one in crowd):
            time.sleep(0.01)
        server.kill()
    for one in crowd:
        one.join()
    took = time.perf_counter() - begun
    assert not any(one.failed for one in crowd), [one.failed for one in crowd if one.failed][:3]
    waits = np.array([s for one in crowd for s in one.took_s]) * 1000
    return {
        "acknowledged": [name for one in crowd for name in one.acknowledged],
        "reviewers_who_judged": sum(bool(one.acknowledged) for one in crowd),
        "retries": sum(one.retries for one in crowd),
        "wall_s": round(took, 1),
        "verdicts_per_s": round(len(waits) / took, 1),
        "wait_ms": {f"p{p}": round(float(np.percentile(waits, p)), 1) for p in (50, 95, 99)}
        | {"max": round(waits.max())},
    }


def checked(database: str | Path, key: str, found: dict[str, Any], number: int, wanted: int = 1) -> dict[str, Any]:
    """What lies in the database against what was acknowledged: lost and doubled must both be 0."""
    store = ReviewStore(database_url(database))
    stored = store.verdicts(key, every=True)
    store.close()
    acknowledged = found.pop("acknowledged")
    ids, pairs = {v.id for v in stored}, Counter((v.sample, v.reviewer) for v in stored)
    given = Counter(v.sample for v in stored)
    return {
        "acknowledged": len(acknowledged),
        "stored": len(stored),
        "lost": len(set(acknowledged) - ids),
        "doubled": sum(n - 1 for n in pairs.values()) + sum(max(0, n - wanted) for n in given.values()),
        "questions_done": sum(n == wanted for n in given.values()),
        "questions": number,
        **found,
    }
