"""The only place that words a prompt: training, prediction and saliency all call these two functions.

In: a question, its choices and its language, or a Sample. Out: the text a model reads, and the text it should answer.

    prompt("Is there a mass?")                      # 'answer en Is there a mass?'
"""

from __future__ import annotations

from collections.abc import Sequence

from radvqa.errors import InputError
from radvqa.sample import Sample

STYLES = {"paligemma": "answer {language} {question}", "plain": "{question}"}
"""`paligemma` is what PaliGemma's mix checkpoints were trained to expect; `plain` is the bare question."""
BRIEFLY = "Answer with a single word or a short phrase."
"""What a served chat model is told below the question: left alone it writes paragraphs, which no reference does."""


def prompt(question: str, choices: Sequence[str] = (), language: str = "en", style: str = "paligemma") -> str:
    """The text in front of the answer, on one line: the newline that ends a prompt is batch.py's.

    Choices follow the question with their letters. Raises InputError for an unknown style.
    """
    if style not in STYLES:
        raise InputError(f"unknown prompt style {style!r}", key="prompt", fix="use " + " or ".join(STYLES))
    words = " ".join(question.split())
    if choices:
        words += " " + " ".join(f"{chr(65 + i)}: {' '.join(choice.split())}" for i, choice in enumerate(choices))
    return STYLES[style].format(language=language, question=words)


def sample_prompt(sample: Sample, style: str = "paligemma") -> str:
    """The prompt of one Sample; a turn of a conversation has the turns before it in front (extra: before)."""
    question = f"{sample.extra.get('before', '')} {sample.question}"
    return prompt(question, sample.choices if sample.kind == "choice" else (), sample.language, style)


def served_prompt(sample: Sample, instruction: str = BRIEFLY) -> str:
    """The text that a served chat model is asked: question, choices if there are some, instruction."""
    asked = sample_prompt(sample, "plain")
    return f"{asked}\n{instruction}" if instruction else asked


def sample_target(sample: Sample) -> str:
    """The answer that training teaches: the first, on one line; for a choice question the option's text."""
    return " ".join(sample.answers[0].split())
