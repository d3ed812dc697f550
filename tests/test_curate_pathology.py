"""Findings with their status, by hand; corpora chosen by them."""

from collections import Counter

import numpy as np
import pytest

from radvqa.curate.lexicon import LEXICON
from radvqa.curate.pathology import (
    cap,
    common,
    enrich,
    findings_in,
    findings_of,
    mentions,
    present,
    select,
    side_of,
    value_counts,
)
from radvqa.errors import InputError
from radvqa.sample import Sample

P, U, A = "present", "uncertain", "absent"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Right pleural effusion with atelectasis.", {"pleural effusion": P, "atelectasis": P}),
        ("No evidence of pneumothorax or pleural effusion.", {"pneumothorax": A, "pleural effusion": A}),
        ("No pleural effusion. Cannot exclude pneumonia.", {"pleural effusion": A, "pneumonia": U}),
        ("Pneumonia cannot be excluded.", {"pneumonia": U}),
        ("There is no fracture, but there is a dislocation.", {"fracture": A, "dislocation": P}),
        ("Without change in the large mass.", {"mass": P}),
        ("A mass suspicious for lymphoma", {"mass": P, "lymphoma": U}),
        ("Findings consistent with pulmonary embolism", {"pulmonary embolism": P}),
        ("Possible meningioma versus schwannoma", {"meningioma": U, "schwannoma": U}),
        ("The previous hematoma has resolved", {"hemorrhage": A}),
        ("No hydronephrosis was noted. A stone is seen.", {"hydronephrosis": A, "stone": P}),
        ("Pleural effusions are not seen; cardiomegaly is present", {"pleural effusion": A, "cardiomegaly": P}),
        ("Neither hemorrhage nor infarct", {"hemorrhage": A, "infarct": A}),
        ("No mass. A mass of 2.5 cm is seen in the left lobe.", {"mass": P}),
        ("Lesion without mass effect or edema", {"mass effect": A, "edema": A}),
        ("Rule out fracture", {"fracture": U}),
        ("Cystic lesion of the pancreas negative for calcification", {"cyst": P, "calcification": A}),
        ("Not only a fracture but a dislocation", {"fracture": P, "dislocation": P}),
        ("The heart is normal.", {}),
    ],
)
def test_status_by_hand(text, expected):
    assert findings_in(text) == expected


def test_every_entry_is_found_by_its_own_name():
    missed = [name for name in LEXICON if name not in findings_in(f"There is {name} here, a partial tear of a tendon, lytic.")
              and name not in ("lytic lesion", "enhancement", "wall thickening", "tear")]  # fmt: skip
    assert missed == []
    assert findings_in("Homogeneously enhancing; wall thickening; lytic") == {
        "enhancement": P,
        "wall thickening": P,
        "lytic lesion": P,
    }
    cuis = [cui for entry in LEXICON.values() for cui in entry.cuis]
    assert len(cuis) == len(set(cuis))


def test_mentions_say_where():
    text = "Large pleural effusion"
    assert text[mentions(text)[0].start : mentions(text)[0].end] == "pleural effusion"


def sample(i, evidence, **more):
    return Sample(id=f"q{i}", question="What?", answers=("x",), kind="open", split="train", source="s", evidence=evidence,
                  **{"image": f"i{i}", **more})  # fmt: skip


def test_concepts_count_unless_the_text_denies_them():
    known = sample(0, "Chest", extra={"cuis": ["C0032227", "C0000000"]})
    assert findings_of(known) == {"pleural effusion": P}
    denied = sample(1, "No pleural effusion", extra={"cuis": ["C0032227"]})
    assert findings_of(denied) == {"pleural effusion": A} and present(denied) == ()


def test_sides():
    assert (
        side_of("A mass in the left lung") == "left"
        and side_of("left and right") is None
        and side_of("bilateral") is None
    )


SAMPLES = [
    sample(i, t) for i, t in enumerate(["fracture"] * 6 + ["cyst"] * 3 + ["cyst and fracture", "normal", "no cyst"])
]


def test_counts_are_of_pictures():
    assert value_counts(SAMPLES) == {"fracture": 7, "cyst": 4} and common(SAMPLES, 1) == ("fracture",)
    twice = [*SAMPLES, sample(0, "fracture")]
    assert value_counts(twice)["fracture"] == 7 and value_counts(twice, images=False)["fracture"] == 8
    with pytest.raises(InputError, match="finding, modality"):
        value_counts(SAMPLES, "colour")


def test_select_cap_enrich():
    assert [s.id for s in select(SAMPLES, ["cyst"])] == ["q6", "q7", "q8", "q9"]
    few = cap(SAMPLES, 2, seed=1)
    assert (
        few == cap(SAMPLES, 2, seed=1)
        and max(value_counts(few).values()) == 2
        and {"q10", "q11"} <= {s.id for s in few}
    )
    times = Counter(enrich(SAMPLES, {"cyst": 2.5}).tolist())
    assert all(times[i] == 1 for i in range(6)) and all(times[i] in (2, 3) for i in range(6, 10)) and times[10] == 1
    assert np.bincount(enrich(SAMPLES, {"fracture": 0.0}), minlength=12)[:6].sum() == 0
