"""A run does every step once, goes on where it was cut, and does again only what a change touches."""

from __future__ import annotations

import errno
import io
import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from radvqa import pipeline, stage
from radvqa.errors import InputError
from radvqa.recipe import Recipe, load
from radvqa.screen import Screen, score_table, span
from standins import RECIPE, STAND_INS, write_corpus, write_recipe

STEPS = [
    "corpora/toy",
    "leakage",
    "stage1",
    "stage2",
    *(f"predictions/{arm}-{control}" for arm in ("base", "stage1", "stage2") for control in ("none", "blank")),
    "scores",
    "saliency",
    "report",
]


def counting(done: list[str]) -> dict:
    """The stand-ins, each noting its step in `done`."""

    def noting(work):
        def wrapped(task):
            done.append(task.name)
            return work(task)

        return wrapped

    return {verb: noting(work) for verb, work in STAND_INS.items()}


def walk(recipe: Recipe, **more) -> list[str]:
    """Run with stand-ins; the names of the steps that were done."""
    done: list[str] = []
    pipeline.run(recipe, steps=counting(done), screen=Screen(Console(file=io.StringIO(), width=200)), **more)
    return done


def scores(recipe: Recipe) -> list:
    return json.loads((recipe.out / "scores" / "scores.json").read_text())["metrics"]


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    return write_recipe(tmp_path)


def test_every_step_is_done_once_in_its_folder_with_its_record(recipe_file):
    recipe = load(recipe_file)
    assert walk(recipe) == STEPS
    for name in STEPS:
        record = stage.record(recipe.out / name)
        assert record["wall_s"] >= 0 and record["peak_rss_bytes"] > 0 and record["fingerprint"]
    assert (recipe.out / "report.html").read_text().startswith("<html>")
    assert load(recipe.out / "recipe.yaml") == recipe
    run = json.loads((recipe.out / "run.json").read_text())
    assert list(run["steps"]) == STEPS
    assert run["wall_s"] == pytest.approx(sum(step["wall_s"] for step in run["steps"].values()), abs=0.01)
    assert not list(recipe.out.rglob("*.partial"))


def test_a_finished_run_does_nothing_and_says_so(recipe_file):
    recipe = load(recipe_file)
    walk(recipe)
    said = io.StringIO()
    pipeline.run(recipe, steps=STAND_INS, screen=Screen(Console(file=said, width=200)))
    assert said.getvalue().count("unchanged since") == len(STEPS) and "✓" not in said.getvalue()
    assert not list(recipe.out.rglob("*.partial"))
    assert "closed accuracy" in said.getvalue() and "report.html" in said.getvalue()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("stages.stage2.lr=2e-5", ["stage2", "predictions/stage2-none", "predictions/stage2-blank", *STEPS[-3:]]),
        ("evaluate.max_new_tokens=8", [*STEPS[4:10], "report"]),  # the answers come out the same: not scored again
        ("explain.num_right=2", ["saliency", "report"]),
        ("report.title=New", ["report"]),
        ("evaluate.bootstrap_draws=101", ["scores", "report"]),
        ("seed=1", STEPS[1:]),
        ("leakage=report", ["leakage", "report"]),  # nothing was left out before either: not trained again
        ("stages.stage1.checkpoint_every_s=1", ["report"]),
        ("evaluate.batch_size=3", ["report"]),
    ],
)
def test_a_change_touches_only_what_depends_on_it(recipe_file, override, expected):
    walk(load(recipe_file))
    assert walk(load(recipe_file, [override])) == expected


def test_what_a_step_reads_counts_by_content(recipe_file, tmp_path):
    recipe = load(recipe_file)
    walk(recipe)
    write_corpus(tmp_path / "corpus")  # new files, same content: imported again, and nothing after it
    assert walk(recipe) == ["corpora/toy"]
    write_corpus(tmp_path / "corpus", num=32)
    assert walk(recipe) == STEPS
    (tmp_path / "model" / "config.json").write_text('{"new": 1}')
    assert walk(recipe) == [*STEPS[2:10], "saliency"]  # the same answers: neither scored nor shown again


def test_a_damaged_or_missing_result_is_made_again(recipe_file):
    recipe = load(recipe_file)
    walk(recipe)
    before = scores(recipe)
    (recipe.out / "predictions" / "base-blank" / "predictions.parquet").unlink()
    assert walk(recipe) == ["predictions/base-blank"]  # it comes out the same, so nothing after it is done again
    assert scores(recipe) == before
    assert walk(recipe, redo=["scores"]) == ["scores"]
    with pytest.raises(InputError, match="did you mean scores"):
        walk(recipe, redo=["score"])


def test_killed_at_every_point_in_turn_it_ends_with_the_same_scores(recipe_file, tmp_path):
    """Each process gets a little further than the one before it; each is killed by the kernel, not asked to stop."""
    whole = load(write_recipe(tmp_path, "whole.yaml", out="whole"))
    walk(whole)
    cut = load(recipe_file)
    script, codes = Path(__file__).parent / "standins.py", []
    while not codes or codes[-1] == -9:
        at = (3, 17)[len(codes) % 2]  # within the first step left, or some steps on
        codes.append(subprocess.run([sys.executable, script, recipe_file, str(at)], capture_output=True).returncode)
        assert len(codes) < 40
    assert codes[-1] == 0 and codes.count(-9) >= 5
    assert scores(cut) == scores(whole)
    for name in ("stage1", "stage2"):
        weights = Path(name) / "adapter" / "adapter_model.safetensors"
        assert (cut.out / weights).read_text() == (whole.out / weights).read_text()
    assert walk(cut) == []


def test_training_goes_on_from_where_it_was_cut(recipe_file):
    recipe = load(recipe_file)

    def cut_short(task):
        STAND_INS["train"](
            type(task)(task.recipe, task.run, task.name, task.item, task.folder, lambda done, *_: stop_at_two(done))
        )
        return ""

    def stop_at_two(done):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.run(recipe, steps={**STAND_INS, "train": cut_short}, screen=Screen(Console(file=io.StringIO())))
    assert json.loads((recipe.out / "stage1.partial" / "checkpoints" / "step.json").read_text())[0] == 2
    assert not (recipe.out / "stage1").exists()
    assert walk(recipe) == STEPS[2:]
    assert stage.record(recipe.out / "stage1")["resumed"] is True


def test_a_full_disk_leaves_nothing_under_a_final_name(recipe_file):
    recipe = load(recipe_file)

    def full(task):
        (task.folder / "scores.json").write_text("{")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        pipeline.run(recipe, steps={**STAND_INS, "score": full}, screen=Screen(Console(file=io.StringIO())))
    assert not (recipe.out / "scores").exists() and not (recipe.out / "scores.partial").exists()
    assert walk(recipe) == STEPS[-3:]


def test_two_runs_in_one_folder_are_refused_and_a_dead_ones_lock_is_free(recipe_file):
    recipe = load(recipe_file)
    recipe.out.mkdir()
    hold = "import sys, pathlib\nfrom radvqa.pipeline import locked\nwith locked(pathlib.Path(sys.argv[1])):\n"
    hold += "    print('held', flush=True)\n    sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, recipe.out], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"another run is at work in this folder .process {other.pid}"):
            walk(recipe)
        other.kill()
    assert (recipe.out / ".lock").read_text() == str(other.pid)
    assert walk(recipe) == STEPS


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "stages.stage1.data.0.where.topic=organ",
            r"stages.stage1.data.0: .*split train, topic 'organ'; it has .*topic: ",
        ),
        ("evaluate.data.0.where.kind=open", r"evaluate.data.0: .*kind: closed \(24\)"),
        ("data.toy.dataset=vqa_radd", r"data.toy.dataset: found 'vqa_radd'; did you mean vqa_rad"),
        ("data.toy.path=nowhere", r"nowhere, data.toy.path: no such file or folder"),
        ("data.toy={dataset: vqa_rad, options: {frame: true}}", r"data.toy.options.frame: vqa_rad has no option"),
        ("model.name=./nowhere", r"model.name: no such model"),
        ("model.name=/usr", r"/usr, model.name: not a model folder"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(recipe_file, override, message):
    done: list[str] = []
    with pytest.raises(InputError, match=message):
        pipeline.run(
            load(recipe_file, [override]), steps=counting(done), screen=Screen(Console(file=io.StringIO(), width=200))
        )
    assert done in ([], ["corpora/toy"])


def test_a_question_asked_twice_is_refused(recipe_file):
    with pytest.raises(InputError, match=r"q6, evaluate.data: 6 questions would be asked twice"):
        walk(load(recipe_file, ["evaluate.data=[{corpus: toy}, {corpus: toy}]"]))


def test_validation_is_never_what_is_learned(recipe_file):
    seen = {}

    def look(task):
        from radvqa.material import learned, watched

        taught = {s.id for _, samples in learned(task).sources for s in samples}
        seen[task.name] = taught, {s.id for _, samples in watched(task) for s in samples}
        return STAND_INS["train"](task)

    recipe = load(recipe_file)
    pipeline.run(recipe, steps={**STAND_INS, "train": look}, screen=Screen(Console(file=io.StringIO())))
    for taught, watched_ids in seen.values():
        assert taught and watched_ids and not taught & watched_ids
    # stage1 watches the modality questions of split validation only: q5 and q13, q21
    assert seen["stage1"][1] == {"q5", "q13", "q21"}
    learns_validation = load(recipe_file, ["stages.stage1.data.0.split=validation"])
    pipeline.run(learns_validation, steps={**STAND_INS, "train": look}, screen=Screen(Console(file=io.StringIO())))
    assert seen["stage1"][1] == set()


def test_the_mixture_is_written_beside_the_adapter(recipe_file):
    recipe = load(recipe_file)
    walk(recipe)
    mix = pl.read_parquet(recipe.out / "stage2" / "mix.parquet")
    # 12 train questions, 6 about findings taken whole; 6 / (1 - 0.2) = 7.5 places, round(0.2 x 7.5) = 2 of them replay
    assert mix["source"].value_counts().sort("source")["count"].to_list() == [6, 2]
    assert mix.columns == ["place", "corpus", "source", "id"] and mix["place"].to_list() == list(range(8))


def test_steps_of_an_earlier_recipe_are_put_aside_and_come_back(recipe_file, tmp_path):
    both = load(recipe_file)
    walk(both)
    one = load(write_recipe(tmp_path, "one.yaml", text=RECIPE.replace("  - {{name: stage2", "  # - {{name: stage2")))
    assert [s.name for s in one.stages] == ["stage1"]
    assert walk(one) == ["leakage", "scores", "saliency", "report"]
    assert sorted(p.name for p in (one.out / "predictions").iterdir()) == [
        "base-blank",
        "base-none",
        "stage1-blank",
        "stage1-none",
    ]
    assert (one.out / "earlier" / "steps" / "stage2" / "stage.json").is_file() and not (one.out / "stage2").exists()
    assert walk(both) == ["leakage", "scores", "saliency", "report"]  # nothing is trained or asked again


def test_until_stops_early(recipe_file):
    recipe = load(recipe_file)
    assert walk(recipe, until="train") == STEPS[:4]
    assert not (recipe.out / "report.html").exists()


def test_the_score_table_shows_intervals_and_the_majority_answer():
    row = {"metric": "closed_accuracy", "slice": {"kind": "closed"}, "n": 40, "value": 0.85, "low": 0.8, "high": 0.9}
    scores = {
        "metrics": [
            {**row, "arm": "stage2", "control": "none"},
            {**row, "arm": "stage2", "control": "blank", "value": None},
        ],
        "majority": [{"slice": {"kind": "closed"}, "n": 40, "value": 0.5, "low": 0.4, "high": 0.6}],
    }
    said = io.StringIO()
    Console(file=said, width=120).print(score_table(scores))
    lines = [" ".join(line.split()) for line in said.getvalue().splitlines()]
    assert "stage2 40 85.0 (80.0-90.0) -" in lines
    assert "majority answer 40 50.0 (40.0-60.0)" in lines
    assert [span(s) for s in (3.21, 245, 7384)] == ["3.2 s", "4 min 05 s", "2 h 03 min"]
