"""People: signing in and out, and for the admin who has an account and what happened.

In: a name and a password. Out: a session cookie. Accounts are made on the command line (`radvqa account`).
"""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from radvqa.app.door import (
    COOKIE,
    Admin,
    checked_token,
    fresh_token,
    set_cookie,
    token_of,
    who,
)
from radvqa.app.pages import page

router = APIRouter(tags=["people"])
NUM_EVENTS, NUM_VERDICTS = 300, 300


@router.get("/sign-in", response_class=HTMLResponse)
def sign_in_form(request: Request) -> Response:
    """The form."""
    if who(request) is not None:
        return RedirectResponse("/", 303)
    return page(request, "sign_in.html", failed=False)


@router.post("/sign-in", response_class=HTMLResponse)
def sign_in(
    request: Request,
    name: Annotated[str, Form(max_length=256)],
    password: Annotated[str, Form(max_length=4096)],
    csrf: Annotated[str, Form(max_length=256)],
) -> Response:
    """A new session under a new cookie, whatever cookie came; or the form again, without a reason."""
    checked_token(request, csrf)
    token = request.app.state.accounts.sign_in(name.strip().lower(), password)
    if token is None:
        return page(request, "sign_in.html", 401, failed=True)
    response = RedirectResponse("/", 303)
    set_cookie(response, request, token)
    return response


@router.post("/sign-out")
def sign_out(request: Request, csrf: Annotated[str, Form(max_length=256)]) -> Response:
    """End the session; the browser gets a new, empty cookie."""
    checked_token(request, csrf)
    request.app.state.accounts.sign_out(token_of(request) or "")
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(COOKIE, path="/")
    set_cookie(response, request, fresh_token())
    return response


@router.get("/people", response_class=HTMLResponse)
def people(request: Request, person: Admin) -> Response:
    """Accounts, what happened, and the verdicts as they were given."""
    state = request.app.state
    verdicts = [
        (shelf, verdict)
        for shelf in state.library.corpora.values()
        for verdict in state.reviews.verdicts(shelf.key, every=True)[-NUM_VERDICTS:]
    ]
    verdicts.sort(key=lambda pair: pair[1].at, reverse=True)
    shown = [
        {"verdict": verdict, "corpus": shelf.name, "number": (shelf.place(verdict.sample) or 0) + 1}
        for shelf, verdict in verdicts[:NUM_VERDICTS]
    ]
    return page(
        request,
        "people.html",
        accounts=state.accounts.all(),
        events=state.accounts.events(NUM_EVENTS),
        verdicts=shown,
        now=time.time(),
    )
