"""Explanation: what one method says about one answer, and its files.

In: a map float32[gh, gw] for every answer token. Out: the map of a word, of the whole answer, at the picture's size;
`<name>.npz` (arrays), `<name>.png` (figure) and `<name>.json` (everything else, readable), no pickle anywhere.

    explanation = model.explain(picture, "Is there a mass?")
    explanation.word(0)                           # float32[gh, gw]
    explanation.save("why.png")
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from radvqa.errors import InputError
from radvqa.saliency.turn import Target, Turn, group_words


@dataclass(frozen=True, eq=False)
class Explanation:
    """Maps of T answer tokens over a grid of image tokens; a large value means: matters for this token."""

    method: str
    values: np.ndarray
    """float32[T, gh, gw], the end token last."""
    tokens: tuple[str, ...]
    """T pieces of text; joined they are the answer."""
    chosen: tuple[int, ...]
    """The tokens whose mean is `overall`."""
    scale: str
    """What a value is, in words."""
    signed: bool
    """True: positive speaks for the answer, negative against it. False: nothing is below 0."""
    question: str
    answer: str
    prompt_tokens: tuple[str, ...] = ()
    prompt_values: np.ndarray | None = None
    """float32[T, Q], the same for the prompt's tokens, where the method gives it."""
    spans: Mapping[str, list[int]] = field(default_factory=dict)
    """Columns of image, prompt and answer in the model's sequence."""
    target: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, np.ndarray] = field(default_factory=dict)
    """More arrays that a method gives, such as every layer and head."""
    logprobs: tuple[float, ...] = ()
    """Log-probability of each answer token, where the method computed it."""
    picture: Image.Image | None = None
    truth: np.ndarray | None = None
    """bool[height, width] of the picture: what the answer truly rests on, where it is known."""

    def __post_init__(self) -> None:
        assert self.values.ndim == 3 and len(self.values) == len(self.tokens), "one map for each answer token"
        assert np.isfinite(self.values).all(), f"{self.method}: a map that is not finite"
        assert self.signed or float(self.values.min(initial=0.0)) >= 0.0, f"{self.method}: negative, but not signed"

    @property
    def grid(self) -> tuple[int, int]:
        return self.values.shape[1], self.values.shape[2]

    @property
    def words(self) -> tuple[tuple[str, int, int], ...]:
        """(word, first token, one past its last); a repeated word is there each time, the end token is left out."""
        ends = len(self.tokens) - 1 if len(self.tokens) > 1 else 1
        return group_words(self.tokens[:ends])

    @property
    def overall(self) -> np.ndarray:
        """float32[gh, gw], the mean over the chosen tokens."""
        return self.values[list(self.chosen)].mean(0)

    def word(self, index: int) -> np.ndarray:
        """float32[gh, gw], the mean over the tokens of one word of the answer, by its place."""
        _, start, stop = self.words[index]
        return self.values[start:stop].mean(0)

    def at(self, size: tuple[int, int], word: int | None = None) -> np.ndarray:
        """float32[height, width]: the map at a picture's (width, height), bilinear between the centres of the patches."""
        grid = self.overall if word is None else self.word(word)
        return np.asarray(Image.fromarray(grid.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))

    def overlay(self, picture: Image.Image | None = None, word: int | None = None) -> Image.Image:
        """The map over the picture, with the true outline if it is known, sign and scale written below."""
        from radvqa.saliency.overlay import overlay

        return overlay(self, self._picture(picture), word)

    def figure(self, picture: Image.Image | None = None) -> Image.Image:
        """Picture, map of the whole answer and of each word, with question and answer: a page of its own."""
        from radvqa.saliency.overlay import figure

        return figure(self, self._picture(picture))

    def _picture(self, picture: Image.Image | None) -> Image.Image:
        found = picture if picture is not None else self.picture
        if found is None:
            raise InputError("this explanation was loaded without its picture", key="picture", fix="give the picture")
        return found.convert("RGB")

    # ------------------------------------------------------------ files

    def save(self, path: str | Path, page: Image.Image | None = None) -> Path:
        """Write `<path without ending>` .npz, .json and .png. Returns the path given.

        page: what the .png shows; None: `figure()`, if the picture is at hand.
        """
        base = Path(path)
        base = base.with_suffix("") if base.suffix in (".png", ".npz", ".json") else base
        page = self.figure() if page is None and self.picture is not None else page
        base.parent.mkdir(parents=True, exist_ok=True)
        arrays = {"values": self.values.astype(np.float32), **{f"details/{k}": v for k, v in self.details.items()}}
        if self.prompt_values is not None:
            arrays["prompt_values"] = self.prompt_values.astype(np.float32)
        if self.truth is not None:
            arrays["truth"] = self.truth.astype(bool)
        record = {name: getattr(self, name) for name in RECORD} | {"grid": self.grid, "words": self.words}
        _replace(base, ".npz", lambda partial: _write_npz(partial, arrays))
        text = json.dumps(record, indent=2, ensure_ascii=False)
        _replace(base, ".json", lambda partial: partial.write_text(text + "\n"))
        if page is not None:
            _replace(base, ".png", lambda partial: page.save(partial, "PNG"))
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, picture: Image.Image | None = None) -> Explanation:
        """What `save` wrote. The picture is not part of the arrays and has to be given again to draw it."""
        base = Path(path).with_suffix("") if Path(path).suffix in (".png", ".npz", ".json") else Path(path)
        record = json.loads(_beside(base, ".json").read_text())
        fields = {name: tuple(v) if isinstance(v := record[name], list) else v for name in RECORD}
        with np.load(_beside(base, ".npz"), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        details = {name.removeprefix("details/"): v for name, v in arrays.items() if name.startswith("details/")}
        own = {name: arrays.get(name) for name in ("values", "prompt_values", "truth")}
        return cls(**fields, **own, details=details, picture=picture)  # type: ignore[arg-type]


RECORD = (
    "method scale signed question answer tokens chosen prompt_tokens spans target logprobs".split()  # noqa: SIM905
)
"""What goes to JSON; the rest are arrays."""


def explanation(
    turn: Turn, target: Target, method: str, values: np.ndarray, *, scale: str, signed: bool = False, **more: Any
) -> Explanation:
    """The Explanation of a turn from maps float[T, N] over its image tokens; a contrast is about one token alone."""
    chosen = turn.chosen(target)
    if target.against is not None:
        chosen = tuple(turn.contrast(target.against)[0].tolist())
    return Explanation(
        method=method,
        values=np.ascontiguousarray(values, dtype=np.float32).reshape(-1, *turn.grid),
        tokens=turn.tokens,
        chosen=chosen,
        scale=scale,
        signed=signed,
        question=turn.question,
        answer=turn.answer,
        prompt_tokens=turn.prompt_tokens,
        spans=turn.spans(),
        target={"tokens": target.tokens, "against": target.against, "quantity": target.quantity},
        picture=turn.picture,
        **more,
    )


def _beside(base: Path, ending: str) -> Path:
    return base.with_name(base.name + ending)


def _replace(base: Path, ending: str, write: Any) -> None:
    partial = _beside(base, ending + ".partial")
    write(partial)
    partial.replace(_beside(base, ending))


def _write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with path.open("wb") as file:  # a file object: given a name, numpy would add its own ending
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
