"""A real model server: the built-in model answers over HTTP as it does in the process, and a judge speaks the protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from radvqa import cli, datasets
from serve_tiny import save_llama, save_paligemma, served


def invoke(*arguments: object):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    datasets.import_corpus("phantom", None, folder / "corpus", options={"num_images": 24, "seed": 5, "test_share": 0.4})
    save_paligemma(folder / "vision")
    save_llama(folder / "chat")
    return folder


@pytest.fixture(scope="module")
def url(place) -> Iterator[str]:
    with served(place) as address:
        yield address


@pytest.fixture(scope="module")
def answers(place, url) -> Path:
    """What the served model answers."""
    asked = ("predict", place / "corpus", "--max-samples", 10, "--max-new-tokens", 12)
    served_as = ("--engine", "openai", "--base-url", url, "--model", place / "vision", "--instruction", "")
    found = invoke(*asked, *served_as, "--arm", "base", "--out", place / "http")
    assert found.exit_code == 0, found.output
    assert invoke(*asked, "--arm", "base", "--out", place / "local").exit_code == 0
    return place / "http"


def test_answers_over_http_are_those_in_the_process(place, answers):
    served_ones, local = (
        pl.read_parquet(folder / "predictions.parquet").sort("id") for folder in (answers, place / "local")
    )
    assert served_ones["answer"].to_list() == local["answer"].to_list()
    assert served_ones["answer"].n_unique() > 3  # pictures and questions, not one answer to all
    assert served_ones["finished"].all() and served_ones["probability"].null_count() == len(served_ones)


def test_a_judge_on_a_real_server(place, url, answers):
    """Its two random layers never give a verdict: the judge says so of each answer and guesses none."""
    common = ("judge", answers, "--model", f"{place / 'chat'}@{url}", "--calls", place / "judge.sqlite")
    found = invoke(*common, "--out", place / "judged")
    assert found.exit_code == 0, found.output
    assert "10 of 10 answers unscored" in found.output and "0 failed" not in found.output
    tables = json.loads((place / "judged" / "judge.json").read_text())
    row = next(row for row in tables["table"] if row["slice"] == {})
    assert (row["n"], row["num_unscored"], row["value"]) == (0, 10, None)
    calls = pl.read_parquet(place / "judged" / "judge.parquet")["call"]
    assert calls.null_count() == 0 and calls.n_unique() > 5  # every reply is kept, and can be looked up
    again = invoke(*common, "--out", place / "again")
    assert "0 calls of" in again.output
