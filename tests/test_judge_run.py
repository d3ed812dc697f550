"""A judge and repeated questions as steps of a run: what they depend on, what the page and the tables say of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from radvqa import cli
from radvqa.ablation.rows import read_rows
from radvqa.agenda import plan
from radvqa.errors import InputError
from radvqa.recipe import load, validate
from radvqa.report import write_report
from scripted_server import Server, serving

RECIPE = {
    "name": "judged",
    "data": {"phantom": {"dataset": "phantom", "options": {"num_images": 12, "seed": 5, "test_share": 0.5}}},
    "evaluate": {"data": [{"corpus": "phantom"}], "controls": [], "max_new_tokens": 8, "bootstrap_draws": 100},
    "explain": None,
    "consistency": {"num_runs": 3, "max_samples": 16},
    "judge": {"models": [{"name": "strict"}, {"name": "kind"}], "concurrency": 2},
}


def invoke(*arguments: object):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def verdict(request, number):
    """The strict judge wants the reference's words, the kind one is content with any answer."""
    asked = request["messages"][1]["content"]
    answer = re.search(r"<answer>(.*)</answer>", asked, re.DOTALL)[1]
    right = request["model"] == "kind" or answer in re.findall(r"<reference>(.*?)</reference>", asked)
    return json.dumps({"reason": "as it says", "verdict": "correct" if right else "wrong"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("run")


def write_recipe(folder: Path, url: str, **judge: object) -> Path:
    models = [{**model, "base_url": url} for model in RECIPE["judge"]["models"]]
    file = folder / "recipe.yaml"
    told = {**RECIPE, "out": str(folder / "run"), "judge": {**RECIPE["judge"], "models": models, **judge}}
    file.write_text(yaml.safe_dump(told))
    return file


@pytest.fixture(scope="module")
def server(folder) -> Server:
    """A finished run, and the server that judged it, which does not answer any more."""
    with serving(verdict) as one:
        found = invoke("run", write_recipe(folder, one.url))
        assert found.exit_code == 0, found.output
        assert "3 runs: pairs of runs agree in" in found.output and "correct by consensus: base" in found.output
        return one


def test_the_tables_of_the_run(folder, server):
    judged = json.loads((folder / "run" / "judge" / "judge.json").read_text())
    rows = {row["judge"]: row for row in judged["table"] if row["slice"] == {}}
    assert list(rows) == ["strict", "kind", "consensus"]
    n = rows["kind"]["n"]
    assert rows["kind"]["k"] == n and rows["strict"]["k"] < n
    # two judges: a majority is both of them, so what they dispute is unscored and consensus is correct or nothing
    assert rows["consensus"]["k"] == rows["consensus"]["n"] == rows["strict"]["k"]
    assert judged["agreement"]["cohen"][0]["reviewers"] == ["kind", "strict"]
    again = json.loads((folder / "run" / "consistency" / "consistency.json").read_text())
    assert again["num_runs"] == 3 and max(row["n"] for row in again["means"]) <= 16


def test_the_page_shows_both(folder, server):
    page = (folder / "run" / "report.html").read_text()
    for name in ("judge", "consistency"):
        assert f'<section id="{name}"' in page and f'href="#{name}"' in page
    assert "strict and kind say of each answer whether it is correct" in page
    assert "Every question was asked 3 times of the base model" in page and "founding paper" in page
    assert "Accuracy over the 3 runs" in page
    with pytest.raises(InputError, match="not JSON"):
        broken = folder / "broken"
        (broken / "judge").mkdir(parents=True)
        (broken / "judge" / "judge.json").write_text("{")
        write_report(broken, folder / "broken.html")


def test_a_table_of_runs_counts_verdicts(folder, server):
    (row,) = read_rows([folder / "run"])
    judged = pl.read_parquet(folder / "run" / "judge" / "judge.parquet").filter(pl.col("judge") == "consensus")
    assert row.scores["judge"].null_count() == judged["verdict"].null_count() > 0
    assert row.scores["judge"].sum() == (judged["verdict"] == "correct").sum()
    found = invoke("table", folder / "run", "--shape", "paper", "--out", folder / "table")
    assert found.exit_code == 0, found.output
    assert "correct by judge" in (folder / "table" / "table.md").read_text().splitlines()[0]


def test_nothing_is_asked_again(folder, server):
    """Not by the same recipe, nor at another address; a further arm or judge only for what is new."""
    asked = len(server.requests)
    done = invoke("run", folder / "recipe.yaml")
    assert done.exit_code == 0 and len(server.requests) == asked
    moved = invoke("run", write_recipe(folder, "http://127.0.0.1:9/v1"))  # nobody listens there
    assert moved.exit_code == 0, moved.output
    fewer = invoke("run", write_recipe(folder, "http://127.0.0.1:9/v1", kinds=["closed"]))  # replies are kept
    assert fewer.exit_code == 0 and "correct by consensus" in fewer.output, fewer.output


def test_a_dead_judge_leaves_the_rest_of_the_run(folder, server, tmp_path):
    file = write_recipe(folder, "http://127.0.0.1:9/v1")
    found = invoke("run", file, "judge.models=[{name: new, base_url: 'http://127.0.0.1:9/v1'}]")
    assert found.exit_code == 1 and "no server answers" in found.output and "Traceback" not in found.output
    assert (folder / "run" / "scores" / "scores.json").is_file() and not (folder / "run" / "judge.partial").exists()


def test_what_the_steps_depend_on(tmp_path):
    recipe = load(write_recipe(tmp_path, "http://a/v1"))
    names = [step.name for step in plan(recipe)]
    assert names[-3:] == ["consistency", "judge", "report"]
    steps = {step.name: step for step in plan(recipe)}
    assert steps["judge"].reads == ("predictions/base-none",) and "base_url" not in json.dumps(steps["judge"].config)
    hotter = load(tmp_path / "recipe.yaml", ["consistency.temperature=1.0", "judge.concurrency=1"])
    changed = {step.name: step for step in plan(hotter)}
    assert changed["consistency"].config != steps["consistency"].config
    assert changed["judge"].config == steps["judge"].config


@pytest.mark.parametrize(
    ("change", "key", "found"),
    [
        ({"consistency": {"num_runs": 1}}, "consistency.num_runs", "greater than or equal to 2"),
        ({"consistency": {"temperature": 0}}, "consistency.temperature", "greater than 0"),
        ({"consistency": {"arm": "stage9"}}, "consistency.arm", "'stage9'"),
        ({"judge": {"models": []}}, "judge.models", "empty"),
        ({"judge": {"models": [{"name": "a"}, {"name": "a"}]}}, "judge.models", "each once"),
        ({"judge": {"models": [{"name": "a"}], "arms": ["stage9"]}}, "judge.arms", "'stage9'"),
        ({"judge": {"models": [{"name": "a"}], "kinds": ["all"]}}, "judge.kinds.0", "'all'"),
    ],
)
def test_bad_input(change, key, found):
    with pytest.raises(InputError) as error:
        validate({**RECIPE, **change})
    assert error.value.key == key and found in str(error.value)


def test_ratings_that_are_not_there(tmp_path):
    found = invoke("run", write_recipe(tmp_path, "http://a/v1", ratings=str(tmp_path / "none.csv")))
    assert found.exit_code == 2 and "judge.ratings" in found.output and not (tmp_path / "run" / "corpora").exists()
