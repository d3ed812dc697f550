"""Ask: a new question about a picture that somebody brings, answered and explained by the model the app was started with.

In: PNG, JPEG (or what else radvqa reads) or DICOM, and a question. Out: an answer with maps that only who asked can open.
The picture, the question and the maps lie in a folder that is removed when the app ends; no file name and no tag of a
DICOM file is kept.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, HTTPException, Request, UploadFile
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from PIL import Image

from radvqa.app.door import Reader, checked_token
from radvqa.app.pages import page
from radvqa.app.settings import Settings
from radvqa.errors import InputError
from radvqa.picture import read_picture

router = APIRouter(tags=["ask"])
MAX_QUESTION = 500
MAX_SIDE = 2048
"""A larger picture is kept at this size: no model of ours sees more."""
KEPT = 100
"""Answers kept; the oldest go first."""
WINDOWS = ("", "lung", "bone", "brain", "soft tissue")


@dataclass(frozen=True)
class Asked:
    """One answer."""

    owner: str
    folder: Path
    item: dict[str, Any]


class Asker:
    """The model, loaded when it is first asked; one question at a time."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._model: Any = None
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="radvqa-asked-")
        self._asked: dict[int, Asked] = {}
        self._number = 0

    def close(self) -> None:
        """Remove everything that was asked."""
        self._folder.cleanup()

    def found(self, number: int, owner: str) -> Asked | None:
        """An answer, if it is this person's."""
        asked = self._asked.get(number)
        return asked if asked is not None and asked.owner == owner else None

    def of(self, owner: str) -> Iterator[tuple[int, Asked]]:
        """This person's answers, the newest first."""
        return ((n, asked) for n, asked in sorted(self._asked.items(), reverse=True) if asked.owner == owner)

    def ask(self, owner: str, picture: Image.Image, question: str) -> int:
        """Answer and explain; the answer's number. Raises InputError where the model or a method refuses."""
        with self._lock:
            from radvqa.model import load
            from radvqa.saliency import method_named
            from radvqa.saliency.turn import prepare

            if self._model is None:
                self._model = load(self.settings.model or "", self.settings.adapter)
            answer = self._model.answer(picture, question)
            turn = prepare(self._model, picture, question, answer.text)
            self._number += 1
            folder = Path(self._folder.name) / str(self._number)
            folder.mkdir()
            picture.save(folder / "picture.png")
            maps = {}
            for name in self.settings.methods:
                method_named(name)(turn).save(folder / f"{name}.npz", Image.new("L", (1, 1)))
                maps[name] = {"npz": f"{name}.npz"}
            item = {"question": question, "answer": answer.text, "probability": answer.probability, "maps": maps}
            arm = self.settings.adapter.parent.name if self.settings.adapter else self.settings.model
            self._asked[self._number] = Asked(owner, folder, item | {"arm": arm})
            for old in sorted(self._asked)[:-KEPT]:
                del self._asked[old]
            return self._number


@router.get("/ask", response_class=HTMLResponse)
def form(request: Request, person: Reader) -> Response:
    """The form."""
    return page(request, "ask.html", windows=WINDOWS, settings=request.app.state.settings)


@router.post("/ask", response_class=HTMLResponse)
def ask(
    request: Request,
    person: Reader,
    csrf: Annotated[str, Form(max_length=256)],
    question: Annotated[str, Form(max_length=MAX_QUESTION)],
    picture: Annotated[UploadFile, File()],
    window: Annotated[str, Form(max_length=20)] = "",
) -> Response:
    """Read the picture, ask, and show the answer."""
    checked_token(request, csrf)
    if window not in WINDOWS:
        raise InputError(f"found {window!r}", key="window", fix="use " + ", ".join(WINDOWS[1:]))
    if not question.strip():
        raise InputError("is empty", key="question", fix="ask something")
    number = request.app.state.asker.ask(person.name, read_upload(picture.file.read(), window), question.strip())
    return RedirectResponse(f"/inspect/asked/{number}", 303)


@router.get("/asked/{number}/picture", response_class=FileResponse)
def asked_picture(request: Request, number: int, person: Reader) -> Response:
    """The picture that was brought, for whoever brought it."""
    found = request.app.state.asker.found(number, person.name)
    if found is None:
        raise HTTPException(404, "no such picture")
    return FileResponse(found.folder / "picture.png", media_type="image/png")


def read_upload(data: bytes, window: str = "") -> Image.Image:
    """RGB of at most MAX_SIDE px from the bytes of a DICOM or picture file. Raises InputError for anything else."""
    if data[128:132] == b"DICM":
        from radvqa.dicom import read_dicom

        with tempfile.TemporaryDirectory(prefix="radvqa-upload-") as folder:
            path = Path(folder) / "upload.dcm"
            path.write_bytes(data)
            picture = read_dicom(path, window=window or None)[0].convert("RGB")  # type: ignore[arg-type]
    else:
        picture = read_picture(data)[0]
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    return picture
