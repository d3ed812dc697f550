"""Accounts: who may come in and as what, sessions, lockout, and the log of what happened.

In: names, roles and passwords from the command line; cookies from the browser. Out: a Person, or nobody.

    accounts = Accounts(open_database("radvqa-app.sqlite")); accounts.add("mira", "reviewer", "a long pass phrase")
    token = accounts.sign_in("mira", "a long pass phrase"); accounts.person(token).role
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from radvqa.app.database import EVENTS, SESSIONS, USERS
from radvqa.errors import InputError

ROLES = ("reader", "reviewer", "admin")
"""reader: Inspect and Runs; reviewer: also Review and Rate; admin: also queues, export and People."""
MIN_PASSWORD = 12
MAX_PASSWORD = 1024
"""Characters; a longer one would only cost the server time."""
MAX_FAILURES, LOCKED_S = 5, 900.0
"""After so many wrong passwords in a row an account is closed for so many seconds."""
IDLE_S, LIFE_S = 8 * 3600.0, 7 * 86400.0
"""A session ends after so many seconds without a request, and after so many in any case."""
SEEN_EVERY_S = 300.0
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Person:
    """Who is asking."""

    name: str
    role: str

    def may(self, role: str) -> bool:
        """Whether this person's role includes another."""
        return ROLES.index(self.role) >= ROLES.index(role)


LOCAL = Person("local", "admin")
"""Whoever sits at the machine, as long as there are no accounts."""


class Accounts:
    """The tables of people; its methods may be called from any thread."""

    def __init__(self, engine: sa.Engine, *, now: Callable[[], float] = time.time) -> None:
        self.engine, self._now = engine, now
        self._hasher = PasswordHasher()  # argon2id with the parameters of RFC 9106's low-memory profile
        self._none: tuple[float, bool] = (-1.0, True)
        self._door = threading.Lock()  # one at a time: guesses sent at once are still counted, and memory is bounded

    # ---- accounts

    def add(self, name: str, role: str, password: str) -> None:
        """Make an account. Raises InputError for a name that is taken or malformed, a role or password that will not do."""
        if not NAME.fullmatch(name) or name == LOCAL.name:
            raise InputError(f"found {name!r}", key="name", fix="use up to 64 of a-z, 0-9, '.', '_', '-'")
        row = {"name": name, "role": _role(role), "password": self._hash(password), "active": True}
        try:
            with self.engine.begin() as connection:
                connection.execute(USERS.insert().values(**row, failures=0, locked_until=0.0, made=self._now()))
        except sa.exc.IntegrityError:
            raise InputError(f"there is an account {name!r} already", key="name") from None
        self._none = (-1.0, True)
        self.log(name, "account made", role)

    def change(
        self, name: str, *, role: str | None = None, password: str | None = None, active: bool | None = None
    ) -> None:
        """Change an account; its sessions end. Raises InputError for a name that is none."""
        changes: dict[str, Any] = {} if role is None else {"role": _role(role)}
        changes |= {} if password is None else {"password": self._hash(password), "failures": 0, "locked_until": 0.0}
        changes |= {} if active is None else {"active": active}
        with self.engine.begin() as connection:
            if connection.execute(USERS.update().where(USERS.c.name == name).values(**changes)).rowcount != 1:
                raise InputError(f"there is no account {name!r}", key="name", fix="`radvqa account list` shows them")
            connection.execute(SESSIONS.delete().where(SESSIONS.c.user == name))
        said = ["password" if key == "password" else f"{key} {changes[key]}" for key in changes if key in USERS_SAID]
        self.log(name, "account changed", ", ".join(said))

    def all(self) -> Sequence[Any]:
        """Every account, by name: name, role, active, failures, locked_until, made."""
        columns = [c for c in USERS.c if c.name != "password"]
        with self.engine.connect() as connection:
            return connection.execute(sa.select(*columns).order_by(USERS.c.name)).all()

    @property
    def none(self) -> bool:
        """Whether there are no accounts at all (looked up at most once a second)."""
        at, found = self._none
        if found and self._now() - at > 1.0:
            with self.engine.connect() as connection:
                found = connection.execute(sa.select(USERS.c.name).limit(1)).first() is None
            self._none = (self._now(), found)
        return found

    # ---- sessions

    def sign_in(self, name: str, password: str) -> str | None:
        """A new session's token, or None: wrong, closed, or locked after MAX_FAILURES, all after the same work."""
        with self._door:
            return self._sign_in(name, password, self._now())

    def _sign_in(self, name: str, password: str, now: float) -> str | None:
        with self.engine.connect() as connection:
            row = connection.execute(sa.select(USERS).where(USERS.c.name == name)).first()
        known = row.password if row is not None else _dummy(self._hasher)
        right = self._verify(known, password[:MAX_PASSWORD])
        if row is None:
            self.log("", "sign-in refused", "no such account")
            return None
        if row.locked_until > now or not row.active:
            self.log(name, "sign-in refused", "locked" if row.active else "closed")
            return None
        if not right:
            self._count_failure(name, now)
            return None
        token = secrets.token_urlsafe(32)
        with self.engine.begin() as connection:
            connection.execute(USERS.update().where(USERS.c.name == name).values(failures=0, locked_until=0.0))
            connection.execute(SESSIONS.delete().where(SESSIONS.c.seen < now - IDLE_S))
            connection.execute(SESSIONS.insert().values(hash=_digest(token), user=name, made=now, seen=now))
        self.log(name, "signed in")
        return token

    def person(self, token: str) -> Person | None:
        """Whose session a token is, or None."""
        now, mark = self._now(), _digest(token)
        asked = sa.select(USERS.c.name, USERS.c.role, SESSIONS.c.seen).join_from(SESSIONS, USERS)
        asked = asked.where(SESSIONS.c.hash == mark, USERS.c.active, SESSIONS.c.made > now - LIFE_S)
        with self.engine.connect() as connection:
            row = connection.execute(asked.where(SESSIONS.c.seen > now - IDLE_S)).first()
        if row is None:
            return None
        if row.seen < now - SEEN_EVERY_S:
            with self.engine.begin() as connection:
                connection.execute(SESSIONS.update().where(SESSIONS.c.hash == mark).values(seen=now))
        return Person(row.name, row.role)

    def sign_out(self, token: str) -> None:
        """End a session."""
        with self.engine.begin() as connection:
            connection.execute(SESSIONS.delete().where(SESSIONS.c.hash == _digest(token)))

    # ---- what happened

    def log(self, who: str, what: str, about: str = "") -> None:
        """Write one event down."""
        with self.engine.begin() as connection:
            connection.execute(EVENTS.insert().values(at=self._now(), who=who, what=what, about=about))

    def events(self, number: int = 200) -> Sequence[Any]:
        """The newest events first."""
        with self.engine.connect() as connection:
            return connection.execute(sa.select(EVENTS).order_by(EVENTS.c.id.desc()).limit(number)).all()

    # ---- passwords

    def _count_failure(self, name: str, now: float) -> None:
        locks = USERS.c.failures + 1 >= MAX_FAILURES
        changed = {
            "failures": sa.case((locks, 0), else_=USERS.c.failures + 1),
            "locked_until": sa.case((locks, now + LOCKED_S), else_=USERS.c.locked_until),
        }
        with self.engine.begin() as connection:
            connection.execute(USERS.update().where(USERS.c.name == name).values(**changed))
        self.log(name, "sign-in refused", "wrong password")

    def _hash(self, password: str) -> str:
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            fix = f"use {MIN_PASSWORD} to {MAX_PASSWORD} characters"
            raise InputError(f"has {len(password)} characters", key="password", fix=fix)
        return self._hasher.hash(password)

    def _verify(self, known: str, password: str) -> bool:
        try:
            return self._hasher.verify(known, password)
        except (VerifyMismatchError, InvalidHashError):
            return False


USERS_SAID = ("role", "password", "active")
"""The changes of an account that are written down."""


def _role(role: str) -> str:
    if role not in ROLES:
        raise InputError(f"found {role!r}", key="role", fix="use " + ", ".join(ROLES))
    return role


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@cache
def _dummy(hasher: PasswordHasher) -> str:
    """What a password is compared with where there is no account, so that both take the same time."""
    return hasher.hash(secrets.token_urlsafe(16))
