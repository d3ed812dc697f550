"""Replies in every shape seen and some more; the real ones of the founding project, all of them."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radvqa.curate.parse import Pair, parse_reply, read_reply

TWO = [Pair("Is it CT?", "Yes"), Pair("Which side?", "Left.")]


@pytest.mark.parametrize(
    "text",
    [
        "Here are two pairs:\n\nQ: Is it CT?\nA: Yes\n\nQ: Which side?\nA: Left.",
        "**Q: Is it CT?**\nA: Yes\n\n**Q: Which side?**\nA: Left.",
        "**Q1:** Is it CT?\n**A1:** Yes\n\n**Q2:** Which side?\n**A2:** Left.\n\nLet me know if you'd like more!",
        "1. Q: Is it CT?\n   A: Yes\n2. Q: Which side?\n   A: Left.",
        "Question 1: Is it CT?\nAnswer: Yes\nQuestion 2: Which side?\nAnswer: Left.",
        "**Question 1**\nIs it CT?\n**Answer**\nYes\n\n**Question 2**\nWhich side?\n**Answer**\nLeft.",
        "Q: Is it CT? A: Yes\nQ: Which side? A: Left.",
        "Is it CT?\nYes\n\nWhich side?\nLeft.",
        "Sure!\n\n1. Is it CT?\nYes\n\n2. Which side?\nLeft.",
        "1. Is it CT? - Yes\n2. Which side? - Left.",
        "User: Is it CT?\nAssistant: Yes\nUser: Which side?\nAssistant: Left.",
        "### Q1. Is it CT?\n### A1. Yes\n\n### Q2. Which side?\n### A2. Left.",
        '```json\n[{"question": "Is it CT?", "answer": "Yes"}, {"question": "Which side?", "answer": "Left."}]\n```',
        '{"pairs": [{"Q": "Is it CT?", "A": "Yes"}, {"Q": "Which side?", "A": "Left."}]} Hope this helps.',
        '[{"question": "Is it CT?", "answer": "Yes"}, {"question": "Which side?", "answer": "Left."}, {"question": "What',
        '{"q1": "Is it CT?", "a1": "Yes", "q2": "Which side?", "a2": "Left."}',
        '[{"role": "user", "content": "Is it CT?"}, {"role": "assistant", "content": "Yes"},'
        ' {"role": "user", "content": "Which side?"}, {"role": "assistant", "content": "Left."}]',
        '{"conversations": [{"from": "human", "value": "<image>\\nIs it CT?"}, {"from": "gpt", "value": "Yes"},'
        ' {"from": "human", "value": "Which side?"}, {"from": "gpt", "value": "Left."}]}',
        "<think>Q: Is this right?\nA: no</think>\r\nQ: Is it CT?\r\nA: Yes\r\nQ: Which side?\r\nA: Left.",
        "\ufeffQ: Is it CT?\nA: Yes\n\nNote that I've avoided measurements.\n\nQ: Which side?\nA: Left.",
        '- **Q**: "Is it CT?"\n- **A**: *Yes*\n\n- **Q**: Which side?\n- **A**: Left.',
    ],
)
def test_every_shape_gives_the_same_two_pairs(text):
    assert parse_reply(text) == TWO


def test_what_is_left_out_is_told():
    reply = read_reply("Here you go:\n\nQ: Is it CT?\nA: Yes\n\nQ: Is it large?\n\nNote: no more.")
    assert reply.pairs == [TWO[0]]
    assert [reason for reason, _ in reply.left_out] == ["talk before the pairs", "half a pair"]
    assert read_reply("I'm sorry, but I can't help with medical images.").left_out[0][0] == "refusal"
    assert read_reply("Nothing to see here.").left_out == [("no pair in it", "Nothing to see here.")]
    assert read_reply("  ").left_out == [("empty reply", "")]
    cut = read_reply("Q: Is it CT?\nA: Yes\nQ: Which side?\nA: The le", cut=True)
    assert cut.pairs == [TWO[0]] and cut.left_out == [("cut off", "Which side?")]


def test_answers_of_several_lines_and_lists():
    text = "Q: Describe it.\nA: A mass\nin the lung.\n\nQ: Which signs?\nA: There are two:\n\n1. air\n\n2. fluid\n\nThat is all."
    assert parse_reply(text) == [
        Pair("Describe it.", "A mass in the lung."),
        Pair("Which signs?", "There are two: 1. air 2. fluid"),
    ]


def test_multiple_choice():
    text = "Q: Which plane?\nA) axial\nB) coronal\nC) sagittal\nAnswer: B) coronal\n\nQ: Which side?\n(A) left\n(B) right\nCorrect answer: A"
    first, second = parse_reply(text)
    assert first == Pair("Which plane?", "coronal", ("axial", "coronal", "sagittal"))
    assert second == Pair("Which side?", "left", ("left", "right"))
    asked = {"question": "Which plane?", "options": {"A": "axial", "B": "coronal"}, "answer": "B"}
    assert parse_reply(json.dumps(asked)) == [Pair("Which plane?", "coronal", ("axial", "coronal"))]
    assert read_reply(json.dumps(asked | {"answer": "E"})).left_out == [("half a pair", "Which plane?")]


def test_an_answer_that_begins_like_an_option_is_an_answer():
    assert parse_reply("Q: Which vitamin?\nA: A: the first\nQ: And then?\nA: B") == [
        Pair("Which vitamin?", "A: the first"), Pair("And then?", "B")
    ]  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=200))
def test_any_text_is_read_without_complaint_and_pairs_are_whole(text):
    for pair in parse_reply(text):
        assert pair.question.strip() == pair.question != "" and pair.answer.strip() == pair.answer != ""


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Is it CT?", "Which side?", "Describe it."]), st.sampled_from(["Yes", "Left.", "A mass."])
        ),
        min_size=1,
        max_size=6,
    )
)
def test_what_was_written_is_what_is_read(pairs):
    assert parse_reply("\n\n".join(f"Q: {q}\nA: {a}" for q, a in pairs)) == [Pair(q, a) for q, a in pairs]
    assert parse_reply(json.dumps([{"question": q, "answer": a} for q, a in pairs])) == [Pair(q, a) for q, a in pairs]


def _objects(text):
    decoder, at, text = json.JSONDecoder(), 0, text.strip()
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        yield value
        at += len(text[at:]) - len(text[at:].lstrip())


DIRT = re.compile(r"\*\*|^\s|\s$|^(?:Q|A|Question|Answer)\s*\d*\s*[:)]|^\d+[.)]\s|^Here (?:are|is)\b")


def test_the_founding_replies(real_data):
    text = (real_data / "medm" / "qa_pairs_generated_all.json").read_text(encoding="utf-8")
    replies = [read_reply(record["qa_pairs_raw"]) for record in _objects(text)]
    five = sum(len(reply.pairs) == 5 for reply in replies)
    assert len(replies) == 2052 and five >= 0.999 * len(replies), five
    text = (real_data / "medm" / "qa_pairs_output.json").read_text(encoding="utf-8")
    more = [read_reply(record["qa_pairs"]) for record in json.loads(text)]
    assert len(more) == 1541 and all(2 <= len(reply.pairs) <= 12 for reply in more)
    for reply in replies + more:
        for pair in reply.pairs:
            assert not DIRT.search(pair.question) and not DIRT.search(pair.answer), pair
        assert {reason for reason, _ in reply.left_out} <= {"talk before the pairs", "talk after a pair", "half a pair"}
