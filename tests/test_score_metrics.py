"""The metrics: unit tests by hand, parity with the packages, and the behaviours that other scorers get wrong."""

import itertools
import math
import random

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import sentence_bleu
from rouge_score.rouge_scorer import RougeScorer

from radvqa.errors import InputError
from radvqa.score import METRICS
from radvqa.score.bleu import bleu, bleu_nltk, bleu_statistics, corpus_bleu
from radvqa.score.closed import closed_accuracy, yes_or_no
from radvqa.score.exact import exact_match, verbatim_match
from radvqa.score.likelihood import option_accuracy
from radvqa.score.rouge import longest_common, rouge_1, rouge_2, rouge_l
from radvqa.score.text import normalise, words
from radvqa.score.tokens import token_f1, token_precision, token_recall

TEXTUAL = [metric for metric in METRICS.values() if metric.uses == "answer" and not metric.extra]
VOCABULARY = "the a left right lung effusions T2-weighted no yes 3.5 cm, opacity. Pleural masses &amp; (mild) is of"


def sentences(number: int, longest: int = 14) -> list[str]:
    rng = random.Random(7)
    return [" ".join(rng.choices(VOCABULARY.split(), k=rng.randint(1, longest))) for _ in range(number)]


# ---------------------------------------------------------------- reading a text


def test_words_keep_what_carries_meaning():
    assert words("The T2-weighted image, 3.5 cm") == ("t2", "weighted", "image", "3.5", "cm")
    assert words("vitamin A") == ("vitamin", "a") and words("A") == ("a",) and words("a mass") == ("mass",)
    assert words("Crohn\u2019s") == words("Crohn's") == ("crohns",)
    assert words("左肺") == ("左", "肺")
    assert normalise("  The Left-Lung. ") == "left lung"
    assert words("?!") == ()


# ---------------------------------------------------------------- closed questions


def test_normal_is_not_no():
    assert yes_or_no("The lungs are normal, nothing is known") is None
    assert closed_accuracy("normal", ["no"]) == 0.0


def test_yes_and_no_together_are_wrong_whatever_is_right():
    assert closed_accuracy("yes ... no", ["yes"]) == 0.0
    assert closed_accuracy("yes ... no", ["no"]) == 0.0


def test_closed_by_the_word():
    assert closed_accuracy("No, it is normal.", ["no"]) == 1.0
    assert closed_accuracy("Yes.", ["No"]) == 0.0
    assert closed_accuracy("I cannot tell", ["yes"]) == 0.0


def test_closed_is_not_only_yes_and_no():
    assert closed_accuracy("The MRI.", ["MRI"]) == 1.0
    assert closed_accuracy("no MRI", ["MRI"]) == 0.0
    assert closed_accuracy("no fracture", ["no"]) == 1.0
    assert closed_accuracy("no", ["no fracture"]) == 0.0  # the reference is not just a no


def test_any_reference_makes_a_closed_answer_right():
    assert closed_accuracy("right", ["left", "right"]) == 1.0
    assert closed_accuracy("yes", ["no", "yes"]) == 1.0


# ---------------------------------------------------------------- exact and tokens


def test_exact_and_verbatim():
    assert exact_match("the left lung.", ["Left lung"]) == 1.0
    assert verbatim_match("the left lung.", ["Left lung"]) == 0.0
    assert verbatim_match(" left lung\n", ["left lung"]) == 1.0
    assert exact_match("left lungs", ["left lung"]) == 0.0


def test_tokens_by_hand():
    # answer {left, lung, mass}, reference {left, upper, lung, lobe}: 2 in common
    answer, reference = "a left lung mass", ["left upper lung lobe"]
    assert token_precision(answer, reference) == 2 / 3
    assert token_recall(answer, reference) == 2 / 4
    assert token_f1(answer, reference) == pytest.approx(2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2), abs=1e-15)


def test_repeating_a_word_raises_nothing():
    reference = ["left upper lobe"]
    assert token_recall("left left left", reference) == token_recall("left", reference) == 1 / 3
    assert token_precision("left left left", reference) == 1 / 3  # and costs precision
    assert token_f1("left left left", reference) < token_f1("left", reference)


def test_every_metric_takes_the_best_reference():
    for metric in TEXTUAL:
        many = metric.function("left lung mass seen", ["brain", "left lung mass seen"])
        assert many == metric.function("left lung mass seen", ["left lung mass seen"]), metric.name


# ---------------------------------------------------------------- outcomes: right, wrong, unscored


@pytest.mark.parametrize("name", [metric.name for metric in TEXTUAL])
def test_an_empty_answer_is_wrong_and_an_unreadable_reference_unscored(name):
    function = METRICS[name].function
    assert function("", ["yes"]) == 0.0
    assert function("  ", ["left lung"]) == 0.0
    assert function("yes", [" "]) is None
    assert function("yes", []) is None


def test_chinese_is_unscored_by_rouge_and_not_a_silent_zero():
    assert rouge_l("左肺", ["左肺"]) is None
    assert token_f1("左肺", ["左肺"]) == 1.0


@given(st.text(max_size=40), st.lists(st.text(max_size=40), max_size=3))
@settings(max_examples=150, deadline=None)
def test_any_text_gives_a_share_or_none(answer, references):
    for metric in TEXTUAL:
        value = metric.function(answer, references)
        assert value is None or 0.0 <= value <= 1.0 + 1e-12, metric.name
        if metric.binary:
            assert value in (None, 0.0, 1.0), metric.name


# ---------------------------------------------------------------- option likelihood


def test_option_likelihood():
    assert option_accuracy(["CT", "MR"], [-0.2, -1.7], ["ct"]) == 1.0
    assert option_accuracy(["CT", "MR"], [-2.2, -1.7], ["ct"]) == 0.0
    assert option_accuracy(["CT", "MR"], [-1.0, -1.0], ["CT"]) == 0.0  # no decision
    assert option_accuracy(["CT", "CT.", "MR"], [-1.0, -1.0, -2.0], ["CT"]) == 1.0  # one option, twice
    assert option_accuracy(["CT", "MR"], [math.nan, -1.0], ["CT"]) is None
    assert option_accuracy(["CT", "MR"], [-1.0, -2.0], ["X-ray"]) is None  # no option is right
    with pytest.raises(InputError, match="2 options have 1 likelihoods"):
        option_accuracy(["CT", "MR"], [-1.0], ["CT"])


# ---------------------------------------------------------------- parity with the packages


def test_rouge_equals_rouge_score():
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    for answer, reference in itertools.pairwise(sentences(400)):
        wanted = scorer.score(reference, answer)
        for name, function in (("rouge1", rouge_1), ("rouge2", rouge_2), ("rougeL", rouge_l)):
            assert function(answer, [reference]) == pytest.approx(wanted[name].fmeasure, abs=1e-12)


def test_rouge_with_several_references_equals_score_multi():
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    for answer, first, second in zip(*[iter(sentences(300))] * 3):
        wanted = scorer.score_multi([first, second], answer)
        for name, function in (("rouge1", rouge_1), ("rouge2", rouge_2), ("rougeL", rouge_l)):
            assert function(answer, [first, second]) == pytest.approx(wanted[name].fmeasure, abs=1e-12)


def test_longest_common_subsequence_equals_a_naive_table():
    rng = random.Random(0)
    for _ in range(200):
        first, second = (rng.choices("abcd", k=rng.randint(0, 9)) for _ in range(2))
        table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
        for i, j in itertools.product(range(len(first)), range(len(second))):
            same = table[i][j] + 1 if first[i] == second[j] else 0
            table[i + 1][j + 1] = max(same, table[i][j + 1], table[i + 1][j])
        assert longest_common(first, second) == table[-1][-1]


def test_sentence_bleu_equals_sacrebleu():
    for answer, first, second in zip(*[iter(sentences(600))] * 3):
        for references in ([first], [first, second], [answer + " more"]):
            wanted = sacrebleu.sentence_bleu(answer, references, lowercase=True).score / 100
            assert bleu(answer, references) == pytest.approx(wanted, abs=1e-12)


def test_corpus_bleu_equals_sacrebleu():
    import numpy as np

    answers, references = sentences(200)[:100], sentences(200)[100:]
    answers = [f"{answer} {reference[:20]}" for answer, reference in zip(answers, references)]
    wanted = sacrebleu.corpus_bleu(answers, [references], lowercase=True).score / 100
    statistics = np.array([bleu_statistics(a, [r]) for a, r in zip(answers, references)], dtype=float)
    assert corpus_bleu(statistics.sum(axis=0)) == pytest.approx(wanted, abs=1e-12)
    short = np.array(bleu_statistics("yes", ["yes"]), dtype=float)
    assert math.isnan(corpus_bleu(short))  # no four words anywhere: not defined, not 0


@pytest.mark.filterwarnings("ignore:(?s).*hypothesis contains 0 counts")
def test_unsmoothed_bleu_equals_nltk():
    for answer, first, second in zip(*[iter(sentences(600, longest=9))] * 3):
        for references in ([first], [first, second], [answer]):
            wanted = sentence_bleu([reference.split() for reference in references], answer.split())
            assert bleu_nltk(answer, references) == pytest.approx(wanted, rel=1e-12, abs=1e-300)
