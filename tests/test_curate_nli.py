"""The entailment check of the filter, on a tiny classifier: it learns here that "present" entails and "absent" contradicts."""

import random
import re

import polars as pl
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast
from typer.testing import CliRunner

from making import picture  # isort: skip
from radvqa.cli import app
from radvqa.curate.checks import Pair
from radvqa.curate.steps import curate
from radvqa.curate.support import CONTRADICTED
from radvqa.curate.support_nli import STATEMENT, Entailment, places_of, verdict_of
from radvqa.errors import InputError
from radvqa.recipe_sections import Curate
from radvqa.sample import Corpus, CorpusWriter, Sample

TELLS = {"absent": 0, "present": 2}
LABELS = {0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"}
FILL = [f"w{i}" for i in range(20)]
LONGEST = 40
PAIR = Pair("Which side", "left")


def tokenizer():
    pieces = re.findall(r"\w+|[^\w ]", STATEMENT.format(question=PAIR.question, answer=PAIR.answer))
    names = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *pieces, *TELLS, *FILL])
    made = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pair = "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1"
    made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", pair, [("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=LONGEST, model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def text(rng, length, *tells):
    """Words that say nothing, and among them those that do."""
    words = rng.choices(FILL, k=length)
    for tell in tells:
        words.insert(rng.randrange(len(words) + 1), tell)
    return " ".join(words)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder, reads, rng = tmp_path_factory.mktemp("nli") / "tiny-nli", tokenizer(), random.Random(0)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.1}
    config = BertConfig(vocab_size=len(reads), **sizes, max_position_embeddings=LONGEST + 2, id2label=LABELS, **still)
    network = BertForSequenceClassification(config)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    said = STATEMENT.format(question=PAIR.question, answer=PAIR.answer)
    for _ in range(80):
        tells = [rng.choice([None, *TELLS]) for _ in range(32)]
        evidence = [text(rng, rng.randrange(1, 20), *filter(None, [tell])) for tell in tells]
        batch = reads(evidence, [said] * 32, padding=True, return_tensors="pt")
        loss = network(**batch, labels=torch.tensor([TELLS.get(tell, 1) for tell in tells])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.save_pretrained(folder)
    reads.save_pretrained(folder)
    return folder


def pairs(rng, number, longest):
    """Pairs of that evidence, and the verdicts they should get."""
    tells = [rng.choice([None, *TELLS]) for _ in range(number)]
    made = [
        Pair(PAIR.question, PAIR.answer, evidence=text(rng, rng.randrange(1, longest), *filter(None, [t])))
        for t in tells
    ]
    return made, [{"present": True, "absent": False}.get(tell) for tell in tells]


@pytest.fixture
def entailment(checkpoint, tmp_path):
    made = Entailment(checkpoint, tmp_path / "verdicts.sqlite")
    yield made
    made.close()


def test_what_is_entailed_contradicted_and_neither(entailment):
    made, right = pairs(random.Random(1), 60, 15)
    assert list(entailment.verdicts(made)) == right and {True, False, None} == set(right)


def test_a_batch_is_its_pairs_one_by_one(entailment, checkpoint, tmp_path):
    made, _ = pairs(random.Random(2), 40, 120)
    other = Entailment(checkpoint, tmp_path / "one.sqlite")
    assert list(entailment.verdicts(made)) == [next(other.verdicts([pair])) for pair in made]
    other.close()


def test_of_long_evidence_the_window_that_entails_most_counts(entailment):
    """Against every window cut by hand: 40 tokens, of which 3 mark and 17 are the statement, overlapping by 10."""
    made, right = pairs(random.Random(3), 30, 150)
    statement = STATEMENT.format(question=PAIR.question, answer=PAIR.answer)
    room = LONGEST - 3 - len(entailment._tokenizer(statement, add_special_tokens=False)["input_ids"])
    for pair, verdict in zip(made, entailment.verdicts(made)):
        words = pair.evidence.split()
        starts = range(0, max(1, len(words) - room + (room - 10)), room - 10)
        parts = [" ".join(words[at : at + room]) for at in starts if at == 0 or at + 10 < len(words)]
        shares = [entailment._ask([(part, statement)])[0] for part in parts]
        assert verdict is verdict_of(max(shares, key=lambda share: share["entailment"]))
    at_last = Pair(PAIR.question, PAIR.answer, evidence=text(random.Random(4), 100) + " present")
    assert next(entailment.verdicts([at_last])) is True
    assert sum(len(pair.evidence.split()) > room for pair in made) > 15 and {True, None} <= set(right)


def test_a_verdict_is_kept(entailment, checkpoint, tmp_path, monkeypatch):
    made, _ = pairs(random.Random(5), 20, 60)
    first = list(entailment.verdicts(made))
    again = Entailment(checkpoint, tmp_path / "verdicts.sqlite")
    monkeypatch.setattr(again, "_network", None)  # whoever asks it now fails
    assert list(again.verdicts([*made[5:], *made[:5]])) == first[5:] + first[:5]
    with pytest.raises(TypeError):
        list(again.verdicts([Pair("Which side", "right", evidence="w1")]))
    again.close()


def test_a_statement_is_never_cut(entailment):
    long = Pair("Which side", "left " * LONGEST, evidence="present")
    assert list(entailment.verdicts([long, Pair(PAIR.question, PAIR.answer, evidence="present")])) == [None, True]


def test_the_likeliest_counts():
    assert verdict_of({"entailment": 0.5, "contradiction": 0.1}) is True
    assert verdict_of({"entailment": 0.1, "contradiction": 0.5}) is False
    assert verdict_of({"entailment": 0.3, "contradiction": 0.3}) is None and verdict_of({}) is None


def test_classes_are_found_by_their_names(checkpoint, tmp_path):
    assert places_of({0: "entailment", 1: "neutral", 2: "contradiction"}, tmp_path) == (0, 2)
    for labels in ({0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}, {0: "entailment", 1: "not_entailment"}):
        with pytest.raises(InputError, match=f"its labels are {', '.join(labels.values())}; one must name"):
            places_of(labels, tmp_path)


def test_what_is_no_entailment_model_is_refused(checkpoint, tmp_path):
    with pytest.raises(InputError, match=r"no config\.json"):
        Entailment(tmp_path, tmp_path / "v.sqlite")
    headless = BertModel(BertConfig.from_pretrained(checkpoint))
    headless.save_pretrained(tmp_path / "headless")
    tokenizer().save_pretrained(tmp_path / "headless")
    with pytest.raises(InputError, match="no weights for classifier"):
        Entailment(tmp_path / "headless", tmp_path / "v.sqlite")


def test_from_the_command_line_and_in_a_recipe(checkpoint, tmp_path):
    """Two are contradicted, one of them a caption as its own answer, which is not asked."""
    evidence = ["w1 present", "w2 absent", "w3", "w4 absent"]
    with CorpusWriter(tmp_path / "a", {"name": "toy"}) as writer:
        for i, said in enumerate(evidence):
            about = {"kind": "open", "split": "train", "source": "toy", "evidence": f"{said} left"}
            answer = about["evidence"] if i == 3 else "left"
            writer.add(Sample(id=f"q{i}", question="Which side?", answers=(answer,), **about), picture(i))
    command = ["filter", str(tmp_path / "a"), "--out", str(tmp_path / "b"), "--nli", str(checkpoint)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0 and "nli: asked of 3 pairs, 1 pairs without a verdict stay" in done.output, done.output
    gone = pl.read_parquet(tmp_path / "b" / "dropped.parquet")
    assert gone.select("id", "reason").rows() == [("q1", CONTRADICTED)] and (tmp_path / "b.calls.sqlite").is_file()
    told = {"model": "tiny-nli", "asked": 3, "without_verdict": 1}
    assert Corpus(tmp_path / "b").card["support"] == {"nli": told}
    said = curate(Corpus(tmp_path / "a"), tmp_path / "c", Curate(nli=checkpoint))
    assert said.endswith("1 filtered out, 3 stay; nli: 1 of 3 without a verdict stay")
    assert [s.id for s in Corpus(tmp_path / "c").samples()] == ["q0", "q2", "q3"]
    wrong = CliRunner().invoke(app, [*command[:-1], str(tmp_path)])
    assert wrong.exit_code == 2 and "not a model folder" in wrong.output
    with pytest.raises(ValueError, match="nothing is filtered"):
        Curate(filter=False, nli=checkpoint)
