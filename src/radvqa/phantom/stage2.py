"""Stage 2 questions: is there a finding, which one, on which side, in which organ.

ask_stage2(asker)
"""

from __future__ import annotations

from functools import cache

from radvqa.phantom.asker import Asker
from radvqa.phantom.captions import article, technique
from radvqa.phantom.findings import BY_REGION, MIRROR, possible
from radvqa.phantom.scene import NUM_FINDINGS

ILL, WELL = 1 - NUM_FINDINGS[0], NUM_FINDINGS[0]


def ask_stage2(asker: Asker) -> None:
    """Three to five questions."""
    _presence(asker)
    _abnormal(asker)
    _side(asker)
    _name(asker)
    _place(asker)


def _presence(asker: Asker) -> None:
    """Is there an X. Each kind is asked for as often where it is as where it is not.

    A picture with findings (share ILL) asks for one that is there, and with probability p for one that is not; one
    without (share WELL) asks for one that is not: ILL = ILL p + WELL, so p = (ILL - WELL) / ILL.
    """
    picture = asker.picture
    present = [each.name for each in picture.findings]
    absent = [name for name in possible(picture.region, picture.modality, picture.plane) if name not in present]
    if present:
        each = picture.findings[int(asker.rng.integers(len(present)))]
        asker.closed("finding", _is_there(asker, each.name), True, about=each)
    if absent and (not present or asker.chance((ILL - WELL) / ILL)):
        asker.closed("finding", _is_there(asker, asker.one(absent)), False)


def _is_there(asker: Asker, name: str) -> str:
    picture, thing = asker.picture, article(name)
    return asker.word(
        f"Is there {thing}?", f"Is there {thing} in this {picture.modality}?", f"Does this picture show {thing}?",
        f"Is there {thing} in the {picture.region}?", f"Can {thing} be seen?", f"Does the {technique(picture).upper()} show {thing}?",
    )  # fmt: skip


def _abnormal(asker: Asker) -> None:
    """Is anything abnormal: pictures with findings are asked with probability WELL / ILL, so yes is half of it."""
    picture, word = asker.picture, asker.word
    ill = bool(picture.findings)
    if ill and not asker.chance(WELL / ILL):
        return
    about = picture.findings[0] if len(picture.findings) == 1 else None
    kind = word("picture", picture.modality, picture.region)
    if asker.chance(0.6):
        question = word(
            f"Is there an abnormality in this {kind}?", f"Does this {kind} show an abnormality?",
            f"Is anything abnormal in this {kind}?",
        )  # fmt: skip
        asker.closed("finding", question, ill, about=about)
    else:
        asker.closed("finding", word(f"Is this {kind} normal?", f"Does this {kind} look normal?"), not ill, about=about)


def _side(asker: Asker) -> None:
    """Is it on the left, is it in that organ: the wrong place asked for is the mirror image of the right one."""
    sided = [each for each in asker.picture.findings if each.side is not None]
    if not sided:
        return
    each = sided[int(asker.rng.integers(len(sided)))]
    name, answer, word = each.name, asker.chance(0.5), asker.word
    if each.organ in MIRROR and asker.chance(0.5):
        organ = each.organ if answer else MIRROR[each.organ]
        question = word(
            f"Is there {article(name)} in the {organ}?", f"Is the {name} in the {organ}?",
            f"Does the {organ} contain {article(name)}?",
        )  # fmt: skip
    else:
        side = each.side if answer else {"left": "right", "right": "left"}[each.side or ""]
        question = word(
            f"Is the {name} on the {side}?", f"Is the {name} on the patient's {side} side?",
            f"Is there {article(name)} on the {side}?",
        )  # fmt: skip
    asker.closed("finding", question, answer, about=each)


def _name(asker: Asker) -> None:
    """Which finding is it; a picture with two findings accepts either name."""
    picture, word = asker.picture, asker.word
    names = [each.name for each in picture.findings] or ["none"]
    about = picture.findings[0] if len(picture.findings) == 1 else None
    if len(names) == 1 and asker.chance(0.5):
        question = word("Which finding is shown?", "Which abnormality is in the picture?", "Which of these is present?")
        asker.choice("finding", question, names[0], (*BY_REGION[picture.region], "none"), about=about)
    elif asker.chance(0.7):
        question = word("What abnormality is shown?", "What is the finding?", "Name an abnormality in this picture.")
        asker.open("finding", question, *names, about=about)


def _place(asker: Asker) -> None:
    """Where each finding is."""
    word = asker.word
    for each in asker.picture.findings:
        name, at = each.name, asker.rng.random()
        if each.side is not None and at < 0.45:
            question = word(
                f"On which side is the {name}?", f"Which side of the patient has the {name}?",
                f"Is the {name} left or right?",
            )  # fmt: skip
            asker.open("pathology", question, each.side, about=each)
        elif at < 0.8:
            question = word(
                f"Where is the {name}?", f"Which organ contains the {name}?", f"In which structure is the {name}?"
            )
            asker.open("pathology", question, each.organ, about=each)
        else:
            question = word(f"Which of these contains the {name}?", f"In which of these is the {name}?")
            asker.choice("pathology", question, each.organ, _organs(asker.picture.region, each.side is not None), each)


@cache
def _organs(region: str, sided: bool) -> tuple[str, ...]:
    """What else could hold a finding in this region."""
    paired, others = {
        "head": ("hemisphere", ("skull", "cerebellum")),
        "thorax": ("lung", ("ribs", "heart", "clavicles")),
        "abdomen": ("kidney", ("liver", "spleen", "abdominal cavity")),
    }[region]
    return ((f"left {paired}", f"right {paired}") if sided else (paired,)) + others
