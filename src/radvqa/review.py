"""Verdicts of people on question-answer pairs, in one database for the terminal, the web app and the statistics.

In: a corpus and what reviewers say of its questions. Out: rows in SQLite (a file, the default) or PostgreSQL (a URL).
What is drawn for review, what follows from verdicts and how the rest stands: curate/review.py.

    store = ReviewStore("reviews.sqlite")  # or "postgresql+psycopg://user@host/reviews"
    key = corpus_key(corpus)
    store.enqueue(key, draw(corpus.table, 200, how="random", seed=0), wanted=2)
    sample = store.next(key, "ada")
    store.save(Verdict(id=str(uuid4()), corpus=key, sample=sample, reviewer="ada", verdict="accept"))

Several processes and machines may write at once: every write is one statement, a verdict is stored once however often it
is sent (its id comes from whoever made it), and a question is handed to as many reviewers as are wanted, no more.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

from radvqa.errors import InputError
from radvqa.sample import Corpus

VERDICTS = ("accept", "edit", "reject")
HOW = ("random", "stratified", "uncertain", "chosen")
"""How a question came to be reviewed; only random and stratified draws say something about the rest."""
REASONS = (
    "wrong answer",
    "the image does not show it",
    "answerable without the image",
    "unclear question",
    "bad language",
    "duplicate",
    "other",
)
"""Why a pair is rejected."""
LEASE_S = 600
"""Seconds for which a question handed out is kept for its reviewer."""
DONE = "done"
"""Stands in `until` of a place whose holder has judged; greater than every time, so it never runs out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one reviewer says of one question; saying it again with a new id replaces the earlier one."""

    id: str
    """Made by whoever sends it (a UUID); the same id is stored once."""
    corpus: str
    """`corpus_key` of the corpus: what exactly was reviewed."""
    sample: str
    """Sample.id."""
    reviewer: str
    verdict: str
    """accept, edit or reject."""
    reason: str | None = None
    """Why it is rejected, one of REASONS."""
    question: str | None = None
    """The question as edited, where it was."""
    answer: str | None = None
    """The answer as edited, where it was."""
    comment: str | None = None
    seconds: float | None = None
    """Time the reviewer took."""
    at: str = ""
    """UTC, ISO 8601; the store fills it in."""

    def __post_init__(self) -> None:
        for name in ("id", "corpus", "sample", "reviewer"):
            if not str(getattr(self, name)).strip():
                raise InputError("is empty", row=self.sample, key=name)
        if self.verdict not in VERDICTS:
            raise InputError(
                f"found {self.verdict!r}", row=self.sample, key="verdict", fix=f"use {', '.join(VERDICTS)}"
            )
        if self.verdict == "reject" and self.reason not in REASONS:
            raise InputError(f"found {self.reason!r}", row=self.sample, key="reason", fix=f"use {', '.join(REASONS)}")
        if self.verdict == "edit" and not any((text or "").strip() for text in (self.question, self.answer)):
            raise InputError("an edit changes nothing", row=self.sample, key="verdict", fix="give a question or answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One question put before reviewers."""

    sample: str
    how: str
    """One of HOW."""
    stratum: str = ""
    """`column=value` of the group it was drawn from, where the draw was stratified."""


def corpus_key(corpus: Corpus) -> str:
    """The corpus's name and the first digits of the SHA-256 of its questions: another content, another key."""
    with (corpus.folder / "questions.parquet").open("rb") as file:
        return f"{corpus.card.get('name', corpus.folder.name)}-{hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"


# ---------------------------------------------------------------- the database

_META = sa.MetaData()
_VERDICTS = sa.Table(
    "verdicts",
    _META,
    sa.Column("id", sa.String(64), primary_key=True),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("corpus", "sample", "reviewer", "verdict")),
    *(sa.Column(name, sa.Text) for name in ("reason", "question", "answer", "comment")),
    sa.Column("seconds", sa.Float),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Index("verdicts_of", "corpus", "sample", "reviewer"),
    sa.Index("verdicts_by", "corpus", "reviewer", "at"),
)
_SLOTS = sa.Table(
    "slots",
    _META,
    sa.Column("corpus", sa.Text, primary_key=True),
    sa.Column("sample", sa.Text, primary_key=True),
    sa.Column("slot", sa.Integer, primary_key=True),
    sa.Column("place", sa.Integer, nullable=False),
    sa.Column("how", sa.String(16), nullable=False),
    sa.Column("stratum", sa.Text, nullable=False),
    sa.Column("holder", sa.Text),
    sa.Column("until", sa.String(32)),
    sa.Index("slots_in_order", "corpus", "holder", "place", "slot"),
    sa.Index("slots_until", "corpus", "until"),
)


class ReviewStore:
    """Verdicts and the queue of what is to be reviewed. Open one a process; its methods may be called from any thread."""

    def __init__(self, where: str | Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """where: a file for SQLite, or a database URL as SQLAlchemy has it. Raises InputError where there is none."""
        self.where, self._now = str(where), now
        self._turn: AbstractContextManager[Any] = nullcontext()
        """SQLite has one writer at a time: threads that wait for each other here do not poll its lock."""
        url = self.where if "://" in self.where else f"sqlite:///{Path(self.where).resolve()}"
        shown = sa.make_url(url).render_as_string(hide_password=True) if "://" in self.where else self.where
        try:
            self._engine = sa.create_engine(
                url, isolation_level="AUTOCOMMIT", pool_size=20, max_overflow=30
            )  # every write is one statement
            if self._engine.dialect.name == "sqlite":
                sa.event.listen(self._engine, "connect", _set_up_sqlite)
                self._turn = threading.Lock()
            _META.create_all(self._engine)
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
            fix = "give a file, or a URL such as postgresql+psycopg://user@host/name"
            raise InputError(f"no database can be opened here ({type(error).__name__})", file=shown, fix=fix) from error
        except OperationalError as error:
            found = str(error.orig).strip().splitlines()[0]
            raise InputError(f"the database cannot be opened: {found}", file=shown) from error

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()

    # ---- verdicts

    def save(self, verdict: Verdict) -> bool:
        """Store a verdict; False if it is there already. Raises InputError if its id stands for another verdict."""
        stamped = replace(verdict, at=verdict.at or self._now().isoformat())
        self._claim(verdict.corpus, verdict.reviewer, verdict.sample)
        with self._engine.connect() as connection:
            written = self._insert(_VERDICTS, [asdict(stamped)]).returning(_VERDICTS.c.id)
            held = [_SLOTS.c.corpus == verdict.corpus, _SLOTS.c.sample == verdict.sample]
            held += [_SLOTS.c.holder == verdict.reviewer, _SLOTS.c.until != DONE]
            with self._turn:
                new = connection.execute(written).first() is not None
                connection.execute(sa.update(_SLOTS).where(*held).values(until=DONE))
            if new:
                return True
            row = connection.execute(sa.select(_VERDICTS).where(_VERDICTS.c.id == verdict.id)).mappings().one()
        if replace(Verdict(**row), at=verdict.at) != verdict:
            raise InputError("another verdict has this id", row=verdict.id, key="id", fix="make a new UUID")
        return False

    def verdicts(self, corpus: str, *, reviewer: str | None = None, every: bool = False) -> list[Verdict]:
        """What was said, oldest first: of each reviewer and question the last word, or with `every` all of it."""
        asked = sa.select(_VERDICTS).where(_VERDICTS.c.corpus == corpus).order_by(_VERDICTS.c.at, _VERDICTS.c.id)
        if reviewer is not None:
            asked = asked.where(_VERDICTS.c.reviewer == reviewer)
        with self._engine.connect() as connection:
            found = [Verdict(**row) for row in connection.execute(asked).mappings()]
        return found if every else list({(v.sample, v.reviewer): v for v in found}.values())

    # ---- what is to be reviewed

    def enqueue(self, corpus: str, drawn: Iterable[Drawn], *, wanted: int = 1) -> int:
        """Put questions at the end of the queue, each for `wanted` reviewers; the number of those that are new to it."""
        with self._engine.connect() as connection:
            last = connection.scalar(sa.select(sa.func.max(_SLOTS.c.place)).where(_SLOTS.c.corpus == corpus))
            before = connection.scalar(self._number(corpus))
            rows = [
                {"corpus": corpus, "place": place, "slot": slot, **asdict(each)}
                for place, each in enumerate(drawn, 0 if last is None else last + 1)
                for slot in range(wanted)
            ]
            for at in range(0, len(rows), 1000):
                connection.execute(self._insert(_SLOTS, rows[at : at + 1000]))
            return int(connection.scalar(self._number(corpus)) or 0) - int(before or 0)

    def next(self, corpus: str, reviewer: str) -> str | None:
        """The next question for a reviewer, kept for them for ten minutes; None: nothing is left for them.

        Asked again without a verdict in between, it is the same question.
        """
        return self._claim(corpus, reviewer)

    def drawn(self, corpus: str) -> list[Drawn]:
        """What was put into the queue, in its order."""
        asked = sa.select(_SLOTS.c.sample, _SLOTS.c.how, _SLOTS.c.stratum).where(
            _SLOTS.c.corpus == corpus, _SLOTS.c.slot == 0
        )
        with self._engine.connect() as connection:
            return [Drawn(**row) for row in connection.execute(asked.order_by(_SLOTS.c.place)).mappings()]

    def progress(self, corpus: str) -> dict[str, int]:
        """Questions in the queue, reviews wanted of them, and reviews given, of these and of other questions."""
        slots, said = _SLOTS.c, _VERDICTS.c
        pairs = sa.select(said.sample, said.reviewer).where(said.corpus == corpus).distinct().subquery()
        numbers = {
            "questions": self._number(corpus),
            "wanted": sa.select(sa.func.count()).select_from(_SLOTS).where(slots.corpus == corpus),
            "given": sa.select(sa.func.count()).select_from(pairs),
        }
        with self._engine.connect() as connection:
            return {name: int(connection.scalar(asked) or 0) for name, asked in numbers.items()}

    def recent(self, corpus: str, reviewer: str, number: int) -> list[str]:
        """The questions a reviewer judged last, oldest first."""
        asked = sa.select(_VERDICTS.c.sample).where(_VERDICTS.c.corpus == corpus, _VERDICTS.c.reviewer == reviewer)
        with self._engine.connect() as connection:
            found = connection.execute(asked.order_by(_VERDICTS.c.at.desc(), _VERDICTS.c.id.desc()).limit(number))
            return list(found.scalars())[::-1]

    def last(self, corpus: str, reviewer: str, sample: str) -> Verdict | None:
        """What a reviewer last said of a question."""
        said = _VERDICTS.c
        asked = sa.select(_VERDICTS).where(said.corpus == corpus, said.sample == sample, said.reviewer == reviewer)
        with self._engine.connect() as connection:
            row = connection.execute(asked.order_by(said.at.desc(), said.id.desc()).limit(1)).mappings().first()
        return None if row is None else Verdict(**row)

    def num_judged(self, corpus: str, reviewer: str) -> int:
        """How many questions a reviewer has said something of."""
        asked = sa.select(sa.func.count(sa.distinct(_VERDICTS.c.sample)))
        with self._engine.connect() as connection:
            return int(
                connection.scalar(asked.where(_VERDICTS.c.corpus == corpus, _VERDICTS.c.reviewer == reviewer)) or 0
            )

    def _claim(self, corpus: str, reviewer: str, sample: str | None = None) -> str | None:
        """Take a place in the queue: one statement finds and takes it, and passes over what others take just now."""
        now, until = self._now(), [(self._now() + timedelta(seconds=s)).isoformat() for s in (LEASE_S / 2, LEASE_S)]
        own, *others = self._looks(corpus, reviewer, now.isoformat(), sample)
        with self._engine.connect() as connection:
            held = connection.execute(own).mappings().first()
            if held is not None and held["until"] > until[0]:
                return str(held["sample"])  # theirs for a while yet: nothing to write
            for look in others if held is None else [own, *others]:
                open_ = look.with_for_update(skip_locked=True).cte("open")
                same = [_SLOTS.c[name] == open_.c[name] for name in ("corpus", "sample", "slot")]
                take = sa.update(_SLOTS).where(*same).values(holder=reviewer, until=until[1]).returning(_SLOTS.c.sample)
                with self._turn:
                    taken = connection.execute(take).scalar()
                if taken is not None:
                    return str(taken)
        return None

    def _looks(self, corpus: str, reviewer: str, now: str, sample: str | None) -> list[sa.Select[Any]]:
        """Where a reviewer may find a place, of questions they have not judged: what they hold already, what is free, what
        another holds whose lease ran out. Each look follows an index."""
        place, said, other = _SLOTS.alias("place"), _VERDICTS.alias("said"), _SLOTS.alias("other")
        slots = place.c
        judged = sa.exists().where(said.c.corpus == slots.corpus, said.c.sample == slots.sample)
        mine = sa.exists().where(
            other.c.corpus == slots.corpus, other.c.sample == slots.sample, other.c.holder == reviewer,
            other.c.slot != slots.slot,
        )  # fmt: skip
        asked = sa.select(place).where(slots.corpus == corpus, ~judged.where(said.c.reviewer == reviewer))
        asked = asked if sample is None else asked.where(slots.sample == sample)
        in_order = (slots.place, slots.slot)
        return [
            asked.where(slots.holder == reviewer, slots.until < DONE).order_by(*in_order).limit(1),
            # holder first: there is none, and PostgreSQL then follows the index instead of sorting the queue
            asked.where(slots.holder.is_(None), ~mine).order_by(slots.holder, *in_order).limit(1),
            asked.where(slots.until < now, ~mine, ~judged.where(said.c.reviewer == slots.holder))
            .order_by(*in_order)
            .limit(1),
        ]

    def _number(self, corpus: str) -> sa.Select[Any]:
        return sa.select(sa.func.count(sa.distinct(_SLOTS.c.sample))).where(_SLOTS.c.corpus == corpus)

    def _insert(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> Any:
        dialect: Any = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        return dialect.insert(table).values(list(rows)).on_conflict_do_nothing()


def _set_up_sqlite(connection: Any, _: object) -> None:
    """Readers and one writer at once (WAL), a second writer waits its turn; what was written outlives a power cut."""
    for setting in ("busy_timeout = 30000", "journal_mode = WAL", "synchronous = FULL"):
        connection.execute(f"PRAGMA {setting}")
