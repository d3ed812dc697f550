"""Answers: equal to the library's generation, to one-by-one, and to a naive teacher-forced pass; blind only when asked."""

import re

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from transformers import PaliGemmaForConditionalGeneration

from radvqa.batch import collate, encode
from radvqa.errors import InputError
from radvqa.model import load
from radvqa.predict import Answer, Question, answer_batch, options_of, predict_arm, swap_pictures
from radvqa.sample import Corpus, CorpusWriter, Sample
from tiny import save_tiny

PROMPTS = ["answer en is there a mass?", "answer en what organ is shown in the picture?", "answer en where?"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def model(folder):
    return load(folder)


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(3, 3, 28, 28, generator=torch.Generator().manual_seed(5))


def questions(options=()):
    return [Question(i, p, options) for i, p in enumerate(PROMPTS)]


def make_samples(num_images=4, subjects=None):
    made = []
    for i in range(num_images):
        for j, (question, answer) in enumerate([("is there a mass?", "yes"), ("what organ?", "left lung")]):
            kind = "closed" if answer == "yes" else "open"
            subject = subjects[i] if subjects else f"s{i}"
            made.append(
                Sample(
                    id=f"{i}-{j}",
                    question=question,
                    answers=(answer,),
                    kind=kind,
                    split="test",
                    source="x",
                    subject=subject,
                )
            )
    return made


def make_corpus(out, samples):
    rng = np.random.default_rng(0)
    pictures = {}
    with CorpusWriter(out, {"name": "x"}) as writer:
        for sample in samples:
            number = sample.id.split("-")[0]
            pictures.setdefault(number, Image.fromarray(rng.integers(0, 255, (30, 40), dtype=np.uint8)))
            writer.add(sample, pictures[number])
    corpus = Corpus(out)
    return corpus, list(corpus.samples())


def test_greedy_answers_equal_the_librarys_generate(model, folder, pixels):
    network = PaliGemmaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    ours = answer_batch(model, pixels, questions(), max_new_tokens=6)
    rows = [encode(model.tokenizer, 4, p, None) for p in PROMPTS]
    batch = collate(rows, range(3), pixels, model.tokenizer.pad_token_id, side="left", layout="prefix")
    banned = model.family.banned_tokens(model.tokenizer)
    with torch.no_grad():
        out = network.generate(
            input_ids=batch.ids, attention_mask=batch.real.long(), token_type_ids=batch.causal.long(), pixel_values=pixels,
            do_sample=False, max_new_tokens=6, suppress_tokens=banned, output_scores=True, return_dict_in_generate=True,
        )  # fmt: skip
    for i, answer in enumerate(ours):
        tokens = out.sequences[i, batch.ids.shape[1] :]
        assert answer.text == model.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        steps = len(answer.token_logprobs)
        theirs = [out.scores[k][i].log_softmax(-1)[tokens[k]].item() for k in range(steps)]
        assert answer.token_logprobs == pytest.approx(theirs, abs=1e-4)


def test_the_answer_does_not_hold_the_prompt_and_only_words(model, pixels):
    for answer in answer_batch(model, pixels, questions(), max_new_tokens=20):
        assert answer.text and "answer en" not in answer.text
        assert not re.search(r"<(loc|seg|image|pad|bos)", answer.text)


def test_a_batch_equals_one_by_one(model, pixels):
    together = answer_batch(model, pixels, questions(("yes", "left lung")), max_new_tokens=8)
    for i, question in enumerate(questions(("yes", "left lung"))):
        alone = answer_batch(
            model, pixels[i : i + 1], [Question(0, question.prompt, question.options)], max_new_tokens=8
        )[0]
        assert alone.text == together[i].text
        assert alone.logprob == pytest.approx(together[i].logprob, abs=1e-4)
        assert alone.option_logprobs == pytest.approx(together[i].option_logprobs, abs=1e-4)


def test_weighing_options_leaves_the_answer_alone_and_equals_teacher_forcing(model, pixels):
    plain, weighed = (answer_batch(model, pixels, questions(o), max_new_tokens=8) for o in ((), ("no", "left lung")))
    assert [a.token_logprobs for a in plain] == [pytest.approx(a.token_logprobs, abs=1e-5) for a in weighed]
    banned = torch.tensor(model.family.banned_tokens(model.tokenizer))
    for i, prompt in enumerate(PROMPTS):
        for option, found in zip(("no", "left lung"), weighed[i].option_logprobs):
            row = encode(model.tokenizer, 4, prompt, option)
            batch = collate([row], [0], pixels[i : i + 1], 0, layout="prefix")
            with torch.no_grad():
                hidden = model.family.hidden(model.network, batch, model.family.encode(model.network, batch.pixels))
                logits = model.family.logits(model.network, hidden)
            logits[..., banned] = -torch.inf
            logprobs = logits.log_softmax(-1)[0]
            naive = sum(logprobs[t - 1, row.ids[t]].item() for t in range(row.num_prefix, len(row.ids)))
            assert found == pytest.approx(naive, abs=1e-4)


def test_the_picture_reaches_the_model(model, pixels):
    shown = answer_batch(model, pixels, questions(("yes", "no")))
    other = answer_batch(model, pixels.flip(0) * 2, questions(("yes", "no")))
    assert all(abs(a.option_logprobs[0] - b.option_logprobs[0]) > 1e-4 for a, b in zip(shown, other))


def test_an_answer_cut_at_the_limit_says_so(model, pixels):
    answers = answer_batch(model, pixels, questions(), max_new_tokens=1)
    assert [a.finished for a in answers] == [a.text == "" for a in answers]  # one token: finished only if it is eos


def test_probability_is_the_softmax_over_options():
    # exp(-1) / (exp(-1) + exp(-2)) = 1 / (1 + e^-1) = 0.7310586
    assert Answer("Yes", -1.2, (-1.2,), True, ("yes", "no"), (-1.0, -2.0)).probability == pytest.approx(0.7310586)
    assert Answer("maybe", -0.5, (-0.5,), True, ("yes", "no"), (-1.0, -2.0)).probability == pytest.approx(0.6065307)


def test_options_are_choices_or_yes_and_no():
    closed, open_ = make_samples(1)
    assert options_of(closed) == ("yes", "no") and options_of(open_) == ()


def test_shuffling_gives_every_picture_to_another_subject(tmp_path):
    _, samples = make_corpus(tmp_path / "c", make_samples(9, subjects=["a", "a", "b", "b", "c", "d", "e", "e", "f"]))
    swapped, subject = swap_pictures(samples, 0), {s.image: s.subject for s in samples}
    assert sorted(swapped) == sorted(swapped.values()) and len(swapped) == 9
    assert all(subject[a] != subject[b] for a, b in swapped.items())
    assert swapped == swap_pictures(samples[::-1], 0) != swap_pictures(samples, 1)


def test_shuffling_one_subject_is_refused(tmp_path):
    _, samples = make_corpus(tmp_path / "c", make_samples(3, subjects=["a", "a", "b"]))
    with pytest.raises(InputError, match="2 of 3 images are of one subject"):
        swap_pictures(samples, 0)


def test_predictions_of_each_control(tmp_path, folder, model):
    corpus, samples = make_corpus(tmp_path / "c", make_samples())
    frames = {}
    for control in ("none", "blank", "shuffled"):
        path = predict_arm(
            model_name=str(folder), adapter=None, sources=[(corpus, samples)], arm="base", control=control,
            folder=tmp_path / control, batch_size=3, max_new_tokens=4, model=model,
        )  # fmt: skip
        frames[control] = pl.read_parquet(path)
    assert frames["none"]["id"].to_list() == [s.id for s in samples]
    blank = frames["blank"].filter(pl.col("kind") == "closed")["option_logprobs"].to_list()
    assert all(row == blank[0] for row in blank)  # the same question about nothing has one answer
    seen = frames["none"].filter(pl.col("kind") == "closed")["option_logprobs"].to_list()
    assert len({row[0] for row in seen}) == 4
    shuffled = frames["shuffled"].filter(pl.col("kind") == "closed")["option_logprobs"].to_list()
    assert sorted(row[0] for row in shuffled) == pytest.approx(sorted(row[0] for row in seen), abs=1e-4)
    assert not any(a[0] == pytest.approx(b[0], abs=1e-5) for a, b in zip(seen, shuffled))


def test_batch_size_does_not_change_predictions(tmp_path, folder, model):
    corpus, samples = make_corpus(tmp_path / "c", make_samples())
    found = []
    for size in (1, 8):
        path = predict_arm(
            model_name=str(folder), adapter=None, sources=[(corpus, samples)], arm="base", control="none",
            folder=tmp_path / str(size), batch_size=size, max_new_tokens=4, model=model,
        )  # fmt: skip
        found.append(pl.read_parquet(path))
    assert found[0]["answer"].to_list() == found[1]["answer"].to_list()
    assert np.allclose(found[0]["logprob"], found[1]["logprob"], atol=1e-4)


def test_no_questions_and_questions_without_pictures_are_refused(tmp_path, folder, model):
    corpus, _ = make_corpus(tmp_path / "c", make_samples())
    common = {
        "model_name": str(folder),
        "adapter": None,
        "arm": "base",
        "control": "none",
        "folder": tmp_path / "p",
        "model": model,
    }
    with pytest.raises(InputError, match="no questions"):
        predict_arm(sources=[(corpus, [])], **common)
    with pytest.raises(InputError, match="2 questions have no picture"):
        predict_arm(sources=[(corpus, make_samples(1))], **common)
    assert not (tmp_path / "p").exists()
