"""The app: routes, middleware, error pages; and the process that serves them.

In: Settings. Out: an ASGI app; `serve` runs it until it is stopped.

    serve(Settings(runs=(Path("runs/demo"),)))
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteHTTPException

from radvqa.app import ask, inspect, people, pictures, rate, review, runs
from radvqa.app.accounts import Accounts
from radvqa.app.database import database_url, open_database
from radvqa.app.door import Reader, SignInFirst
from radvqa.app.guard import Guard
from radvqa.app.library import Library
from radvqa.app.pages import page
from radvqa.app.ratings import Ratings
from radvqa.app.settings import Settings
from radvqa.errors import InputError
from radvqa.review import ReviewStore

log = logging.getLogger("radvqa.app")
SAID = {
    400: "That did not make sense",
    401: "Please sign in",
    403: "Not for you",
    404: "Nothing here",
    405: "Not that way",
    409: "Somebody was faster",
    413: "Too large",
    422: "Something is missing or wrong",
    500: "That went wrong, and it is our fault",
}


def create_app(settings: Settings) -> FastAPI:
    """The app with its library read and its database open. Raises InputError for what cannot be served."""
    app = FastAPI(
        title="radvqa", docs_url=None, redoc_url=None, openapi_url=None, lifespan=_closing, redirect_slashes=False
    )
    engine = open_database(settings.database)
    app.state.settings = settings
    app.state.library = Library(settings)
    app.state.accounts = Accounts(engine)
    app.state.reviews = ReviewStore(database_url(settings.database))
    app.state.ratings = Ratings(engine)
    app.state.asker = ask.Asker(settings) if settings.model else None
    if settings.public and app.state.accounts.none:
        found = f"others can reach {settings.host}, and there are no accounts"
        raise InputError(found, key="--host", fix="make one first: radvqa account add NAME --role admin")
    for room in (people, review, rate, inspect, pictures, runs, *([ask] if settings.model else [])):
        app.include_router(room.router)
    app.mount("/static", _Static(directory=Path(__file__).parent / "static"), name="static")
    app.get("/", include_in_schema=False)(_home)
    app.get("/openapi.json", include_in_schema=False)(_schema)
    app.add_middleware(Guard, hosts=settings.hosts, failed=_explained, https=settings.https)
    app.add_exception_handler(SignInFirst, _sign_in_first)
    for kind in (StarletteHTTPException, RequestValidationError, InputError):
        app.add_exception_handler(kind, _explained)
    return app


def serve(settings: Settings, ready: Callable[[str], None] = lambda address: None) -> None:
    """Run until stopped; `ready` is told the address once the app is whole."""
    import uvicorn

    app = create_app(settings)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    ready(f"http://{host}:{settings.port}/")
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,  # addresses and what was searched for stay out of the logs
        log_level="warning",
        server_header=False,
        timeout_keep_alive=75,
    )


@asynccontextmanager
async def _closing(app: FastAPI) -> Any:
    yield
    app.state.reviews.close()
    app.state.accounts.engine.dispose()
    if app.state.asker is not None:
        app.state.asker.close()


class _Static(StaticFiles):
    """Styles and scripts: kept by the browser, asked about every time (they have no version in their names)."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


def _home(request: Request, person: Reader) -> Response:
    """The first room this person can do something in."""
    library = request.app.state.library
    has_maps = any(run.items for run in library.runs.values())
    first = "/review" if library.corpora and person.may("reviewer") else "/inspect" if has_maps else "/runs"
    return RedirectResponse(first, 303)


def _schema(request: Request, person: Reader) -> dict[str, Any]:
    return request.app.openapi()


async def _sign_in_first(request: Request, error: Exception) -> Response:
    if _wants_json(request):
        return JSONResponse({"detail": "sign in first"}, 401)
    return RedirectResponse("/sign-in", 303)


async def _explained(request: Request, error: Exception) -> Response:
    """Every refusal and failure as a page or as JSON, whichever was asked for, and without a traceback."""
    status, said = 500, "It was written down; nothing you did before is lost."
    if isinstance(error, HTTPException | StarletteHTTPException):
        status, said = error.status_code, str(error.detail)
    elif isinstance(error, RequestValidationError):
        status, said = 422, "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors()[:5])
    elif isinstance(error, InputError):
        status, said = 400, str(InputError(error.found, key=error.key, fix=error.fix))  # no file names, no row ids
    else:
        _write_down(request, error)
    if _wants_json(request):
        return JSONResponse({"detail": said}, status)
    return page(request, "error.html", status, status=status, title=SAID.get(status, "That did not work"), said=said)


def _write_down(request: Request, error: Exception) -> None:
    """The kind of failure and where in the code: never its message, which may quote a question or a name."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    route = getattr(request.scope.get("route"), "path", "?")
    log.error("%s %s: %s in %s:%s", request.method, route, type(error).__name__, Path(last.filename).name, last.lineno)


def _wants_json(request: Request) -> bool:
    return "text/html" not in request.headers.get("accept", "")
