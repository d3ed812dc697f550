"""Which findings a caption or report names, which it denies, and which it doubts; and corpora chosen by them.

In: text, or a Sample with concepts (CUIs) and its evidence. Out: findings with a status; which samples to keep.

    findings_in("No pleural effusion. Cannot exclude pneumonia.")  # {"pleural effusion": "absent", "pneumonia": "uncertain"}

Negation is that of NegEx (Chapman et al. 2001): a trigger before a finding reaches up to the end of its clause or eight
words, one after it five words back. Doubt is treated alike (ConText, Harkema et al. 2009) and weighs more than denial:
"cannot exclude" contains neither. A finding named once as present is present, whatever else is said of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from radvqa.curate.lexicon import LEXICON
from radvqa.errors import InputError
from radvqa.sample import Sample

PRESENT, UNCERTAIN, ABSENT = "present", "uncertain", "absent"
BEFORE_WORDS, AFTER_WORDS = 8, 5
_FINDING = re.compile(
    r"\b(?:" + "|".join(f"(?P<f{i}>{entry.words})" for i, entry in enumerate(LEXICON.values())) + r")\b", re.IGNORECASE
)
_NAMES = tuple(LEXICON)
_OF_CUI = {cui: name for name, entry in LEXICON.items() for cui in entry.cuis}
_NOT_DENIED = (
    r"(?:no|without) (?:significant |interval |further )?(?:change|increase|decrease)s?|not only|not (?:un)?common"
)
_DOUBT = (
    r"(?:can(?:no|')t|could not|not) (?:be )?(?:completely |entirely |reliably )?(?:exclude|rule|ruled|excluded)(?: out)?|possibl[ey]|"
    r"probabl[ey]|suspicious (?:for|of)|suspected|suspicion (?:of|for)|suggest\w*|likely|may (?:be|represent|reflect)|might (?:be|represent)|"
    r"could (?:be|represent)|versus|vs\.?|question(?:able)?(?: of)?|concern\w* for|differential(?: diagnos[ie]s)?(?: includes?)?|"
    r"rule out|r/o|presum\w+|equivocal|evaluate for|evaluation (?:of|for)|worrisome for|compatible with|consistent with"
)
SURE = frozenset({"compatible with", "consistent with"})
_DENIAL = (
    r"no (?:definite |obvious |clear |convincing )?(?:ct |mr |radiographic |imaging )?(?:evidence|sign|signs|indication|suggestion) (?:of|for)|"
    r"no|without(?: evidence of)?|absence of|absent|negative for|free of|lack(?:s|ing|ed)?(?: of)?|rule[sd]? out|excludes?|"
    r"resolution of|resolved|disappearance of|not (?:show|demonstrate|reveal|have)|denies|neither|nor|never|"
    r"(?:does|do|did) not (?:\w+ )?(?:show|demonstrate|reveal|have|suggest)|(?:isn't|aren't|wasn't)|is not|are not|was not"
)
_DENIAL_AFTER = (
    r"(?:is|are|was|were|has been|have been) (?:not (?:\w+ )?(?:seen|identified|present|noted|visible|visualized|evident|appreciated|found)|"
    r"absent|excluded|ruled out|resolved)|(?:not (?:seen|identified|present|visible))|has resolved|have resolved|: none|absent"
)
_DOUBT_AFTER = (
    r"(?:can(?:no|')t|could not) be (?:\w+ )?(?:excluded|ruled out)|(?:is|are|was|were) (?:not (?:excluded|ruled out)|possible|suspected|likely|"
    r"questionable|considered)|not excluded|\?"
)
_TRIGGER = re.compile(
    rf"\b(?:(?P<pseudo>{_NOT_DENIED})|(?P<doubt>{_DOUBT})|(?P<denial>{_DENIAL}))(?=\W|$)", re.IGNORECASE
)
_AFTER = re.compile(
    rf"^\W*(?:\w+\W+){{0,{AFTER_WORDS}}}?(?:(?P<doubt>{_DOUBT_AFTER})|(?P<denial>{_DENIAL_AFTER}))", re.IGNORECASE
)
_CLAUSE = re.compile(r"(?<!\d)\.(?!\d)|[;\n]|\b(?:but|however|although|though|whereas|except|aside from|apart from|yet|which|"
                     r"secondary to|due to|caused by|because of|as well as|there (?:is|are)|demonstrat\w+|show(?:s|ing|ed)?)\b", re.IGNORECASE)  # fmt: skip
_SIDE = re.compile(r"\b(left|right|bilateral(?:ly)?|both)\b", re.IGNORECASE)


class Mention(NamedTuple):
    """A finding in a text: its name, its status, and where it stands."""

    finding: str
    status: str
    start: int
    end: int


@lru_cache(maxsize=1 << 12)
def mentions(text: str) -> tuple[Mention, ...]:
    """Every finding of the lexicon in a text, in order."""
    found = []
    for match in _FINDING.finditer(text):
        name = _NAMES[int(str(match.lastgroup)[1:])]
        found.append(Mention(name, _status(text, match.start(), match.end()), match.start(), match.end()))
    return tuple(found)


def _status(text: str, start: int, end: int) -> str:
    before = text[:start]
    breaks = [stop.end() for stop in _CLAUSE.finditer(before)]
    clause = " ".join(before[breaks[-1] if breaks else 0 :].split()[-BEFORE_WORDS:]) + " "
    triggers = {m.lastgroup for m in _TRIGGER.finditer(clause) if m.group().lower() not in SURE}
    stop = _CLAUSE.search(text, end)
    after = _AFTER.match(text[end : stop.start() if stop else len(text)])
    triggers |= {after.lastgroup} if after else set()
    return UNCERTAIN if "doubt" in triggers else ABSENT if "denial" in triggers else PRESENT


def findings_in(text: str) -> dict[str, str]:
    """{finding: status}; present outweighs uncertain, uncertain absent, where a text says both."""
    found: dict[str, str] = {}
    for mention in mentions(text):
        found[mention.finding] = min(mention.status, found.get(mention.finding, ABSENT), key=_rank)
    return found


def _rank(status: str) -> int:
    return (PRESENT, UNCERTAIN, ABSENT).index(status)


def findings_of(sample: Sample) -> dict[str, str]:
    """{finding: status} of a sample: its concepts where it has some that the lexicon knows, and its evidence.

    A concept is what somebody or something found in the caption, without saying whether it was denied: where the text
    denies or doubts it, the text counts.
    """
    said = findings_in(sample.evidence or "")
    cuis = [*(sample.extra.get("cuis") or ()), *(sample.extra.get("cuis_manual") or ())]
    named = {_OF_CUI[cui]: PRESENT for cui in cuis if cui in _OF_CUI}
    return named | said


def present(sample: Sample) -> tuple[str, ...]:
    """The findings that a sample's picture has."""
    return tuple(name for name, status in findings_of(sample).items() if status == PRESENT)


def side_of(text: str) -> str | None:
    """left or right where a text knows only that side."""
    sides = {found.lower() for found in _SIDE.findall(text)}
    return sides.pop() if sides in ({"left"}, {"right"}) else None


# ---------------------------------------------------------------- choosing by them


def values_of(sample: Sample, by: str) -> tuple[str, ...]:
    """What a sample counts as: its present findings for by="finding", else the value of that field."""
    if by == "finding":
        return present(sample)
    if by not in ("modality", "plane", "region", "topic", "kind", "source", "split"):
        raise InputError(
            f"found {by!r}", key="by", fix="use finding, modality, plane, region, topic, kind, source or split"
        )
    value = getattr(sample, by)
    return (value,) if value else ()


def value_counts(samples: Iterable[Sample], by: str = "finding", *, images: bool = True) -> Counter[str]:
    """How many pictures (or, without `images`, questions) have each value."""
    seen: set[tuple[str, str]] = set()
    counts: Counter[str] = Counter()
    for sample in samples:
        for value in values_of(sample, by):
            key = (sample.image or sample.id, value)
            if not images or key not in seen:
                seen.add(key)
                counts[value] += 1
    return counts


def common(samples: Iterable[Sample], number: int, by: str = "finding") -> tuple[str, ...]:
    """The `number` values that most pictures have."""
    counts = value_counts(samples, by)
    return tuple(name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:number])


def select(samples: Sequence[Sample], values: Collection[str], by: str = "finding") -> list[Sample]:
    """The samples that have one of the values."""
    return [sample for sample in samples if set(values_of(sample, by)) & set(values)]


def cap(samples: Sequence[Sample], most: int, by: str = "finding", *, seed: int = 0) -> list[Sample]:
    """A seeded choice in which no value has more than `most` pictures, in the order given; samples without one all stay.

    A picture with several values counts for each, and stays only if none of them is full.
    """
    of_image: dict[str, list[Sample]] = {}
    for sample in samples:
        of_image.setdefault(sample.image or sample.id, []).append(sample)
    images, counts, kept = list(of_image), Counter[str](), set()
    for place in np.random.default_rng([seed, 5]).permutation(len(images)):
        values = {value for sample in of_image[images[place]] for value in values_of(sample, by)}
        if all(counts[value] < most for value in values):
            counts.update(values)
            kept.add(images[place])
    return [sample for sample in samples if (sample.image or sample.id) in kept]


def enrich(
    samples: Sequence[Sample], factors: Mapping[str, float], by: str = "finding", *, seed: int = 0
) -> np.ndarray:
    """int64[T]: places of samples in which those with a value come `factor` times as often (the greatest of theirs).

    A fraction of a time is drawn: 2.5 is twice for all and a third time for half of them.
    """
    rng = np.random.default_rng([seed, 6])
    times = np.array([max((factors.get(v, 1.0) for v in values_of(s, by)), default=1.0) for s in samples], float)
    whole = np.floor(times + rng.random(len(times))).astype(np.int64)
    return np.repeat(np.arange(len(samples)), whole)
