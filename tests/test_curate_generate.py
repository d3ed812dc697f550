"""Pairs from a scripted server in every kind of trouble: no call lost, none asked again once it is answered."""

import hashlib
import json
import os
import signal
import time
from contextlib import closing

import numpy as np
import polars as pl
import pytest

from making import picture  # isort: skip
from radvqa.calls import Calls, ServerGone
from radvqa.curate.generate import Wanted, caption_samples, context_of, generate, ledger_of, num_calls
from radvqa.curate.prompting import NAMES, caption_instructions, messages_for, prompt, schema_for
from radvqa.errors import InputError
from radvqa.sample import Corpus, CorpusWriter, Sample
from scripted_server import Body, Stall, Status, serving

SHAPES = ("json", "fence", "marked", "broken", "words")
TROUBLES = (
    Status(429),
    Status(500),
    Status(503),
    Stall(5),
    Body(b'{"choices": [{"mess'),
    Body(b'{"choices"', cut=True),
)


def good(request, number=0):
    """A function of the request alone: pairs in one of several shapes, some of them broken."""
    digest = hashlib.sha256(json.dumps(request["messages"], sort_keys=True).encode()).digest()
    pairs = [{"question": f"Where is lesion {digest[1]}?", "answer": f"In lobe {digest[2]}"}]
    pairs += [{"question": f"Is it {digest[2]}?", "answer": "Yes."}]
    text = json.dumps({"pairs": pairs})
    return {
        "json": text,
        "fence": f"Here you go:\n```json\n{text}\n```",
        "marked": "\n\n".join(f"**Q:** {p['question']}\n**A:** {p['answer']}" for p in pairs),
        "broken": text[:-12],
        "words": "I'm sorry, but I cannot help with that.",
    }[SHAPES[digest[0] % len(SHAPES)]]


def stormy(share, seed, pause_s=0.0):
    """Now and then trouble."""
    rng = np.random.default_rng(seed)

    def script(request, number):
        if rng.random() < share:
            return TROUBLES[int(rng.integers(len(TROUBLES)))]
        time.sleep(pause_s)
        return good(request)

    return script


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generate") / "captions"
    with CorpusWriter(folder, {"name": "toy"}) as writer:
        for i in range(12):
            fields = {
                "question": "What is shown?",
                "answers": ("x",),
                "kind": "open",
                "split": "train",
                "source": "toy",
            }
            evidence = None if i == 11 else f"CT of lesion {i}"
            writer.add(
                Sample(id=f"q{i}", evidence=evidence, modality="CT", extra={"history": "secret"}, **fields), picture(i)
            )
            writer.add(Sample(id=f"r{i}", evidence=evidence, **fields), picture(i))  # the same picture again
    return Corpus(folder)


def made(corpus, out, server, wanted=None, **settings):
    settings = {"pause_s": 0.01, "retries": 40, "timeout_s": 30, **settings}
    with Calls(ledger_of(out), server.url, "scripted", **settings) as calls:
        generate(corpus, out, calls, wanted)
    return calls.totals


def rows(folder):
    return pl.read_parquet(folder / "questions.parquet")


def test_a_quiet_server(corpus, tmp_path):
    with serving(good) as server:
        assert made(corpus, tmp_path / "qa", server).asked == 22 == len(server.requests)
        assert made(corpus, tmp_path / "qa", server).cached == 22 == len(server.requests)
    qa = Corpus(tmp_path / "qa")
    sample = next(qa.samples())
    assert sample.origin == "scripted" and sample.extra["prompt"] in ("open-1", "closed-1") and sample.evidence
    assert qa.image(sample.image).size == (8, 6) and qa.card["written_by"] == "scripted" and qa.card["dropped"]
    assert {s.answers[0] for s in qa.samples(kind="closed")} == {"yes"}


def test_trouble_gives_the_same_corpus(corpus, tmp_path):
    with serving(good) as server:
        made(corpus, tmp_path / "calm", server)
    with serving(stormy(0.5, seed=1)) as server:
        totals = made(corpus, tmp_path / "storm", server, timeout_s=2)
        assert len(server.requests) <= totals.asked + totals.retries  # each paid for once
    assert totals.asked == 22 and totals.retries >= 10
    assert rows(tmp_path / "storm").equals(rows(tmp_path / "calm"))


def test_a_server_that_dies_loses_nothing(corpus, tmp_path):
    with serving(lambda request, number: good(request) if number < 6 else Status(500)) as server:
        with pytest.raises(ServerGone):
            made(corpus, tmp_path / "qa", server, retries=0, concurrency=1)
        assert not (tmp_path / "qa").exists()
    with serving(good) as server:
        totals = made(corpus, tmp_path / "qa", server)
    assert (totals.cached, totals.asked) == (6, 16)


KILLS = int(os.environ.get("RADVQA_KILLS", "6"))
"""How often a run is killed at random; RADVQA_KILLS=20 for the number in the documentation."""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_moments_it_goes_on(corpus, tmp_path):
    """After a random number of requests and a moment more: a run is hit at work, however fast the machine is."""
    import openai  # noqa: F401  loaded before the first fork, not in each child

    wanted, num_calls = Wanted(prompts=NAMES), 11 * len(NAMES)
    with serving(good) as server:
        made(corpus, tmp_path / "whole", server, wanted)
    paid, storm = [], stormy(0.2, seed=2, pause_s=0.02)

    def script(request, number):
        action = storm(request, number)
        if isinstance(action, str):
            paid.append(_key(request, wanted))
        return action

    rng, out, kills, seen = np.random.default_rng(0), tmp_path / "qa", 0, []
    with serving(script) as server:
        for _ in range(KILLS):
            stored, before = _stored(out), len(server.requests)
            child = os.fork()
            if child == 0:
                try:
                    made(corpus, out, server, wanted, concurrency=2)
                finally:
                    os._exit(0)
            at = before + int(rng.integers(1, max(3, 2 * num_calls // KILLS)))
            while len(server.requests) < at and os.waitpid(child, os.WNOHANG) == (0, 0):
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.04))
            os.kill(child, signal.SIGKILL)
            kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
            seen.append(len(_stored(out)))
            assert stored <= _stored(out)  # nothing lost
            again = {_key(request, wanted) for request in server.requests[before:]}
            assert not again & stored  # nothing that is kept was asked for
        made(corpus, out, server, wanted, timeout_s=5)
    twice = len(paid) - len(set(paid))  # under way when the process died; two at most at a time
    print(f"{kills} of {KILLS} kills hit a run at work, with {seen} of {num_calls} replies kept; {twice} asked again")
    assert (
        kills >= KILLS / 2 and len({n for n in seen if 0 < n < num_calls}) >= min(3, KILLS - 1) and twice <= 2 * kills
    )
    assert len(_stored(out)) == num_calls and rows(out).equals(rows(tmp_path / "whole"))


def _key(request, wanted):
    from radvqa.calls import Call

    parameters = {k: v for k, v in request.items() if k not in ("messages", "model", "seed")}
    return Call(request["messages"], parameters, request["seed"]).key(request["model"])


def _stored(out):
    import sqlite3

    file = ledger_of(out)
    if not file.exists():
        return set()
    with closing(sqlite3.connect(file)) as connection:  # open, a fork would take SQLite's locks from the child
        try:
            return {key for (key,) in connection.execute("SELECT key FROM calls")}
        except sqlite3.OperationalError:  # killed before there was a table
            return set()


def test_multiple_choice_and_a_cut_reply(corpus, tmp_path):
    pair = {"question": "Which organ?", "choices": ["liver", "lung", "heart", "brain"], "answer": "B"}
    with serving(lambda *_: json.dumps({"pairs": [pair, {**pair, "answer": "kidney"}]})) as server:
        made(corpus, tmp_path / "qa", server, Wanted(prompts=("choice",), max_images=1))
    first, second = Corpus(tmp_path / "qa").samples()
    assert (first.kind, first.answers, first.choices[1]) == ("choice", ("lung",), "lung")
    assert (second.kind, second.choices) == ("open", ())  # its answer is none of the options


def test_what_cannot_go_well_stops_at_once(corpus, tmp_path):
    with serving(good) as server:
        with pytest.raises(InputError, match="no prompt 'opne'"):
            made(corpus, tmp_path / "qa", server, Wanted(prompts=("opne",)))
        with CorpusWriter(tmp_path / "bare", {}) as writer:
            writer.add(
                Sample(id="a", question="What?", answers=("x",), kind="open", split="train", source="s"), picture(1)
            )
        with pytest.raises(InputError, match="no picture here has a caption"):
            made(Corpus(tmp_path / "bare"), tmp_path / "qa", server)
        assert not server.requests and not (tmp_path / "qa").exists()


@pytest.mark.parametrize("name", NAMES)
def test_prompts_are_whole(name):
    read = prompt(name)
    messages = messages_for(read, "CT of the chest", 4, picture=b"\x89PNG")
    assert read is prompt(name) and [m["role"] for m in messages] == ["system", "user", "assistant", "user"]
    assert messages[-1]["content"][0]["type"] == "image_url" and "4" in messages[-1]["content"][1]["text"]
    assert schema_for(read)["required"] == ["pairs"]


def test_captions_have_many_wordings(corpus):
    brief, detailed = caption_instructions(False), caption_instructions(True)
    assert len(set(brief)) >= 10 and len(set(detailed)) >= 10 and not set(brief) & set(detailed)
    found = list(caption_samples(corpus.samples()))
    assert len(found) == 11 and {s.question for s in found} <= set(brief) and found[0].answers == ("CT of lesion 0",)


def test_what_no_picture_shows_is_not_told(corpus, tmp_path):
    assert context_of(next(corpus.samples())) == "Modality: CT\nText: CT of lesion 0"
    with serving(good) as server:
        made(corpus, tmp_path / "qa", server, Wanted(prompts=("open",), pictures=True))
        told = json.dumps(server.requests)
    assert "secret" not in told and "base64" in told and b"base64" not in ledger_of(tmp_path / "qa").read_bytes()


def test_the_literature_is_asked_once_a_disease(tmp_path):
    """Two pictures of one case and one of another: the disease is told to the literature prompt alone, and once."""
    with CorpusWriter(tmp_path / "cases", {"name": "toy"}) as writer:
        for i, disease in enumerate(["Gout is a crystal arthritis", "Gout is a crystal arthritis", None]):
            about = {"answers": ("x",), "kind": "open", "split": "train", "source": "toy", "findings": ("gout",)}
            extra = {"discussion": disease} if disease else {}
            writer.add(Sample(id=f"q{i}", question="?", evidence=f"CT {i}", extra=extra, **about), picture(i))
    corpus, wanted = Corpus(tmp_path / "cases"), Wanted(prompts=("open", "literature"))
    first = next(corpus.samples())
    assert "arthritis" not in str(context_of(first))
    assert context_of(first, literature=True) == "Disease: gout\nGout is a crystal arthritis"
    with serving(good) as server:
        made(corpus, tmp_path / "qa", server, wanted)
        asked = [request["messages"][-1]["content"] for request in server.requests]
    assert len(asked) == num_calls(corpus.samples(), wanted, corpus) == 5  # literature of the first and the third
    assert sum("crystal" in one for one in asked) == 1
