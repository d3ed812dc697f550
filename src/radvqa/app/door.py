"""Who is asking: the cookie, the role a page wants, and the token that every form must bring back.

In: a request. Out: the Person, or a refusal. Routes say what they want: `person: Annotated[Person, Depends(reviewer)]`.

    @router.get("/review")
    def page(request: Request, person: Reviewer): ...
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Header, HTTPException, Request, Response

from radvqa.app.accounts import LOCAL, Person

COOKIE = "radvqa"
CSRF_HEADER = "X-CSRF-Token"


class SignInFirst(Exception):
    """A page was asked for without a session."""


def token_of(request: Request) -> str | None:
    """The cookie, if it looks like one of ours."""
    token = request.cookies.get(COOKIE, "")
    return token if 32 <= len(token) <= 64 and token.isascii() else None


def csrf_of(token: str) -> str:
    """What a form must bring back: known to our pages, unknown to others', who cannot read the cookie."""
    return hashlib.sha256(b"csrf:" + token.encode()).hexdigest()


def fresh_token() -> str:
    """A cookie for a browser that is not signed in; it opens nothing, its CSRF token guards the sign-in form."""
    return secrets.token_urlsafe(32)


def set_cookie(response: Response, request: Request, token: str) -> None:
    """HttpOnly, SameSite=Strict, and over HTTPS Secure; gone with the browser."""
    https = request.app.state.settings.https
    response.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=https, path="/")


def who(request: Request) -> Person | None:
    """The Person behind the cookie; without accounts whoever sits at the machine; else None."""
    accounts = request.app.state.accounts
    if accounts.none:
        return LOCAL
    token = token_of(request)
    return accounts.person(token) if token else None


def wants(role: str) -> Callable[[Request], Person]:
    """A dependency: the Person, who must have a role. 303 to the sign-in page, or 401, or 403."""

    def person(request: Request) -> Person:
        found = who(request)
        if found is None:
            raise SignInFirst
        if not found.may(role):
            raise HTTPException(403, f"this needs the role {role}")
        request.state.person = found
        return found

    return person


Reader = Annotated[Person, Depends(wants("reader"))]
Reviewer = Annotated[Person, Depends(wants("reviewer"))]
Admin = Annotated[Person, Depends(wants("admin"))]


def checked_token(request: Request, sent: str | None) -> None:
    """Raise 403 unless what was sent is the CSRF token of the cookie."""
    token = token_of(request)
    if token is None or not hmac.compare_digest((sent or "").encode(), csrf_of(token).encode()):
        raise HTTPException(403, "this form is out of date: load the page again")


def guarded(request: Request, x_csrf_token: Annotated[str | None, Header()] = None) -> None:
    """A dependency of every route that a script of ours calls to change something."""
    checked_token(request, x_csrf_token)


Guarded = Depends(guarded)
