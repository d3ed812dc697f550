"""On which terms a mixture, an adapter or a run may be used: those of every data set that it was made from.

In: the cards of corpora. Out: `licences.json`, a list of terms, beside a mixture and inside an adapter's folder, so that
they travel with the weights; and the sentence that a report says of them.

    write_terms(Path("runs/x/stage1/adapter"), terms_of([corpus.card for corpus in corpora]))
    print(restriction(read_terms(Path("runs/x/stage1/adapter"))))
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

FILE = "licences.json"
KEYS = ("name", "title", "licence", "commercial", "citation", "homepage")

Terms = list[dict[str, Any]]
"""A data set an item: what its card says under KEYS."""


def terms_of(cards: Iterable[Mapping[str, Any]], inherited: Iterable[dict[str, Any]] = ()) -> Terms:
    """The terms of the cards after those that are `inherited`, each once."""
    found = list(inherited)
    for card in cards:
        terms = {key: card.get(key) for key in KEYS}
        found += [terms] if terms not in found else []
    return found


def write_terms(folder: Path, terms: Terms) -> None:
    """Store the terms in the folder."""
    (folder / FILE).write_text(json.dumps(terms, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_terms(folder: Path) -> Terms:
    """The terms in a folder; none where it has no such file."""
    file = folder / FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []


def restriction(terms: Terms) -> str | None:
    """What is to be said before anybody uses what was made from data on these terms; None: nothing.

    A data set whose card says nothing of commercial use counts as one that does not allow it.
    """
    closed = [
        f"{one['title'] or one['name']} ({one['licence'] or 'no licence'})" for one in terms if not one["commercial"]
    ]
    if not closed:
        return None
    sets = ", ".join(closed[:-1]) + (" and " if len(closed) > 1 else "") + closed[-1]
    verb = "do" if len(closed) > 1 else "does"
    return f"{sets} {verb} not allow commercial use; nor may an adapter trained on it be used so."
