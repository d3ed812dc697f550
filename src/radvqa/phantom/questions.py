"""Questions about a phantom, worded from templates and answered from its truth.

In: a Phantom. Out: Samples. Stage 1 topics: modality, plane, organ, position; stage 2 topics: finding, pathology.
Closed questions are balanced by construction (see `balance`), so that the question alone says nothing.

    for sample in questions(phantom(0, 3)): print(sample.topic, sample.question, sample.answers)
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from PIL import Image

from radvqa.phantom import balance
from radvqa.phantom.captions import article, describe, technique
from radvqa.phantom.findings import BY_REGION, possible
from radvqa.phantom.render import WINDOWS
from radvqa.phantom.scene import MODALITIES, NUM_FINDINGS, PLANES, Finding, Phantom
from radvqa.phantom.solids import Array
from radvqa.phantom.tissue import FINDINGS, ID, STRUCTURES
from radvqa.sample import Box, Sample

STAGE1 = ("modality", "plane", "organ", "position")
STAGE2 = ("finding", "pathology")
REGION_SHARES = {"head": 1 / 3, "thorax": 1 / 3, "abdomen": 1 / 3}
SIDES = {"liver": "right", "gallbladder": "right", "heart": "left", "spleen": "left", "stomach": "left"}
MIRROR = {"liver": "spleen", "spleen": "liver"} | {
    f"{a} {organ}": f"{b} {organ}"
    for organ in ("lung", "kidney", "hemisphere")
    for a, b in (("left", "right"), ("right", "left"))
}
ANSWERS = tuple(
    dict.fromkeys(
        ["yes", "no", "left", "right", "upper half", "lower half", "none", "ct", "mr", "x-ray", "t1", "t2"]
        + ["axial", "coronal", "sagittal", "frontal", "lateral", "head", "thorax", "abdomen", *WINDOWS, *FINDINGS]
        + [name for name in STRUCTURES if name not in ("background", *FINDINGS)]
        + ["lung", "kidney", "hemisphere", "abdominal cavity"]
    )
)
"""The closed vocabulary: every answer is one of these."""


@dataclass(slots=True)
class _Asker:
    """Collects the questions of one picture."""

    picture: Phantom
    rng: np.random.Generator
    split: str
    samples: list[Sample] = field(default_factory=list)
    masks: dict[str, bytes] = field(default_factory=dict)

    def word(self, *wordings: str) -> str:
        return wordings[int(self.rng.integers(len(wordings)))]

    def ask(
        self,
        topic: str,
        kind: str,
        question: str,
        answers: str | Iterable[str],
        *,
        choices: Iterable[str] = (),
        about: Finding | str | None = None,
    ) -> None:
        """Add a sample; `about` gives its box and mask: a finding, or an organ by name."""
        picture = self.picture
        boxes, mask = [self._box(each.name, each.box) for each in picture.findings], None
        if isinstance(about, Finding):
            mask = self._mask(about.name, about.mask)
        elif about is not None:
            where = picture.labels == ID[about]
            rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
            boxes.append(self._box(about, (columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)))
            mask = self._mask(about, where)
        self.samples.append(
            Sample(
                id=f"phantom-{picture.seed}-{picture.index}-{len(self.samples)}",
                question=question,
                answers=(answers,) if isinstance(answers, str) else tuple(answers),
                kind=kind,
                choices=tuple(choices),
                split=self.split,
                source="phantom",
                topic=topic,
                subject=picture.subject,
                origin="template",
                evidence=describe(picture),
                modality=picture.modality,
                plane=picture.plane,
                region=picture.region,
                findings=tuple(each.name for each in picture.findings),
                boxes=tuple(boxes),
                mask=mask,
                extra={"sequence": picture.sequence, "window": picture.window, "organs": list(picture.organs)},
            )
        )

    def closed(self, topic: str, question: str, answer: bool, about: Finding | str | None = None) -> None:
        self.ask(topic, "closed", question, "yes" if answer else "no", about=about)

    def choice(
        self, topic: str, question: str, right: str, others: Iterable[str], about: Finding | str | None = None
    ) -> None:
        """A choice question whose right option is as likely at every place."""
        pool = [other for other in others if other != right]
        num = min(len(pool), int(self.rng.integers(2, 4)))
        options = [pool[k] for k in self.rng.permutation(len(pool))[:num]]
        options.insert(int(self.rng.integers(num + 1)), right)
        self.ask(topic, "choice", question, right, choices=options, about=about)

    def _mask(self, name: str, where: Array) -> bytes:
        if name not in self.masks:
            buffer = io.BytesIO()
            Image.fromarray(where).save(buffer, "PNG", compress_level=1)
            self.masks[name] = buffer.getvalue()
        return self.masks[name]

    @staticmethod
    def _box(label: str, box: tuple[int, ...]) -> Box:
        x, y, width, height = (float(v) for v in box)
        return Box(label=label, x=x, y=y, width=width, height=height)


def questions(picture: Phantom, *, split: str = "train", topics: Iterable[str] = STAGE1 + STAGE2) -> list[Sample]:
    """The questions of one picture, about five of stage 1 and four of stage 2; the same for the same picture."""
    asker = _Asker(picture, np.random.default_rng((picture.seed, picture.index, 14)), split)
    for part in (_modality, _plane, _region, _organ, _position, _finding, _pathology):
        part(asker)
    wanted = set(topics)
    return [sample for sample in asker.samples if sample.topic in wanted]


# ---------------------------------------------------------------- stage 1


def _modality(asker: _Asker) -> None:
    picture, rng, word = asker.picture, asker.rng, asker.word
    true = picture.modality.lower()
    at = rng.random()
    if at < 0.5:
        if (asked := balance.decoy(rng, MODALITIES, picture.modality)) is not None:
            name = asked[0]
            asker.closed(
                "modality",
                word(
                    f"Is this {article(name) if name != 'X-ray' else 'an X-ray'}?",
                    f"Was this picture made by {name}?",
                    f"Is the modality {name}?",
                    f"Does this picture come from {name}?",
                ),
                asked[1],
            )
    elif at < 0.75:
        asker.choice(
            "modality", word("Which modality is this?", "Which machine made this picture?"), true, ("ct", "mr", "x-ray")
        )
    else:
        asker.ask(
            "modality",
            "open",
            word("What modality is shown?", "How was this picture made?", "What is the imaging modality?"),
            true,
        )
    if picture.sequence is not None:
        true = picture.sequence
        if rng.random() < 0.5:
            name, answer = (true, True) if rng.random() < 0.5 else ("T2" if true == "T1" else "T1", False)
            asker.closed(
                "modality",
                word(f"Is this {name}-weighted?", f"Is this a {name} picture?", f"Is the MR sequence {name}?"),
                answer,
            )
        else:
            asker.ask(
                "modality",
                "open",
                word("Which MR sequence is this?", "Is this T1- or T2-weighted?", "What is the weighting?"),
                true.lower(),
            )
    elif picture.window is not None and rng.random() < 0.4:
        asker.ask(
            "modality", "open", word("Which CT window is used?", "In which window is this CT shown?"), picture.window
        )


def _plane(asker: _Asker) -> None:
    picture, rng, word = asker.picture, asker.rng, asker.word
    shares, at = PLANES[picture.modality], rng.random()
    if at < 0.55:
        if (asked := balance.decoy(rng, shares, picture.plane)) is not None:
            name = asked[0]
            asker.closed(
                "plane",
                word(
                    f"Is this {article(name)} picture?",
                    f"Is the plane {name}?",
                    f"Is this picture {name}?",
                    f"Does this show {article(name)} view?",
                ),
                asked[1],
            )
    elif at < 0.75:
        asker.choice(
            "plane",
            word("Which plane is shown?", "Which view is this?"),
            picture.plane,
            ("axial", "coronal", "sagittal", "frontal", "lateral"),
        )
    else:
        asker.ask(
            "plane",
            "open",
            word("In which plane is this picture?", "What is the plane?", "From which direction is this seen?"),
            picture.plane,
        )


def _region(asker: _Asker) -> None:
    picture, rng, word = asker.picture, asker.rng, asker.word
    at = rng.random()
    if at < 0.5:
        asked = balance.decoy(rng, REGION_SHARES, picture.region)
        assert asked is not None
        name = asked[0]
        asker.closed(
            "organ",
            word(
                f"Does this picture show the {name}?",
                f"Is this the {name}?",
                f"Is the {name} shown?",
                f"Is the body region the {name}?",
            ),
            asked[1],
        )
    elif at < 0.75:
        asker.choice(
            "organ",
            word("Which body region is shown?", "Which part of the body is this?"),
            picture.region,
            REGION_SHARES,
        )
    else:
        asker.ask(
            "organ",
            "open",
            word("What part of the body is shown?", "Which region of the body is this?", "What does the picture show?"),
            picture.region,
        )


def _organ(asker: _Asker) -> None:
    picture, rng, word = asker.picture, asker.rng, asker.word
    states = {name: balance.seen(picture, name) for name in balance.HOME[picture.region]}
    for name, there in states.items():
        yes, no = balance.RATES[name][:2]
        if there is None or rng.random() > 0.35 or not balance.thin(rng, yes, no, there):
            continue
        verb = "Are" if name.endswith("s") and name not in ("bowel gas", "pelvis", "sinus") else "Is"
        asker.closed(
            "organ",
            word(
                f"{verb} the {name} visible?",
                f"{verb} the {name} in this picture?",
                f"Can the {name} be seen?",
                f"Does this picture show the {name}?",
            ),
            there,
            about=name if there else None,
        )
    there = [name for name, state in states.items() if state]
    absent = [name for name, state in states.items() if state is False]
    if there and len(absent) >= 2 and rng.random() < 0.4:
        right = there[int(rng.integers(len(there)))]
        asker.choice(
            "organ",
            word("Which of these is visible?", "Which of these can be seen in the picture?"),
            right,
            absent,
            about=right,
        )
    elif picture.organs and rng.random() < 0.3:
        asker.ask(
            "organ",
            "open",
            word("Which organ is the largest in the picture?", "Which structure takes most of the picture?"),
            picture.organs[0],
            about=picture.organs[0],
        )


def _position(asker: _Asker) -> None:
    picture, rng, word = asker.picture, asker.rng, asker.word
    there = [name for name in balance.HOME[picture.region] if name in picture.organs]
    for name in there:
        spots, rates = balance.halves(picture, name), balance.RATES[name][2:]
        verb = "Are" if name.endswith("s") and name not in ("bowel gas", "pelvis", "sinus") else "Is"
        for first, second, value, yes, no in (
            ("upper", "lower", spots[0], *rates[:2]),
            ("left", "right", spots[1], *rates[2:]),
        ):
            if value is None or rng.random() > 0.35 or not balance.thin(rng, yes, no, value):
                continue
            half, answer = (first, value) if rng.random() < 0.5 else (second, not value)
            asker.closed(
                "position",
                word(
                    f"{verb} the {name} in the {half} half of the picture?",
                    f"{verb} the {name} {half} of the middle of the picture?",
                ),
                answer,
                about=name,
            )
    sided = [name for name in there if name in SIDES or name.split()[0] in ("left", "right")]
    if sided and picture.plane not in ("sagittal", "lateral") and rng.random() < 0.7:
        name = sided[int(rng.integers(len(sided)))]
        patient = SIDES.get(name, name.split()[0])
        left = balance.halves(picture, name)[1]
        if left is not None and rng.random() < 0.6:
            asker.ask(
                "position",
                "open",
                word(f"On which side of the picture is the {name}?", f"Is the {name} left or right in the picture?"),
                "left" if left else "right",
                about=name,
            )
        elif name in SIDES:
            asker.ask(
                "position",
                "open",
                word(f"On which side of the patient is the {name}?", f"On which side of the body is the {name}?"),
                patient,
                about=name,
            )
    if there and rng.random() < 0.4:
        name = there[int(rng.integers(len(there)))]
        up = balance.halves(picture, name)[0]
        if up is not None:
            asker.ask(
                "position",
                "open",
                word(
                    f"In which half of the picture is the {name}, upper or lower?",
                    f"Is the {name} in the upper half or the lower half?",
                ),
                "upper half" if up else "lower half",
                about=name,
            )


# ---------------------------------------------------------------- stage 2


def _finding(asker: _Asker) -> None:
    picture, rng, word = asker.picture, asker.rng, asker.word
    present = [each.name for each in picture.findings]
    absent = [name for name in possible(picture.region, picture.modality, picture.plane) if name not in present]
    ill, well = 1 - NUM_FINDINGS[0], NUM_FINDINGS[0]
    if present:
        each = picture.findings[int(rng.integers(len(present)))]
        asker.closed("finding", _is_there(asker, each.name), True, about=each)
    # as many no as yes: ill * p + well * 1 = ill * 1
    if absent and (not present or rng.random() < (ill - well) / ill):
        asker.closed("finding", _is_there(asker, absent[int(rng.integers(len(absent)))]), False)
    if not present or rng.random() < well / ill:
        one = picture.findings[0] if len(present) == 1 else None
        kind = word("picture", picture.modality, picture.region)
        if rng.random() < 0.6:
            asker.closed(
                "finding",
                word(
                    f"Is there an abnormality in this {kind}?",
                    f"Does this {kind} show an abnormality?",
                    f"Is anything abnormal in this {kind}?",
                ),
                bool(present),
                about=one,
            )
        else:
            asker.closed(
                "finding", word(f"Is this {kind} normal?", f"Does this {kind} look normal?"), not present, about=one
            )
    _sides(asker)
    if len(present) < 2:
        answer, about = (present[0], picture.findings[0]) if present else ("none", None)
        if rng.random() < 0.5:
            asker.choice(
                "finding",
                word("Which finding is shown?", "Which abnormality is in the picture?"),
                answer,
                (*BY_REGION[picture.region], "none"),
                about=about,
            )
        else:
            asker.ask(
                "finding",
                "open",
                word("What abnormality is shown?", "What is the finding?", "Name the abnormality."),
                answer,
                about=about,
            )


def _is_there(asker: _Asker, name: str) -> str:
    picture, thing = asker.picture, article(name)
    return asker.word(
        f"Is there {thing}?",
        f"Is there {thing} in this {picture.modality}?",
        f"Does this picture show {thing}?",
        f"Is there {thing} in the {picture.region}?",
        f"Can {thing} be seen?",
        f"Does the {technique(picture).upper()} show {thing}?",
    )


def _sides(asker: _Asker) -> None:
    """Is the finding on the left, is it in that organ: the decoy is the mirror image."""
    rng, word = asker.rng, asker.word
    sided = [each for each in asker.picture.findings if each.side is not None]
    if not sided:
        return
    each = sided[int(rng.integers(len(sided)))]
    assert each.side is not None
    answer = bool(rng.random() < 0.5)
    if each.organ in MIRROR and rng.random() < 0.5:
        organ = each.organ if answer else MIRROR[each.organ]
        asker.closed(
            "finding",
            word(
                f"Is there {article(each.name)} in the {organ}?",
                f"Is the {each.name} in the {organ}?",
                f"Does the {organ} contain {article(each.name)}?",
            ),
            answer,
            about=each,
        )
    else:
        side = each.side if answer else {"left": "right", "right": "left"}[each.side]
        asker.closed(
            "finding",
            word(
                f"Is the {each.name} on the {side}?",
                f"Is the {each.name} on the patient's {side} side?",
                f"Is there {article(each.name)} on the {side}?",
            ),
            answer,
            about=each,
        )


def _pathology(asker: _Asker) -> None:
    rng, word = asker.rng, asker.word
    for each in asker.picture.findings:
        at = rng.random()
        if each.side is not None and at < 0.45:
            wording = word(
                f"On which side is the {each.name}?",
                f"Which side of the patient has the {each.name}?",
                f"Where is the {each.name}, left or right?",
            )
            asker.ask("pathology", "open", wording, each.side, about=each)
        elif at < 0.8:
            wording = word(
                f"Where is the {each.name}?",
                f"Which organ contains the {each.name}?",
                f"In which structure is the {each.name}?",
            )
            asker.ask("pathology", "open", wording, each.organ, about=each)
        else:
            options = [name for name in _places(asker.picture.region, each.side is not None) if name != each.organ]
            asker.choice(
                "pathology",
                word(f"Where is the {each.name}?", f"Which of these contains the {each.name}?"),
                each.organ,
                options,
                about=each,
            )


@cache
def _places(region: str, sided: bool) -> tuple[str, ...]:
    both = {"head": ("hemisphere",), "thorax": ("lung",), "abdomen": ("kidney",)}[region]
    single = {
        "head": ("skull", "cerebellum"),
        "thorax": ("ribs", "heart"),
        "abdomen": ("liver", "spleen", "abdominal cavity"),
    }[region]
    return tuple(f"{side} {name}" for name in both for side in ("left", "right")) + single if sided else both + single
