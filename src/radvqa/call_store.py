"""The replies of a language model on disk: one SQLite file, each reply safe the moment it is put in.

In: a key, the raw reply and what is known of the call. Out: the raw reply under its key.

    store = CallStore("calls.sqlite"); store.put(key, raw, {"model": "llama3.1:8b"}); store.get(key)

The table `calls` (key, model, prompt, parameters, seed, seconds, cost, at, raw) is readable by anything that reads
SQLite. Several processes may share the file.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from radvqa.errors import InputError

WAIT_S = 60.0
"""How long another process may hold the file."""
TABLE = """CREATE TABLE IF NOT EXISTS calls (
    key TEXT PRIMARY KEY, model TEXT, prompt TEXT, parameters TEXT, seed INTEGER, seconds REAL, cost REAL, at TEXT,
    raw TEXT NOT NULL) WITHOUT ROWID"""


class CallStore:
    """A file of replies. Raises InputError where the file is something else."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = sqlite3.connect(self.path, timeout=WAIT_S, isolation_level=None)
        try:
            # WAL with NORMAL: a killed process loses nothing that was put in; a power cut may lose the last replies
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute("PRAGMA synchronous=NORMAL")
            self._file.execute(TABLE)
        except sqlite3.DatabaseError as error:
            self._file.close()
            raise InputError(f"not a file of calls ({error})", file=path, fix="give another name") from error

    def get(self, key: str) -> dict[str, Any] | None:
        """The raw reply under a key, None where there is none."""
        row = self._file.execute("SELECT raw FROM calls WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, key: str, raw: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Keep a reply. The first reply under a key stays."""
        columns = ("model", "prompt", "parameters", "seed", "seconds", "cost")
        values = [json.dumps(v, sort_keys=True) if isinstance(v := about.get(c), dict) else v for c in columns]
        at = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
        row = (key, *values, at, json.dumps(raw))
        self._file.execute("INSERT OR IGNORE INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def __len__(self) -> int:
        return int(self._file.execute("SELECT COUNT(*) FROM calls").fetchone()[0])

    def close(self) -> None:
        """Close the file; what was put in is there."""
        self._file.close()
