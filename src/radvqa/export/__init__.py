"""A corpus in the forms that other tools read.

In: a corpus folder. Out: a new folder (it takes its name when it is complete) with

    huggingface   data/<split>-*.parquet with the Image feature, README.md, croissant.json; `load_dataset(folder)` reads it
    jsonl         questions.jsonl and images/: a JSON object a question
    llava         <split>.json and images/: LLaVA's conversations
    vlmevalkit    <name>_MCQ.tsv and <name>_VQA.tsv with the pictures in base64

and card.json: licence, citation and counts travel along.

    export(Corpus("corpora/vqa_rad"), Path("vqa_rad-hf"), "huggingface")

Imported again (with `huggingface`, `table`, `llava`, `vlmevalkit`) they give the same Samples and the same pictures.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

from radvqa.errors import InputError
from radvqa.export import huggingface, jsonl, llava, vlmevalkit
from radvqa.sample import Corpus

Form = Literal["huggingface", "jsonl", "llava", "vlmevalkit"]
FORMS: dict[str, Callable[[Corpus, Path], Counter[str]]] = {
    "huggingface": huggingface.write,
    "jsonl": jsonl.write,
    "llava": llava.write,
    "vlmevalkit": vlmevalkit.write,
}
"""Each writes a corpus into an empty folder and gives how many questions it had to leave out, by reason."""


def export(corpus: Corpus, out: str | Path, form: Form | str) -> dict[str, Any]:
    """Write the corpus into the new folder `out`; what was written: form, questions, left_out (by reason), folder.

    Raises InputError for an unknown form or a folder that is there already.
    """
    out = Path(out)
    if form not in FORMS:
        raise InputError(f"unknown form {form!r}", key="form", fix="use " + ", ".join(get_args(Form)))
    if out.exists():
        raise InputError("it is there already", file=out, fix="give the name of a new folder")
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        left_out = FORMS[form](corpus, partial)
        card = json.dumps(corpus.card, indent=2, ensure_ascii=False) + "\n"
        (partial / "card.json").write_text(card, encoding="utf-8")
        partial.rename(out)
    except OSError as error:
        raise InputError(f"it cannot be written ({error.strerror or error})", file=out) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    questions = corpus.table.height - left_out.total()
    return {"form": form, "questions": questions, "left_out": dict(left_out), "folder": out}


__all__ = ["FORMS", "Form", "export"]
