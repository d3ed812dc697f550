"""Each check by a pair it must catch and one it must leave; repeats; a corpus through the filter and nothing lost."""

import json
import random
import zlib

import polars as pl
import pytest

from making import picture
from radvqa.curate.checks import CHECKS, Limits, Pair
from radvqa.curate.filter import examples, filter_corpus
from radvqa.curate.judging import EASY, IRRELEVANT, REPEAT, easy, judge
from radvqa.curate.repeats import MATTERS, Repeats
from radvqa.curate.sketches import sketch
from radvqa.curate.texts import _signatures, words
from radvqa.errors import InputError
from radvqa.sample import Corpus, CorpusWriter, Sample

CASES = {
    "encoding": (Pair("Where is the lesion?", "In the left â€œlobeâ€\x9d"), Pair("Where is the abscès?", "Left")),
    "refusal": (Pair("Where is it?", "I'm sorry, but I cannot see images"), Pair("Where is it?", "In the liver")),
    "question": (Pair("The liver of the patient.", "Left"), Pair("Describe the liver.", "Large")),
    "length": (Pair("Where?", "Left"), Pair("Where is it?", "Left")),
    "language": (
        Pair("What is shown?", "Coupe de TDM cérébrale montrant une lésion dans le lobe gauche"),
        Pair("What is shown?", "A postcontrast scan showed a huge calcified mass of the left lobe"),
    ),
    "text": (Pair("Which lesion is mentioned in the caption?", "Cyst"), Pair("Which lesion is shown?", "Cyst")),
    "nothing": (Pair("Is it large?", "Not specified in the text."), Pair("Is it large?", "It is not large.")),
    "unseen": (Pair("What is the age of the patient?", "73"), Pair("What are typical symptoms of gout?", "Pain")),
    "measurement": (Pair("What is the size of the mass?", "3 cm"), Pair("How many masses are there?", "Two")),
    "leak": (Pair("Where in the abdomen is the abdomen?", "Abdomen"), Pair("Is it left or right?", "Left")),
    "caption": (
        Pair("What is causing the defect?", "IVU showing a filling defect", evidence="x", caption=True),
        Pair("What is causing the defect?", "A defect due to a stone", evidence="x", caption=True),
    ),
    "support": (
        Pair("What is shown?", "A fracture of the femur", evidence="CT of the chest with a mass"),
        Pair("Which modality?", "Magnetic resonance", evidence="MR of the knee"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_each_check_catches_its_own_and_leaves_the_other(check):
    bad, good = CASES[check.name]
    assert check.bad(bad, Limits()) and judge(good, Limits()) is None
    assert judge(bad, Limits(off=tuple(c.name for c in CHECKS if c.name != check.name))) == check.reason


def test_the_languages_that_stay():
    french, chinese = "La tumeur est dans le lobe gauche du foie", "肿块位于左侧"
    for language, pair in (("fr", Pair("Where is it?", french)), ("zh", Pair("肿块在哪里？", chinese))):
        assert judge(pair, Limits()) == "another language"
        assert judge(pair, Limits(languages=("en", language))) is None
    assert judge(Pair("肿？", chinese), Limits(question_words=(3, 60), languages=("zh",))) == "too short or too long"


def test_numbers_must_be_in_the_evidence():
    evidence = "Two lesions of T11 with 3.5 cm"
    assert judge(Pair("Which vertebra is hit?", "T11 lesions", evidence=evidence), Limits()) is None
    assert judge(Pair("Which vertebra is hit?", "T12 lesions", evidence=evidence), Limits()) == CHECKS[-1].reason


def test_an_abbreviation_stands_for_its_words():
    for answer, evidence in (("Right Lower Lobe", "A nodule of the RLL"), ("SMA", "The superior mesenteric artery")):
        assert judge(Pair("Where is it?", answer, evidence=evidence), Limits()) is None
        other = evidence.replace("RLL", "LLL").replace("superior", "inferior")
        assert judge(Pair("Where is it?", answer, evidence=other), Limits()) == CHECKS[-1].reason


def found(rows, folder, *, at_once=1 << 20, block=7):
    """{place: earlier} of rows added block by block."""
    folder.mkdir()
    with Repeats(folder, at_once=at_once) as repeats:
        for at in range(0, len(rows), block):
            repeats.add(sketch(rows[at : at + block]))
        earlier = repeats.find()
    return {place: before for place, before in enumerate(earlier.tolist()) if before >= 0}


def plain(rows):
    """The same in memory, by the book: sets of words and triples, dictionaries of buckets, every candidate compared."""
    asked = [set(words(question)) for _, question, _ in rows]
    every = [words(question) + words(answer) for _, question, answer in rows]
    long = [len(e) >= 12 and len(words(row[2])) >= 5 for e, row in zip(every, rows)]
    triples = [{" ".join(e[at : at + 3]) for at in range(len(e) - 2)} if far else set() for e, far in zip(every, long)]
    alike = lambda a, b: len(a & b) / len(a | b) >= 0.8  # noqa: E731
    seen: dict[str, list[int]] = {}
    earlier: dict[int, int] = {}
    for place, (image, _, _) in enumerate(rows):
        mine = asked[place]
        for before in seen.setdefault(image, []) if image is not None else ():
            if mine == asked[before] or (
                alike(mine, asked[before]) and not (mine ^ asked[before]) & {*MATTERS.split()}
            ):
                earlier[place] = before
                break
        else:
            seen[image].append(place) if image is not None else None
    signatures = _signatures([frozenset(zlib.crc32(t.encode()) for t in some) for some in triples])
    pairs = set()
    for band in range(16):
        buckets: dict[bytes, list[int]] = {}
        for place in filter(long.__getitem__, range(len(rows))):
            bucket = buckets.setdefault(signatures[place, 4 * band : 4 * band + 4].tobytes(), [])
            pairs |= {(place, bucket[0]), (place, bucket[-1])} if bucket else set()
            bucket.append(place)
    for place, before in sorted(pairs):
        if place not in earlier and before not in earlier and alike(triples[place], triples[before]):
            earlier[place] = before
    return earlier


def test_repeats_on_one_image_and_across(tmp_path):
    long = "Bladder diverticula most often occur as a result of outlet obstruction in older men with a large prostate"
    rows = [
        ("i", "Is there a mass in the left upper lobe of the lung?", "Yes"),
        ("i", "Is there a mass in the right upper lobe of the lung?", "No"),  # another side: another question
        ("i", "Is there a mass in the left upper lobe of lung?", "Yes"),
        ("j", "Is there a mass in the left upper lobe of the lung?", "Yes"),  # short: alike, not copied
        ("j", "Why do bladder diverticula occur?", long),
        ("k", "Why do bladder diverticula occur?", long + "."),
        (None, "What makes bladder diverticula occur?", "They come from high pressure in the bladder over many years"),
    ]
    assert found(rows, tmp_path / "a") == plain(rows) == {2: 0, 5: 4} and found([], tmp_path / "b") == {}


def test_repeats_are_those_of_a_naive_comparison(tmp_path):
    rng, vocabulary = random.Random(0), [f"w{i}" for i in range(200)]
    texts = []
    for _ in range(60):
        base = rng.choices(vocabulary, k=30)
        texts += [base, [*base[:-1], "other"], [rng.choice(vocabulary) if rng.random() < 0.3 else w for w in base]]
    shingles = [{tuple(["why", *t][k : k + 3]) for k in range(len(t) - 1)} for t in texts]
    naive: dict[int, int] = {}
    for j in range(len(texts)):
        for i in range(j):
            if i not in naive and len(shingles[i] & shingles[j]) / len(shingles[i] | shingles[j]) >= 0.8:
                naive[j] = i
                break
    assert found([(str(i), "Why?", " ".join(text)) for i, text in enumerate(texts)], tmp_path / "r") == naive
    assert len(naive) >= 60


@pytest.mark.parametrize("at_once", [1, 50, 1 << 20])
def test_repeats_in_parts_are_those_in_one(tmp_path, at_once):
    """On few images, of few words, so that chains, buckets of many and both kinds of repeat occur."""
    rng, vocabulary = random.Random(1), [*"abcdefghij", "left", "right"]
    base = [rng.choices(vocabulary, k=20) for _ in range(12)]
    rows = []
    for _ in range(800):
        answer = [rng.choice(vocabulary) if rng.random() < 0.04 else word for word in rng.choice(base)]
        image = rng.choice([None, *map(str, range(120))])
        rows.append((image, " ".join(rng.choices(vocabulary, k=rng.choice([3, 6]))), " ".join(answer)))
    one = plain(rows)
    assert found(rows, tmp_path / "r", at_once=at_once, block=64) == one
    assert len(one) > 60 and any(rows[a][0] == rows[b][0] for a, b in one.items())


def test_repeats_of_the_real_pairs(real_data, tmp_path):
    """A fifth of the founding project's pairs, as they come, and each with a word changed."""
    from founding_pairs import labelled

    rows = [(name.rpartition("/")[0], pair.question, pair.answer) for name, pair in labelled(real_data).items()][::5]
    rows += [(f"{image}+", question, answer.replace("the", "one", 1)) for image, question, answer in rows]
    one = plain(rows)
    assert found(rows, tmp_path / "r", at_once=4096, block=1024) == one and len(one) > 1000


def corpus(folder, rows):
    with CorpusWriter(folder, {"name": "toy", "dropped": {}}) as writer:
        for i, fields in enumerate(rows):
            base = {"id": f"q{i}", "question": "Which side?", "answers": ("left",), "kind": "open", "split": "train"}
            writer.add(Sample(**{**base, "source": "toy", **fields}), picture(i))
    return Corpus(folder)


ROWS = [
    {"evidence": "Mass of the left lung"},
    {"question": "How old is the patient?"},
    {"question": "Which side is mentioned in the caption?"},
    {"question": "What is shown?", "answers": ("Mass of the left lung",), "evidence": "Mass of the left lung"},
    {"answers": ("right",), "evidence": "Mass of the left lung", "extra": {"case_findings": "on the right"}},
    {"answers": ("right",), "evidence": "Mass of the left lung"},
    {"answers": ("right",), "evidence": "Mass of the left lung", "extra": {"history": "pain on the right"}},
]


@pytest.mark.parametrize("workers", [1, 2])
def test_kept_and_dropped_are_all_there_were(tmp_path, workers):
    source = corpus(tmp_path / "a", ROWS)
    counts = filter_corpus(source, tmp_path / "b", workers=workers)
    kept, dropped = Corpus(tmp_path / "b"), pl.read_parquet(tmp_path / "b" / "dropped.parquet")
    assert [s.id for s in kept.samples()] == ["q0", "q3", "q4"] and dropped["id"].to_list() == ["q1", "q2", "q5", "q6"]
    assert sum(counts.values()) == 4 and all(dropped["reason"].is_not_null())
    assert kept.card["num_questions"] == 3 and sum(kept.card["dropped"].values()) == 4
    assert next(kept.samples()) == next(source.samples()) and kept.image(next(kept.samples()).image).size == (8, 6)
    assert [(reason, n) for reason, n, _ in examples(tmp_path / "b")] == sorted(
        counts.items(), key=lambda found: (-found[1], found[0])
    )
    with pytest.raises(InputError, match="nothing was filtered"):
        examples(tmp_path / "a")


def test_what_a_blind_model_answers_is_too_easy(tmp_path):
    source = corpus(tmp_path / "a", [{}, {"question": "Which organ?"}, {"question": "Which plane?"}])
    files = []
    for control, right in (("blank", ["q0", "q1"]), ("shuffled", ["q1", "q2"])):
        rows = [
            {"id": f"q{i}", "answers": ["left"], "answer": "Left." if f"q{i}" in right else "no", "control": control}
            for i in range(3)
        ]
        files.append(tmp_path / f"{control}.parquet")
        pl.DataFrame(rows).write_parquet(files[-1])
    assert easy(files) == {"q0": EASY, "q1": IRRELEVANT, "q2": EASY}
    assert filter_corpus(source, tmp_path / "b", blind=files[:1]) == {EASY: 2}
    pl.DataFrame([{"id": "q0", "answers": ["a"], "answer": "a", "control": "none"}]).write_parquet(files[0])
    with pytest.raises(InputError, match="control none"):
        easy(files)
    for wrong in (tmp_path / "a" / "questions.parquet", tmp_path / "a" / "card.json"):
        with pytest.raises(InputError, match="no predictions"):
            easy([wrong])


def test_bad_input(tmp_path):
    source = corpus(tmp_path / "a", [{}, {"image": None}])
    with pytest.raises(InputError, match="no check nope"):
        filter_corpus(source, tmp_path / "b", limits=Limits(off=("nope",)))
    with pytest.raises(InputError, match="klingon cannot be told; use de, en"):
        filter_corpus(source, tmp_path / "b", limits=Limits(languages=("klingon",)))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not delete")
    with pytest.raises(InputError):
        filter_corpus(source, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists() and not (tmp_path / "mine.partial").exists()
    file = source.folder / "questions.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"questions\.parquet: cannot be read"):
        filter_corpus(source, tmp_path / "b")
    assert not (tmp_path / "b").exists() and not (tmp_path / "b.partial").exists()


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    """Neither scratch nor a part of a corpus, whether it ends well, fails while judging or fails while writing."""
    source = corpus(tmp_path / "a", ROWS)
    filter_corpus(source, tmp_path / "b")
    assert sorted(file.name for file in (tmp_path / "b").iterdir()) == [
        "card.json", "dropped.parquet", "images-00000.parquet", "questions.parquet",
    ]  # fmt: skip
    for broken in ("Repeats.add", "Repeats.find"):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
            patch.setattr(f"radvqa.curate.repeats.{broken}", fail)
            filter_corpus(source, tmp_path / "c")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "b"]


def fail(*_):
    raise OSError("no space left on device")


def test_the_labelled_pairs(real_data):
    """The committed precision and recall, to the pair: of two sets the checks were mended on, and of two they were not."""
    from pathlib import Path

    from founding_pairs import labelled

    benchmarks, found = Path(__file__).parents[1] / "benchmarks", labelled(real_data)
    told = json.loads((benchmarks / "curation-replies.json").read_text())
    seen: set[str] = set()
    for name in ("curation-labels", "curation-labels-heldout", "curation-labels-heldout2", "curation-labels-heldout3"):
        labels = json.loads((benchmarks / f"{name}.json").read_text())["labels"]
        verdicts = [(label["bad"] is not None, judge(found[label["id"]], Limits()) is not None) for label in labels]
        counts = {
            "n": len(labels),
            "bad": sum(bad for bad, _ in verdicts),
            "dropped": sum(gone for _, gone in verdicts),
        }
        assert counts | {"right": sum(bad and gone for bad, gone in verdicts)} == {
            key: told[name][key] for key in (*counts, "right")
        }
        assert not seen & {label["id"] for label in labels}
        seen |= {label["id"] for label in labels}
    assert len(seen) == 800 and told["curation-labels"]["precision"] >= 0.9 and told["curation-labels"]["recall"] >= 0.8


def test_a_repeat_names_the_earlier_pair(tmp_path):
    row = {"question": "Is there a mass in the left lung?", "answers": ("yes",)}
    with CorpusWriter(tmp_path / "a", {}) as writer:
        for i in range(2):
            writer.add(Sample(id=f"q{i}", kind="closed", split="train", source="toy", **row), picture(0))
        options = {"kind": "choice", "choices": ("yes", "no", "cannot be told from this view alone")}
        writer.add(Sample(id="q2", split="train", source="toy", **row, **options), picture(0))  # another question
    assert filter_corpus(Corpus(tmp_path / "a"), tmp_path / "b") == {REPEAT: 1}
    assert pl.read_parquet(tmp_path / "b" / "dropped.parquet")["detail"].to_list() == ["of q0"]


def test_what_was_dropped_before_is_added_to(tmp_path):
    source = corpus(tmp_path / "a", ROWS)
    filter_corpus(source, tmp_path / "b", limits=Limits(off=("support",)))
    more = filter_corpus(Corpus(tmp_path / "b"), tmp_path / "c")
    last = filter_corpus(Corpus(tmp_path / "c"), tmp_path / "d")
    assert Corpus(tmp_path / "d").card["dropped"] == filtered_at_once(source, tmp_path / "e") and more and not last
    assert Corpus(tmp_path / "d").card["num_images"] == 3
    with CorpusWriter(tmp_path / "none", {}):
        pass
    assert not filter_corpus(Corpus(tmp_path / "none"), tmp_path / "f")
    assert Corpus(tmp_path / "f").card["num_questions"] == 0


def filtered_at_once(source, folder):
    filter_corpus(source, folder)
    return Corpus(folder).card["dropped"]


@pytest.mark.parametrize(
    ("question", "answer", "caption", "reason"),
    [
        (
            "What is the recommended treatment for this patient's disease?",
            "Surgery",
            False,
            "asks what no picture shows",
        ),
        ("What is the treatment of Crohn disease?", "Surgery", False, None),
        ("What was the outcome for patients with chorea?", "They recovered", False, None),
        ("Where is the medial hyperintensity located?", "Medially.", False, "the question holds its answer"),
        ("Is the lesion described as solid?", "Yes", False, "speaks of the caption"),
        ("What does the CT scan show?", "CT.", True, "the question holds its answer"),
        ("What type of imaging is this?", "CT.", True, None),
        (
            "What is the typical age range?",
            "A 9-year-old girl with hip dysplasia",
            True,
            "the caption does not answer it",
        ),
        ("What is the most likely diagnosis?", "Cord with myelomalacia at C4", True, None),
        ("What is the most likely diagnosis of the mass?", "A mass of the left lobe of the liver", True, "the caption"),
        ("What is the purpose of inserting a drain?", "Full expansion of the left lung", True, "the caption"),
        ("What symptoms were reported by the patient?", "Neck pain", False, "asks what no picture shows"),
        ("How did this patient respond to antibiotics?", "Well", False, "asks what no picture shows"),
        ("What is causing the symptoms in this woman?", "A herniated disc", False, None),
        ("What are common symptoms of a tumour like the one in this case?", "Headache", False, None),
        ("What does the CT of the chest with a mass show?", "CT of the chest with a mass", True, "the question holds"),
        ("What does the CT of the chest with a mass show?", "CT of the chest: lymphoma, a mass", True, None),
        ("Which fracture is it?", "Fracture sus et intercondylienne de la palette humérale", False, "another language"),
    ],
)
def test_where_a_line_is_drawn(question, answer, caption, reason):
    found = judge(Pair(question, answer, evidence=answer, caption=caption), Limits())
    assert found is None if reason is None else found is not None and found.startswith(reason), found
