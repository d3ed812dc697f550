"""Stage 1 questions: modality, sequence, window, plane, region, which organs are visible, and where they lie.

ask_stage1(asker)
"""

from __future__ import annotations

from radvqa.phantom.asker import Asker
from radvqa.phantom.balance import HOME, RATES, decoy, halves, seen, thin
from radvqa.phantom.captions import article
from radvqa.phantom.scene import MODALITIES, PLANES

REGION_SHARES = {"head": 1 / 3, "thorax": 1 / 3, "abdomen": 1 / 3}
SIDES = {"liver": "right", "heart": "left", "spleen": "left", "stomach": "left"}
"""Organs that normally lie on one side of the patient."""
PLURAL = ("clavicles", "scapulae", "ribs", "ventricles")


def ask_stage1(asker: Asker) -> None:
    """About five questions: modality, plane and region always, organs and places as the picture allows."""
    _modality(asker)
    _acquisition(asker)
    _plane(asker)
    _region(asker)
    _visible(asker)
    _halves(asker)
    _places(asker)


def _modality(asker: Asker) -> None:
    true, word = asker.picture.modality, asker.word
    at = asker.rng.random()
    if at < 0.5:
        if (asked := decoy(asker.rng, MODALITIES, true)) is not None:
            thing = article(asked[0])
            question = word(
                f"Is this {thing}?", f"Is this picture {thing}?", f"Is the modality {asked[0]}?", f"Was this made by {asked[0]}?"
            )  # fmt: skip
            asker.closed("modality", question, asked[1])
    elif at < 0.75:
        question = word(
            "Which modality is this?", "Which machine made this picture?", "Which of these is the modality?"
        )
        asker.choice("modality", question, true.lower(), [name.lower() for name in MODALITIES])
    else:
        question = word("What modality is shown?", "How was this picture made?", "What is the imaging modality?")
        asker.open("modality", question, true.lower())


def _acquisition(asker: Asker) -> None:
    """The MR sequence, or the CT window."""
    sequence, window, word = asker.picture.sequence, asker.picture.window, asker.word
    if sequence is not None and asker.chance(0.5):
        name = asker.one(("T1", "T2"))
        question = word(f"Is this {name}-weighted?", f"Is this a {name} picture?", f"Is the MR sequence {name}?")
        asker.closed("modality", question, name == sequence)
    elif sequence is not None and asker.chance(0.7):
        question = word("Which MR sequence is this?", "Is this T1- or T2-weighted?", "What is the weighting?")
        asker.open("modality", question, sequence.lower())
    elif window is not None and asker.chance(0.3):
        asker.open("modality", word("Which CT window is used?", "In which window is this CT shown?"), window)


def _plane(asker: Asker) -> None:
    picture, word = asker.picture, asker.word
    at = asker.rng.random()
    if at < 0.55:
        if (asked := decoy(asker.rng, PLANES[picture.modality], picture.plane)) is not None:
            name = asked[0]
            question = word(
                f"Is this {article(name)} picture?", f"Is the plane {name}?", f"Is this picture {name}?",
                f"Is this {article(name)} view?",
            )  # fmt: skip
            asker.closed("plane", question, asked[1])
    elif at < 0.75:
        question = word("Which plane is shown?", "Which view is this?", "Which of these is the plane?")
        asker.choice("plane", question, picture.plane, ("axial", "coronal", "sagittal", "frontal", "lateral"))
    else:
        question = word("In which plane is this picture?", "What is the plane?", "From which direction is this seen?")
        asker.open("plane", question, picture.plane)


def _region(asker: Asker) -> None:
    true, word = asker.picture.region, asker.word
    at = asker.rng.random()
    if at < 0.5:
        asked = decoy(asker.rng, REGION_SHARES, true)
        assert asked is not None
        name = asked[0]
        question = word(
            f"Does this picture show the {name}?", f"Is this the {name}?", f"Is the {name} shown?",
            f"Is the body region the {name}?",
        )  # fmt: skip
        asker.closed("organ", question, asked[1])
    elif at < 0.75:
        question = word("Which body region is shown?", "Which part of the body is this?", "Which region is imaged?")
        asker.choice("organ", question, true, REGION_SHARES)
    else:
        question = word(
            "What part of the body is shown?", "Which region of the body is this?", "What body region is it?"
        )
        asker.open("organ", question, true)


def _visible(asker: Asker) -> None:
    """Is the organ visible: only in regions where it can go either way; radiographs superpose and are left out."""
    picture, word = asker.picture, asker.word
    states = {name: seen(picture, name) for name in HOME[picture.region]}
    for name, state in states.items() if picture.modality != "X-ray" else ():
        asked = asker.chance(0.25)
        if state is None or not asked or not thin(asker.rng, *RATES[picture.region, name][:2], state):
            continue
        verb = "Are" if name in PLURAL else "Is"
        question = word(
            f"{verb} the {name} visible?", f"{verb} the {name} in this picture?", f"Can the {name} be seen?",
            f"Does this picture show the {name}?",
        )  # fmt: skip
        asker.closed("organ", question, state, about=name if state else None)
    there = [name for name, state in states.items() if state]
    absent = [name for name, state in states.items() if state is False]
    if there and len(absent) >= 2 and picture.modality != "X-ray" and asker.chance(0.35):
        right = asker.one(there)
        question = word("Which of these is visible?", "Which of these can be seen in the picture?")
        asker.choice("organ", question, right, absent, about=right)
    elif picture.organs and asker.chance(0.25):
        question = word("Which organ is the largest in the picture?", "Which structure takes most of the picture?")
        asker.open("organ", question, picture.organs[0], about=picture.organs[0])


def _halves(asker: Asker) -> None:
    """Is the organ in the upper (lower, left, right) half of the picture."""
    picture, word = asker.picture, asker.word
    for name in HOME[picture.region]:
        if name not in picture.organs:
            continue
        verb = "Are" if name in PLURAL else "Is"
        spots, rates = halves(picture, name), RATES[picture.region, name][2:]
        for pair, value, rate in ((("upper", "lower"), spots[0], rates[:2]), (("left", "right"), spots[1], rates[2:])):
            if value is None or not asker.chance(0.3) or not thin(asker.rng, *rate, value):
                continue
            number = int(asker.rng.integers(2))
            half = f"{pair[number]} half"
            question = word(
                f"{verb} the {name} in the {half} of the picture?", f"{verb} the {name} mainly in the {half}?"
            )  # fmt: skip
            asker.closed("position", question, value != bool(number), about=name)


def _places(asker: Asker) -> None:
    """On which side of the picture or patient, and in which half, an organ lies."""
    picture, word = asker.picture, asker.word
    there = [name for name in HOME[picture.region] if name in picture.organs]
    sided = [name for name in there if name in SIDES or name.startswith(("left ", "right "))]
    if sided and picture.plane not in ("sagittal", "lateral") and asker.chance(0.5):
        name = asker.one(sided)
        left = halves(picture, name)[1]
        if left is not None and asker.chance(0.6):
            question = word(
                f"On which side of the picture is the {name}?", f"Is the {name} left or right in the picture?"
            )
            asker.open("position", question, "left" if left else "right", about=name)
        elif name in SIDES:
            question = word(f"On which side of the patient is the {name}?", f"On which side of the body is the {name}?")
            asker.open("position", question, SIDES[name], about=name)
    if there and asker.chance(0.35):
        name = asker.one(there)
        up = halves(picture, name)[0]
        if up is not None:
            question = word(
                f"In which half of the picture is the {name}, upper or lower?",
                f"Does the {name} lie in the upper half or the lower half?",
            )
            asker.open("position", question, "upper half" if up else "lower half", about=name)
