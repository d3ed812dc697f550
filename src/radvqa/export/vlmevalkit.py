"""VLMEvalKit's tables: tab-separated, pictures in base64; choice questions in one file, all others in another.

    index  id         image      question  A    B    C    D    answer  category  split  sample
    0      pmc_vqa-7  /9j/4AAQ…  What ...  CT   MR   US   PET  B       modality  test   {"id": ...}
    1      pmc_vqa-8  0          ...

`<name>_MCQ.tsv` has the options in columns of their letter and the letter as `answer`; `<name>_VQA.tsv` the first answer.
A picture that was there before is named by the index of its row, as the tool's own tables do. `sample` holds every field
as in JSON lines; the tool passes it over, and `radvqa import vlmevalkit` gives the same Samples. Left out, and counted:
questions without a picture, and choice questions whose answer is none of the choices or that have more than 26.
"""

from __future__ import annotations

import base64
import csv
import json
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from radvqa.export.jsonl import as_json
from radvqa.sample import Corpus, Sample


def write(corpus: Corpus, folder: Path) -> Counter[str]:
    """The tables that have rows; how many questions were left out, by reason."""
    left_out: Counter[str] = Counter()
    name = str(corpus.card.get("name") or corpus.folder.name)
    letters = _letters(corpus)
    tables: dict[bool, _Table] = {}
    with ExitStack() as stack:
        for sample in corpus.samples():
            reason = _reason_against(sample)
            if reason:
                left_out[reason] += 1
                continue
            choice = sample.kind == "choice"
            if choice not in tables:
                file = folder / f"{name}_{'MCQ' if choice else 'VQA'}.tsv"
                stream = stack.enter_context(file.open("w", encoding="utf-8", newline=""))
                tables[choice] = _Table(csv.writer(stream, delimiter="\t", lineterminator="\n"), letters * choice)
            tables[choice].add(sample, corpus)
    return left_out


def _letters(corpus: Corpus) -> str:
    most = max((len(choices or ()) for choices in corpus.table["choices"].to_list()), default=0)
    return ascii_uppercase[:most]


def _reason_against(sample: Sample) -> str | None:
    if sample.image is None:
        return "a question without a picture"
    if sample.kind == "choice" and len(sample.choices) > len(ascii_uppercase):
        return "more than 26 choices"
    if sample.kind == "choice" and sample.answers[0] not in sample.choices:
        return "the answer is none of the choices"
    return None


class _Table:
    """One file: every picture in base64 once, then by the index of its first row."""

    def __init__(self, writer: Any, letters: str) -> None:
        self._writer, self._letters = writer, letters
        self._first_row: dict[str, int] = {}
        self._num_rows = 0
        writer.writerow(["index", "id", "image", "question", *letters, "answer", "category", "split", "sample"])

    def add(self, sample: Sample, corpus: Corpus) -> None:
        assert sample.image is not None
        row = self._first_row.get(sample.image)
        image = base64.b64encode(corpus.image_bytes(sample.image)).decode("ascii") if row is None else row
        self._first_row.setdefault(sample.image, self._num_rows)
        options = [*sample.choices, *[""] * len(self._letters)][: len(self._letters)]
        answer = sample.answers[0]
        if self._letters:
            answer = self._letters[sample.choices.index(answer)]
        head = [self._num_rows, sample.id, image, sample.question]
        whole = json.dumps(as_json(sample), ensure_ascii=False)
        self._writer.writerow([*head, *options, answer, sample.topic or "", sample.split, whole])
        self._num_rows += 1
