"""Pictures over HTTP: whole, small, and the true mask of an answer; kept by the browser, never by a proxy.

In: a shelf's name and the key of a picture (a hash of its pixels, which names nobody). Out: JPEG or PNG.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Request
from fastapi.responses import Response

from radvqa.app.door import Reader

router = APIRouter(tags=["pictures"])
KEEP = {"cache-control": "private, max-age=86400, immutable"}
Key = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


@router.get("/picture/{shelf}/{key}", response_class=Response)
def picture(request: Request, shelf: str, key: Key, person: Reader) -> Response:
    """A picture as it is stored."""
    found = request.app.state.library.shelves.get(shelf)
    stored = found.picture(key) if found is not None else None
    if stored is None:
        raise HTTPException(404, "no such picture")
    data, kind = stored
    return Response(data, media_type=kind, headers=KEEP)


@router.get("/thumb/{shelf}/{key}", response_class=Response)
def thumb(request: Request, shelf: str, key: Key, person: Reader) -> Response:
    """A picture of at most 192 px, JPEG."""
    found = request.app.state.library.shelves.get(shelf)
    small = found.thumb(key) if found is not None else None
    if small is None:
        raise HTTPException(404, "no such picture")
    return Response(small, media_type="image/jpeg", headers=KEEP)
