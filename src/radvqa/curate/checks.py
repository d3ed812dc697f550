"""What can be wrong with one question-answer pair, each a small function with a name and a reason.

In: a Pair with the text it was made from. Out: whether it is to go. CHECKS lists them in the order in which they are asked.

    [check.reason for check in CHECKS if check.bad(pair, Limits())]

They look at words only. What needs a model (answered without the picture) or the other pairs (repeats) is in filter.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

from radvqa.curate.parse import REFUSAL
from radvqa.datasets.founding import NO_ANSWER


@dataclass(frozen=True)
class Limits:
    """Where the checks draw their lines."""

    question_words: tuple[int, int] = (2, 60)
    """Fewest and most words of a question."""
    answer_words: tuple[int, int] = (1, 120)
    """Fewest and most words of an answer."""
    support: float = 0.5
    """Share of an answer's content words that the evidence, the question or the tags must hold, 0-1."""
    languages: tuple[str, ...] = ("en",)
    """Languages that stay."""
    off: tuple[str, ...] = ()
    """Names of checks that are not asked."""


@dataclass(frozen=True)
class Pair:
    """A question with its answer and all that it may rest on."""

    question: str
    answer: str
    kind: str = "open"
    evidence: str = ""
    """Caption, report, case text and tags; empty: nothing is known, so support is not asked."""
    caption: bool = False
    """The answer is the caption itself."""
    instruction: bool = False
    """The question is one of prompts/captions-1.yaml, which need not be judged."""

    @cached_property
    def asked(self) -> frozenset[str]:
        return stems(self.question)

    @cached_property
    def answered(self) -> frozenset[str]:
        return stems(self.answer)


@dataclass(frozen=True)
class Check:
    name: str
    reason: str
    """What stands in dropped.parquet."""
    bad: Callable[[Pair, Limits], bool]


# ---------------------------------------------------------------- words


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_WORD = re.compile(r"[^\W_]+(?:'[a-z]+)?")
_TOKEN = re.compile(r"[\u4e00-\u9fff]|[^\s\u4e00-\u9fff]+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_PLAIN = _set(
    "a an the of in on at to for from by with without and or but as is are was were be been being has have had it its this "
    "that these those there their they which what where when who how why do does did can could may might will would should "
    "not no yes than then also such into within over under very some any all each one two both i you we he she his her "
    "image images picture scan shown show shows showing seen see visible evident noted note present presence appears appear "
    "demonstrate demonstrates demonstrating indicate indicates indicated suggest suggests revealed reveals reveal located "
    "location due cause caused because patient patients case typical typically common commonly most likely possible"
)
STEM = 5
_VIEW = frozenset(
    word[:STEM]
    for word in _set(
        "ct mr mri magnetic resonance imaging computed tomography tomogram scan x-ray xray ray radiograph "
        "radiography radiographs film plain ultrasound ultrasonography sonography angiography angiogram view "
        "views arrow arrows arrowhead figure fig axial coronal sagittal lateral frontal contrast enhanced "
        "weighted t1 t2 cat preoperative postoperative operative follow up typical"
    )
)
"""Stems that tell how a picture was made, which answers no question but one on that."""
_NAMES = (
    _set("mr mri magne reson"),
    _set("ct compu tomog cat"),
    _set("x-ray xray radio plain film"),
    _set("csf cereb spina"),
)


@lru_cache(maxsize=1 << 12)
def content(text: str) -> frozenset[str]:
    """The content words of a text, in small letters."""
    return frozenset(word for word in _WORD.findall(text.lower()) if word not in _PLAIN and len(word) > 1)


@lru_cache(maxsize=1 << 12)
def stems(text: str) -> frozenset[str]:
    """The content words of a text, each cut to its first five letters, and the other names of a modality."""
    found = {word[:STEM] for word in content(text)}
    for names in _NAMES:
        if found & names:
            found |= names
    return frozenset(found)


_LETTERS = re.compile(r"[^\W\d_]+")
_SHORT = re.compile(r"\b([A-Z]{3,5})s?\b")


def spelled_out(text: str, shortly: str) -> frozenset[str]:
    """Stems of words of `text` whose initials, one after the other, `shortly` has as an abbreviation: RLL, right lower lobe."""
    words = _LETTERS.findall(text.lower())
    found: set[str] = set()
    for short in set(_SHORT.findall(shortly)):
        size = len(short)
        for at in range(len(words) - size + 1):
            if "".join(word[0] for word in words[at : at + size]) == short.lower():
                found.update(word[:STEM] for word in words[at : at + size])
    return frozenset(found)


@lru_cache(maxsize=1 << 14)
def numbers(text: str) -> frozenset[float]:
    """The numbers in a text, those inside words (T2, L5) too."""
    return frozenset(float(found) for found in _NUMBER.findall(text))


# ---------------------------------------------------------------- the checks

_ASKS = re.compile(
    r"[?？]|^(?:please )?(what|which|where|when|who|whose|why|how|is|are|was|were|does|do|did|can|could|has|have|in which|in what|describe|"
    r"identify|name|list|explain|state|specify|compare|summari[sz]e|give|provide|generate|write|tell|discuss|outline)\b",
    re.IGNORECASE,
)
_TEXT = re.compile(
    r"\bcaptions?\b|\b(image|figure|picture)'?s? (description|legend)\b"
    r"|\b(case|disease|topic|provided|given) (information|discussion|report|description|summary|details)\b"
    r"|\b(provided|given|above) (text|context|data|passage|discussion|information|references?)\b|\binformation (provided|given)\b"
    r"|\b(described|mentioned|stated|discussed|noted|provided|listed|reported) in the (case|text|report|radiology|discussion"
    r"|information|article|description|passage|history)\b|\bradiology report\b|\b(case|text|report|passage) (mentions|states)\b"
    r"|\baccording to the (text|case|report|discussion|information|disease|article|passage)\b|\bas mentioned\b"
    r"|\bdiscussion provided\b|\b(?:specifically|only|not) mentioned\b|^(?:is|are|was|were|how is|how was) the (?:\w+ ){1,4}described as\b",
    re.IGNORECASE,
)
_WHO = r"(?:(?:this|the) (?:\d+[- ]?year[- ]?old )?(?:patient|man|woman|boy|girl|child|infant|male|female)(?:'s|’s)?|his|her)"
_UNSEEN = re.compile(
    rf"\b{_WHO} (?:\w+ ){{0,2}}(history|symptoms?|complaints?|age|sex|gender|name|occupation|ethnicity|race|presentation"
    r"|clinical findings|medications?|laboratory|lab|blood pressure|vital signs|prognosis|survival|outcome)\b"
    rf"|\b(history|symptoms?|complaints?|age|sex|gender|clinical (?:findings|presentation|context|history)) of {_WHO}"
    rf"|\bhow old\b|\b(age|sex|gender) of the\b|\bhow long (?:has|had|was|did) {_WHO}|\bwhat (?:was done|surgery)\b"
    r"|\b(purpose|indication|reason|rationale) (?:of|for|in) (?:obtaining |performing |using |ordering |taking |this |the |an? )"
    r"|\bwhat is the primary purpose\b|\bwhy was (?:the|this|an?) (?:\w+ ){0,2}(scan|ct|mri|image|exam|study|x-ray)\b"
    r"|\b(time ?frame|time interval|date|how (?:many|long) (?:days|weeks|months|years)|when was)\b"
    r"|\b(?:patient|case) (?:number )?\d+\b|\bclinical context\b|\bthe patient (?:present|complain)"
    rf"|\b(treatment|therapy|management|prognosis|outcome|presentation|follow-?up)\b[^?]*\b(?:of|for|in|to) {_WHO}(?!\w)"
    rf"|\b(treatment|therapy|management|prognosis|outcome)\b[^?]* {_WHO}(?!\w)"
    r"|\bused to diagnose this case\b|\b(?:previously|already) (?:\w+ )?(?:performed|done|had|undergone)\b|\bhad previously\b"
    r"|\bpurpose of \w+ing\b[^?]*\b(?:this|the) (?:image|picture|patient|scan|x-ray|radiograph|case)\b",
    re.IGNORECASE,
)
_HERE = r"(?:(?:this|the) (?:patient|man|woman|boy|girl|child|infant|male|female|case)(?:'s|’s)?|his|her)"
_FELT = r"(?:symptoms?|complaints?|(?:biopsy|lab\w*) (?:tests?|results?|values?|findings?))"
_STORY = re.compile(
    rf"\b(?:{_FELT}|(?:clinical|initial) presentation|treatment|therapy|management|prognosis|treated|managed)\b[^?]*\b{_HERE}(?!\w)"
    rf"|\b{_HERE}(?: [\w-]+)* (?:{_FELT}|complain\w*|responds?|responded|recover\w*)\b",
    re.IGNORECASE,
)
"""How this patient felt and fared ..."""
_GENERAL = re.compile(
    r"\bdiagnos|\bcaus|\bexplain|\bresponsible|\bindicat|\btypical|\bstandard|\brecommended|\bcommon|\bpossible|\bpotential|\boptions\b"
    r"|\brelate|\bwill\b",
    re.IGNORECASE,
)
"""... unless a cause is asked for, or what holds in general."""
_MEASURE = re.compile(
    r"\b(?:what|which)(?:'s| is| are| was| were)? (?:the )?(?:\w+ ){0,2}(?:size|diameter|dimensions?|lengths?|widths?|volumes?"
    r"|measurements?|thickness|hounsfield|suv|weight|height)\b(?! of contrast)|\bhow (?:large|big|wide|thick|deep|tall|heavy)\b"
    r"|\bhow (?:long|much) (?:is|are|does)\b|\bwhat does \w+ measure\b|\bmeasure(?:s|d)? (?:in|how)\b",
    re.IGNORECASE,
)
_NOTHING = re.compile(
    r"\b(?:not|isn't|aren't|never|n't) (?:\w+ )?(?:specified|mentioned|provided|stated|available|given|disclosed|reported"
    r"|described|documented) *(?:in|by|here|for|from|$|[.,;)])|^none (?:mentioned|given|provided|stated|specified)"
    r"|\bcannot be (?:determined|answered|assessed|inferred)|\bno (?:information|mention|details?) (?:is|was|are|of|about|on|given|provided)"
    r"|\b(?:i|we) (?:don't|do not|cannot|can't) (?:know|tell|determine|see)\b|\bto be answered\b|\b(?:insufficient|not enough|isn't enough) information\b",
    re.IGNORECASE,
)
_CLOSED = re.compile(r"(?:is|are|was|were|does|do|did|can|could|has|have)\b", re.IGNORECASE)
_ALTERNATIVE = re.compile(r"\bor\b|\bversus\b|\bvs\b", re.IGNORECASE)
_WHY = re.compile(
    r"\bcaus(?:e|es|ed|ing)\b|\bwhy\b|\bresponsible for\b|\bindication\b|\bdue to\b|\b(?:purpose|reason) (?:of|for|in)\b",
    re.IGNORECASE,
)
_WHERE = re.compile(r"where\b", re.IGNORECASE)
_AGE = re.compile(r"\b(?:typical|usual|common|average) (?:age|time|duration)\b", re.IGNORECASE)
_MODALITY = re.compile(
    r"\bmodalit|\bimaging\b|\b(?:type|kind|sort) of (?:\w+ )?(?:image|imaging|scan|view|picture|examination|study)\b|\btechnique\b|\bsequence\b",
    re.IGNORECASE,
)
_ILLNESS = re.compile(
    r"\b\w+(?:oma|omas|omata|itis|osis|oses|emia|pathy|pathies|malacia|ectasis|ectasia|plasia|trophy|lithiasis|cele|penia|megaly|iasis)\b"
    r"|\b(?:syndrome|disease|cysts?|cancer|infarct\w*|aneurysms?|tumou?rs?|fractures?|abscess\w*|tuberculosis|h?emorrhage|h?ematoma|stroke"
    r"|hernia\w*|torsion|rupture\w*|obstruct\w*|thrombus|embol\w+|metasta\w+|malformation|dissection|fistula)\b",
    re.IGNORECASE,
)
_BECAUSE = re.compile(
    r"\b(?:due|owing|secondary|thanks) to\b|\bcaus\w+|\bbecause\b|\b\w+-induced\b|\bresult\w*|\bfrom\b|\bby\b|\bafter\b|\brelated"
    r"|\bin (?:a )?(?:case|patient)s? (?:of|with)\b|\btraumatic\b|\blead\w* to\b|\bconsistent\b|\bsuggest\w*|\bsecondary\b",
    re.IGNORECASE,
)
_DIAGNOSIS = re.compile(
    r"\b(?:likely|probable|suspected|final|primary|the) diagnos[ie]s\b|\blikely to have\b", re.IGNORECASE
)
_NAMES_ONE = re.compile(
    r"\bsuggest\w*|\bconsistent\b|\bcompatible\b|\brepresent\w*|\bsuspicious\b|\bsuspected\b|\blikely\b|\bdiagnos\w+|\bwith\b.*\b\w+"
    r"(?:oma|itis|osis|emia|pathy|syndrome|disease|cyst|cancer|infarct\w*|aneurysm)\b|^\w+ \w+\.|\bknown\b",
    re.IGNORECASE | re.DOTALL,
)
_GARBLED = re.compile(
    r"\ufffd|Ã[\x80-\xbf©¨¤¶¼]|â€|Â[\xa0-\xbf]|&(?:amp|lt|gt|quot|#\d+);|[\x00-\x08\x0b-\x1f\ud800-\udfff]|_x000D_"
)
_COMMON = {
    "en": _set("the of and in is a with to this are was shows showing what for by on at which an showed from as no"),
    "fr": _set("le la les des du et un une est avec dans sur au chez par montrant coupe droit gauche d'un d'une"),
    "es": _set("el los las del y una es por para que al muestra con derecho izquierdo"),
    "de": _set("der das und ist mit ein eine des dem den im zeigt von zu auf bei"),
    "pt": _set("os da do em um uma ao na mostrando com pela pelo direita esquerda"),
    "it": _set("il della del di nel una che con destra sinistra mostra"),
}
LANGUAGES = frozenset({*_COMMON, "zh"})


def not_a_question(pair: Pair, _: Limits) -> bool:
    """Neither a question mark nor a word that asks or tells to do something."""
    return not pair.instruction and not _ASKS.search(pair.question)


def refusal(pair: Pair, _: Limits) -> bool:
    """The model talks about itself instead."""
    return bool(REFUSAL.search(pair.question) or REFUSAL.search(pair.answer))


def speaks_of_text(pair: Pair, _: Limits) -> bool:
    """It speaks of the caption or the case text, which whoever looks at the picture does not have."""
    asked = not pair.instruction and _TEXT.search(pair.question)
    return bool(asked or (not pair.caption and _TEXT.search(pair.answer)))


def unseen(pair: Pair, _: Limits) -> bool:
    """History, age, names, dates, the purpose of the examination, how the patient felt or fared: no picture shows them."""
    told = _STORY.search(pair.question) and not _GENERAL.search(pair.question)
    return bool(_UNSEEN.search(pair.question) or told)


def measurement(pair: Pair, _: Limits) -> bool:
    """It asks for a size in units; a picture without its scale does not tell."""
    return bool(_MEASURE.search(pair.question))


def no_answer(pair: Pair, _: Limits) -> bool:
    """The answer says that there is none."""
    return not pair.caption and bool(NO_ANSWER.search(pair.answer) or _NOTHING.search(pair.answer))


def answer_in_question(pair: Pair, _: Limits) -> bool:
    """An open question that holds every content word of its answer (three in four of a caption's), and is no alternative."""
    if pair.kind != "open" or _ALTERNATIVE.search(pair.question) or _CLOSED.match(pair.question):
        return False
    answer = content(pair.answer)
    if pair.caption and not _MODALITY.search(pair.question) and not pair.answered - pair.asked - _VIEW:
        return True
    if len(answer) < (3 if pair.caption else 1) or pair.answer.lower().startswith(("yes", "no ", "no,")):
        return False
    if (
        _WHERE.match(pair.question) and len(answer) == 1 and pair.answered <= pair.asked
    ):  # where is the medial one? medially
        return True
    if pair.caption and {word[:STEM] for word in _new_illnesses(pair)} - pair.asked:
        return False
    return len(answer & content(pair.question)) / len(answer) >= (0.75 if pair.caption else 1.0)


def unsupported(pair: Pair, limits: Limits) -> bool:
    """Too few of the answer's content words, or not all of its numbers, are in the evidence or the question."""
    if not pair.evidence or pair.caption or not pair.answered:
        return False
    known = stems(pair.evidence) | pair.asked
    if len(pair.answered & known) < limits.support * len(pair.answered):
        known |= spelled_out(pair.answer, pair.evidence)
        known |= {short[:STEM].lower() for short in _SHORT.findall(pair.answer) if spelled_out(pair.evidence, short)}
    held = len(pair.answered & known) / len(pair.answered)
    return held < limits.support or not numbers(pair.answer) <= (numbers(pair.evidence) | numbers(pair.question))


def caption_no_answer(pair: Pair, _: Limits) -> bool:
    """The caption, taken as the answer, names no cause or no diagnosis where that is asked."""
    if not pair.caption:
        return False
    if _WHY.search(pair.question):
        return not _BECAUSE.search(pair.answer)
    if _AGE.search(pair.question):
        return True
    if not _DIAGNOSIS.search(pair.question) or _NAMES_ONE.search(pair.answer):
        return False
    return not _new_illnesses(pair)


def _new_illnesses(pair: Pair) -> set[str]:
    """Illnesses that the answer names and the question does not."""
    answer, question = (
        {match.group().lower() for match in _ILLNESS.finditer(text)} for text in (pair.answer, pair.question)
    )
    return answer - question


def length(pair: Pair, limits: Limits) -> bool:
    """Too short or too long; a Chinese character counts as a word."""
    low, high = limits.question_words
    least, most = limits.answer_words
    asked, answered = (len(_TOKEN.findall(text)) for text in (pair.question, pair.answer))
    return not (low <= asked <= high and least <= answered <= most)


def garbled(pair: Pair, _: Limits) -> bool:
    """Text that went through a wrong encoding, control characters, HTML entities."""
    return bool(_GARBLED.search(pair.question) or _GARBLED.search(pair.answer))


def other_language(pair: Pair, limits: Limits) -> bool:
    """Question or answer is in a language that is not wanted."""
    return any(language_of(text) not in (None, *limits.languages) for text in (pair.question, pair.answer))


def language_of(text: str) -> str | None:
    """By script, else by the commonest small words; None: too short to tell."""
    if not text.isascii():
        letters = [c for c in text if c.isalpha()]
        if sum("\u4e00" <= c <= "\u9fff" for c in letters) > len(letters) / 4:
            return "zh"
        if sum(c > "\u036f" for c in letters) > len(letters) / 2:
            return "other"
    words = _WORD.findall(text.lower())
    if len(words) < 5:
        return None
    hits = {name: sum(word in common for word in words) for name, common in _COMMON.items()}
    best = max(hits, key=lambda name: hits[name])
    return best if (hits[best] >= 3 and hits[best] > 2 * hits["en"]) or (hits[best] >= 2 and not hits["en"]) else "en"


CHECKS = (
    Check("encoding", "the text is garbled", garbled),
    Check("refusal", "the model refused or spoke of itself", refusal),
    Check("question", "not a question", not_a_question),
    Check("length", "too short or too long", length),
    Check("language", "another language", other_language),
    Check("text", "speaks of the caption or case text", speaks_of_text),
    Check("nothing", "the answer says there is none", no_answer),
    Check("unseen", "asks what no picture shows: history, person, date, purpose", unseen),
    Check("measurement", "asks for a measurement", measurement),
    Check("leak", "the question holds its answer", answer_in_question),
    Check("caption", "the caption does not answer it", caption_no_answer),
    Check("support", "the answer is not in the evidence", unsupported),
)
