"""Pages: templates filled in, with what every page needs (who, the form token, the rooms).

In: a template's name and its values. Out: an HTML response.

    return page(request, "runs.html", runs=library.runs)
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from radvqa.app.door import csrf_of, fresh_token, set_cookie, token_of, who
from radvqa.report import words
from radvqa.report.charts import tone

ROOMS = (
    ("Review", "/review", "reviewer"),
    ("Rate", "/rate", "reviewer"),
    ("Inspect", "/inspect", "reader"),
    ("Runs", "/runs", "reader"),
    ("People", "/people", "admin"),
)


def page(request: Request, template: str, code: int = 200, **values: Any) -> HTMLResponse:
    """The page; a browser without a cookie gets one, so that its forms have a token."""
    known = token_of(request)
    token = known or fresh_token()
    person = getattr(request.state, "person", None) or who(request)
    csrf = csrf_of(token)
    shown = {
        "csrf": csrf,
        "token": lambda: Markup('<input type="hidden" name="csrf" value="{}">').format(csrf),
        "person": person,
        "rooms": [room for room in ROOMS if person is not None and person.may(room[2])],
        "here": "/" + request.url.path.split("/")[1],
        "can_sign_out": person is not None and not request.app.state.accounts.none,
        "can_ask": request.app.state.asker is not None,
    }
    response = HTMLResponse(_environment().get_template(template).render(**shown, **values), code)
    if token != known:
        set_cookie(response, request, token)
    return response


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("radvqa.app", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"words": words, "tone": tone}
    environment.filters["moment"] = moment
    return environment


def moment(at: float) -> str:
    """Seconds since 1970 as 2026-11-26 18:05 UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M") + " UTC"
