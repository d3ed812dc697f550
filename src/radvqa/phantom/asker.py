"""Collects the questions of one phantom: fills every Sample with the picture's caption, tags, boxes and masks.

asker = Asker(picture, rng, "train")
asker.closed("finding", "Is there a nodule?", True, about=picture.findings[0])
"""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
from PIL import Image

from radvqa.phantom.captions import describe
from radvqa.phantom.grid import Array
from radvqa.phantom.scene import Finding, Phantom
from radvqa.phantom.tissue import ID
from radvqa.sample import Box, Sample


class Asker:
    """Makes Samples about `picture`; `about` names what an answer rests on: a finding, or an organ by its name."""

    def __init__(self, picture: Phantom, rng: np.random.Generator, split: str) -> None:
        self.picture, self.rng, self.split = picture, rng, split
        self.samples: list[Sample] = []
        self._caption = describe(picture)
        self._findings = tuple(each.name for each in picture.findings)
        self._boxes = tuple(_box(each.name, each.box) for each in picture.findings)
        self._extra = {"sequence": picture.sequence, "window": picture.window, "organs": list(picture.organs)}
        self._masks: dict[str, bytes] = {}

    def word(self, *wordings: str) -> str:
        """One of the wordings at random."""
        return wordings[int(self.rng.integers(len(wordings)))]

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self.rng.random() < probability)

    def one(self, items: Iterable[str]) -> str:
        """One of the items at random."""
        listed = list(items)
        return listed[int(self.rng.integers(len(listed)))]

    def closed(self, topic: str, question: str, answer: bool, about: Finding | str | None = None) -> None:
        """A yes/no question."""
        self._add(topic, "closed", question, ("yes" if answer else "no",), (), about)

    def open(self, topic: str, question: str, *answers: str, about: Finding | str | None = None) -> None:
        """An open question; any of the answers is right."""
        self._add(topic, "open", question, answers, (), about)

    def choice(
        self, topic: str, question: str, right: str, others: Iterable[str], about: Finding | str | None = None
    ) -> None:
        """A question with three or four options (fewer if there are fewer); each place is equally likely right."""
        pool = [other for other in others if other != right]
        num = min(len(pool), int(self.rng.integers(2, 4)))
        options = [pool[k] for k in self.rng.permutation(len(pool))[:num]]
        options.insert(int(self.rng.integers(num + 1)), right)
        self._add(topic, "choice", question, (right,), tuple(options), about)

    def _add(
        self, topic: str, kind: str, question: str, answers: tuple[str, ...], choices: tuple[str, ...],
        about: Finding | str | None,
    ) -> None:  # fmt: skip
        picture, boxes, mask = self.picture, self._boxes, None
        if isinstance(about, Finding):
            mask = self._png(about.name, about.mask)
        elif about is not None:
            where = picture.labels == ID[about]
            rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
            left, top = int(columns[0]), int(rows[0])
            boxes = (*boxes, _box(about, (left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1)))
            mask = self._png(about, where)
        number = len(self.samples)
        self.samples.append(
            Sample(
                id=f"phantom-{picture.seed}-{picture.index}-{number}", question=question, answers=answers, kind=kind,
                choices=choices, split=self.split, source="phantom", topic=topic, subject=picture.subject,
                origin="template", evidence=self._caption, modality=picture.modality, plane=picture.plane,
                region=picture.region, findings=self._findings, boxes=boxes, mask=mask, extra=self._extra,
            )
        )  # fmt: skip

    def _png(self, name: str, where: Array) -> bytes:
        if name not in self._masks:
            buffer = io.BytesIO()
            Image.fromarray(where).save(buffer, "PNG", compress_level=1)
            self._masks[name] = buffer.getvalue()
        return self._masks[name]


def _box(label: str, box: tuple[int, int, int, int]) -> Box:
    x, y, width, height = map(float, box)
    return Box(label=label, x=x, y=y, width=width, height=height)
