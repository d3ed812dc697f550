"""Answers of a served model: asked with pictures, under every control, kept and gone on with, scored like any other."""

from __future__ import annotations

import base64
import io
import json
import math

import polars as pl
import pytest
from PIL import Image
from typer.testing import CliRunner

from radvqa import cli
from radvqa.calls import Calls
from radvqa.predictions import SCHEMA
from radvqa.sample import Corpus
from radvqa.served import predict_served
from scripted_server import Status, completion, serving
from standins import write_corpus


def invoke(*arguments: object):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path / "toy", num=48)


def grey_of(request) -> int:
    """The shade of the picture a request shows."""
    url = request["messages"][0]["content"][0]["image_url"]["url"]
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("L").getpixel((0, 0))


def text_of(request) -> str:
    return request["messages"][0]["content"][1]["text"]


def test_every_question_is_asked_with_its_picture(tmp_path, corpus):
    with serving(lambda request, number: f"shade {grey_of(request)}") as server:
        arguments = ("--engine", "openai", "--base-url", server.url, "--model", "med/llava", "--out", tmp_path / "p")
        found = invoke("predict", corpus, *arguments)
        assert found.exit_code == 0, found.output
        assert "12 calls of med/llava" in found.output and "12 answers in" in found.output
        frame = pl.read_parquet(tmp_path / "p" / "predictions.parquet")
        assert frame.schema == pl.Schema(SCHEMA) and frame["arm"].unique().to_list() == ["llava"]
        shades = {s.id: s.image for s in Corpus(corpus).samples(split="test")}
        assert len(shades) == len(frame) == 12
        by_image = frame.group_by("image").agg(pl.col("answer").n_unique())
        assert by_image["answer"].to_list() == [1] * 6 and frame["answer"].n_unique() == 6
        assert text_of(server.requests[0]).endswith("\nAnswer with a single word or a short phrase.")
        assert server.requests[0]["temperature"] == 0 and server.requests[0]["max_tokens"] == 32
        again = invoke("predict", corpus, *arguments)
        assert "0 calls of med/llava, 12 replies kept from before" in again.output and len(server.requests) == 12


@pytest.mark.parametrize("control", ["blank", "shuffled"])
def test_controls_show_other_pictures(tmp_path, corpus, control):
    with serving(lambda request, number: str(grey_of(request))) as server:
        common = ("predict", corpus, "--engine", "openai", "--base-url", server.url, "--model", "m")
        for name in ("none", control):
            assert invoke(*common, "--control", name, "--out", tmp_path / name).exit_code == 0
    full, other = (pl.read_parquet(tmp_path / name / "predictions.parquet") for name in ("none", control))
    assert (full["answer"] != other["answer"]).all()
    assert other["answer"].n_unique() == (1 if control == "blank" else 6)
    found = invoke("score", tmp_path / "none", tmp_path / control, "--out", tmp_path / "s", "--draws", 100)
    assert found.exit_code == 0, found.output


def test_log_probabilities_where_the_server_tells(tmp_path, corpus):
    tokens = {"content": [{"token": "left", "logprob": -0.5}, {"token": " lung", "logprob": -0.25}]}
    sources = [(Corpus(corpus), list(Corpus(corpus).samples(split="test"))[:1])]
    with (
        serving(lambda request, number: completion("left lung", logprobs=tokens)) as server,
        Calls(tmp_path / "c.sqlite", server.url, "m") as calls,
    ):
        predict_served(calls, sources=sources, arm="m", control="none", folder=tmp_path / "p", logprobs=True)
    row = pl.read_parquet(tmp_path / "p" / "predictions.parquet").row(0, named=True)
    assert server.requests[0]["logprobs"] is True
    assert (row["logprob"], row["num_tokens"]) == (-0.75, 2) and row["probability"] == math.exp(-0.75)


def test_a_question_that_keeps_failing_is_unscored_and_said(tmp_path, corpus):
    refused = []

    def script(request, number):
        if not refused or refused == [grey_of(request)]:
            refused[:] = [grey_of(request)]
            return Status(400, "picture too large")
        return completion("yes", finish_reason="length")

    with serving(script) as server:
        common = ("--engine", "openai", "--base-url", server.url, "--model", "m", "--concurrency", 1)
        found = invoke("predict", corpus, *common, "--out", tmp_path / "p")
    assert found.exit_code == 0 and "warning: 2 questions have no answer and will be unscored" in found.output
    assert "picture too large" in found.output
    frame = pl.read_parquet(tmp_path / "p" / "predictions.parquet")
    assert frame["answer"].null_count() == 2 and frame["finished"].to_list().count(False) == 10
    found = invoke("score", tmp_path / "p", "--out", tmp_path / "s", "--draws", 100)
    rows = json.loads((tmp_path / "s" / "scores.json").read_text())["metrics"]
    row = next(row for row in rows if row["metric"] == "exact_match" and row["slice"] == {})
    assert (row["n"], row["num_unscored"]) == (10, 2)


def test_a_dead_server_leaves_no_half_result(tmp_path, corpus):
    with serving(lambda request, number: "yes") as server:
        url = server.url
    found = invoke("predict", corpus, "--engine", "openai", "--base-url", url, "--model", "m", "--out", tmp_path / "p")
    assert found.exit_code == 1 and "no server answers" in found.output and not list(tmp_path.glob("p*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--engine", "vllm"), "--engine: found 'vllm'"),
        (("--engine", "openai"), "--base-url: a served model needs its address"),
        (("--engine", "openai", "--base-url", "localhost"), "base_url: found 'localhost'"),
        (("--base-url", "http://localhost/v1"), "only a served model has an address"),
        (("--engine", "openai", "--base-url", "http://x/v1", "--adapter", "a"), "a server loads its own adapter"),
    ],
)
def test_bad_input(tmp_path, corpus, arguments, message):
    found = invoke("predict", corpus, "--out", tmp_path / "p", *arguments)
    assert found.exit_code == 2 and message in found.output and not (tmp_path / "p").exists()
