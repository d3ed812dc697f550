"""A study does what its arms have in common once; its table and comparisons say what the answers say, and no more."""

from __future__ import annotations

import csv
import io
import json
import re
import zlib
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console
from typer.testing import CliRunner

from radvqa.ablation.differences import compare_rows
from radvqa.ablation.gain import floor_gain, gains
from radvqa.ablation.rows import read_rows
from radvqa.ablation.study import Study, load_study, run_study
from radvqa.ablation.table import Table, make_table, write_table
from radvqa.cli import app
from radvqa.errors import InputError
from radvqa.material import evaluated
from radvqa.recipe import load
from radvqa.scaling import FORMS, estimate, falling, read_points
from radvqa.score import write_scores
from radvqa.score.paired import holm
from radvqa.screen import Screen
from radvqa.stage import is_done, record
from radvqa.steps import STEPS, adapter_of
from radvqa.task import Task
from standins import RECIPE, STAND_INS, write_recipe
from tiny import save_tiny

ARMS = """
arms:
  full: []
  no-stage1: [stages.stage1=null, stages.stage2.start=base]
  no-replay: ["stages.stage2.data.1=null"]
  again: [report.title=Again]
"""


def predict(task: Task) -> str:
    """Answers that are a function of weights, question and control, with all that the score room reads."""
    arm, control = task.item
    adapter = adapter_of(task.run, arm)
    weights = (adapter / "adapter_model.safetensors").read_text() if adapter else "base"
    rows = []
    for sample in (s for _, samples in evaluated(task) for s in samples):
        said = zlib.crc32(f"{weights} {control} {sample.id}".encode()) % 2
        known = {"id": sample.id, "image": sample.image, "kind": sample.kind, "question": sample.question}
        known |= {"answers": list(sample.answers), "topic": sample.topic, "source": sample.source}
        rows.append(known | {"arm": arm, "control": control, "answer": "yes" if said else "no"})
    pl.DataFrame(rows).write_parquet(task.folder / "predictions.parquet")
    return f"{len(rows)} answers"


def walk(study: Study, **more: Any) -> list[str]:
    """Run with stand-ins; `arm/step` of the steps that were done."""
    done: list[str] = []

    def noting(work):
        def wrapped(task):
            done.append(f"{task.run.name}/{task.name}")
            return work(task)

        return wrapped

    steps = {**STAND_INS, "predict": predict, "score": STEPS["score"]}
    screen = Screen(Console(file=io.StringIO(), width=200))
    run_study(study, steps={verb: noting(work) for verb, work in steps.items()}, screen=screen, **more)
    return done


@pytest.fixture
def study(tmp_path: Path) -> Study:
    found = load_study(write_recipe(tmp_path, text=RECIPE + ARMS))
    assert found is not None
    return found


# ---------------------------------------------------------------- the study


def test_what_arms_have_in_common_is_done_once(study):
    done = walk(study)
    assert [name for name in done if name.startswith("full/")] == [
        f"full/{name}"
        for name in (
            *("corpora/toy", "leakage", "stage1", "stage2"),
            *(f"predictions/{arm}-{control}" for arm in ("base", "stage1", "stage2") for control in ("none", "blank")),
            *("scores", "saliency", "report"),
        )
    ]
    assert [name for name in done if name.startswith("no-stage1/")] == [
        f"no-stage1/{name}"
        for name in (
            *("leakage", "stage2", "predictions/stage2-none", "predictions/stage2-blank"),
            *("scores", "saliency", "report"),
        )
    ]
    assert "no-replay/stage1" not in done and "no-replay/stage2" in done
    assert [name for name in done if name.startswith("again/")] == ["again/report"]
    for arm in study.arms:  # a step taken from another arm is a finished step like any other
        for folder in (study.out / arm / "corpora" / "toy", study.out / arm / "stage2"):
            assert is_done(folder, record(folder)["fingerprint"])
        run = json.loads((study.out / arm / "run.json").read_text())
        assert set(run["steps"]) >= {"corpora/toy", "stage2", "scores", "report"}
    assert not list(study.out.rglob("*.partial"))
    assert walk(study) == []


def test_a_change_of_one_arm_leaves_the_others_alone(study, tmp_path):
    walk(study)
    other = load_study(tmp_path / "recipe.yaml", ["arms.no-replay=[stages.stage2.lr=2e-5]"])
    assert {name.split("/")[0] for name in walk(other)} == {"no-replay"}
    fewer = load_study(
        tmp_path / "recipe.yaml", ["arms={full: [], new: [stages.stage1=null, stages.stage2.start=base]}"]
    )
    done = walk(fewer)  # a new name for what `no-stage1` was, which is no arm of this study any more
    assert "new/stage2" in done and list(fewer.arms) == ["full", "new"]
    rows = [row.name for row in read_rows([fewer.out])]
    assert rows == ["base model", "full", "new"]


def test_the_study_is_written_down_and_read_back(study):
    walk(study)
    again = load_study(study.out / "recipe.yaml")
    assert again is not None and dict(again.arms) == dict(study.arms) and walk(again) == []
    arm = load(study.out / "no-stage1" / "recipe.yaml")
    assert [stage.name for stage in arm.stages] == ["stage2"] and arm.stages[0].start == "base"
    assert arm == study.arms["no-stage1"] and arm.name == "small-no-stage1"
    assert load(study.out / "recipe.yaml").arms == ("base", "stage1", "stage2")  # what the arms have in common


def test_until_and_redo_reach_every_arm(study):
    done = walk(study, until="train")
    assert done == [
        *("full/corpora/toy", "full/leakage", "full/stage1", "full/stage2"),
        *("no-stage1/leakage", "no-stage1/stage2", "no-replay/leakage", "no-replay/stage2"),
    ]
    assert not (study.out / "table").exists()
    walk(study)
    assert walk(study, redo=["stage1"]) == ["full/stage1", "no-replay/stage1", "again/stage1"]
    with pytest.raises(InputError, match="no step 'stage3' in any arm"):
        walk(study, redo=["stage3"])


def test_a_recipe_without_arms_is_no_study(tmp_path):
    assert load_study(write_recipe(tmp_path)) is None


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        ("arms: []", "arms: found []; give a mapping"),
        ("arms: {}", "arms: found {}; give a mapping"),
        ("arms: {a: stages.stage1=null}", "arms.a: found 'stages.stage1=null'; give a list"),
        ("arms: {a: [stages.stage9.lr=1]}", "arms.a, stages.stage9: there is no item 'stage9'"),
        ("arms: {a: [stages.stage2.lrr=1]}", "arms.a, stages.stage2.lrr: there is no such key; did you mean lr?"),
        ("arms: {a: [stages.stage1=null]}", "arms.a, stages.stage2.start: found 'stage1'; allowed: base"),
        ("arms: {table: []}", "no arm can be called 'table'"),
        ("arms: {a/b: []}", "no arm can be called 'a/b'"),
        ("arms: {a: [out=elsewhere]}", "arms.a, out: every arm has its own"),
    ],
)
def test_a_mistake_in_an_arm_is_told_with_its_name(tmp_path, arms, said):
    file = write_recipe(tmp_path, text=RECIPE + arms.replace("{", "{{").replace("}", "}}") + "\n")
    with pytest.raises(InputError) as error:
        load_study(file)
    assert said in str(error.value) and str(error.value).startswith(str(file))


def test_a_mistake_found_on_the_way_names_the_arm(tmp_path):
    text = RECIPE + "arms: {{a: [], b: ['stages.stage1.data.0.where={{topic: colour}}']}}\n"
    study = load_study(write_recipe(tmp_path, text=text))
    with pytest.raises(InputError, match=r"arms\.b, stages\.stage1\.data\.0: corpus toy has no questions with"):
        walk(study)


def test_a_study_on_phantoms_with_real_rooms(tmp_path):
    text = f"""
name: real
out: {tmp_path / "real"}
model: {{name: {save_tiny(tmp_path / "model")}}}
data: {{phantom: {{dataset: phantom, options: {{num_images: 15, size_px: 64, num_workers: 0, test_share: 0.4}}}}}}
adapt: {{rank: 2, alpha: 4}}
stages: [{{name: stage1, steps: 2, batch_size: 4, lr: 1e-2, eval_samples: 2, data: [{{corpus: phantom}}]}}]
evaluate: {{data: [{{corpus: phantom, max_samples: 12}}], controls: [blank], max_new_tokens: 3, bootstrap_draws: 100}}
explain: null
arms: {{full: [], rank-4: [adapt.rank=4]}}
"""
    (tmp_path / "recipe.yaml").write_text(text)
    said = CliRunner().invoke(app, ["run", str(tmp_path / "recipe.yaml")])
    assert said.exit_code == 0, said.output
    out = tmp_path / "real"
    assert (
        said.output.count("the same as") == 4
    )  # the corpus, its leakage, and the base model's answers to two controls
    assert {path.name for path in (out / "table").iterdir()} >= {"table.md", "table.tex", "table.html", "table.csv"}
    table = json.loads((out / "table" / "table.json").read_text())
    assert table["rows"] == ["base model", "full", "rank-4"] and table["reference"] == "full"
    assert any(re.fullmatch(r"always [A-D] is right in \d+\.\d % of \d+ choice questions", n) for n in table["notes"])
    said = CliRunner().invoke(app, ["compare", f"{out}/full", f"{out}/rank-4", "--out", str(tmp_path / "compare")])
    assert said.exit_code == 0 and "12 questions answered by both" in said.output
    page = (tmp_path / "compare" / "compare.html").read_text()
    assert "http" not in page.replace("http://www.w3.org", "") and "rank-4 against full" in page


# ---------------------------------------------------------------- the table

TRUTH = {f"q{i}": "yes" if i % 3 else "no" for i in range(40)}


def write_run(folder: Path, wrong: dict[str, set[int]], *, open_from: int = 99, name: str = "run") -> Path:
    """A scored run: stage -> numbers of the questions it has wrong. Two questions an image."""
    rows = []
    for stage, missed in wrong.items():
        for control in ("none", "blank"):
            for i, (question, answer) in enumerate(TRUTH.items()):
                right = i not in missed and control == "none"
                kind = "open" if i >= open_from else "closed"
                said = answer if right else "maybe so"
                common = {"id": question, "image": f"i{i // 2}", "kind": kind, "question": f"Is it {i}?"}
                common |= {"answers": [answer], "topic": "organ" if i % 2 else "plane", "source": "toy"}
                rows.append(common | {"arm": stage, "control": control, "answer": said})
    frame = pl.DataFrame(rows)
    for (stage, control), part in frame.group_by("arm", "control"):
        place = folder / name / "predictions" / f"{stage}-{control}"
        place.mkdir(parents=True)
        part.write_parquet(place / "predictions.parquet")
    files = sorted((folder / name / "predictions").iterdir())
    write_scores(files, folder / name / "scores", num_draws=100)
    return folder / name


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    first = write_run(tmp_path, {"base": set(range(30)), "stage1": set(range(20))}, name="first")
    return [first, write_run(tmp_path, {"base": set(range(30)), "stage1": set(range(4))}, name="second")]


def test_cells_are_the_scores_of_the_runs_and_tests_are_corrected_over_the_table(runs):
    table = make_table(read_rows([f"{runs[0]}:base", *runs]), metrics=["closed_accuracy", "token_f1"], draws=200)
    assert table.rows == ("first · base", "first", "second") and table.reference == "first"
    second = table.cell("", "second", ("closed_accuracy", "none"))
    assert (second.num_right, second.n, second.num_clusters, second.value) == (36, 40, 20, 0.9)
    assert second.low < 0.9 < second.high
    scores = json.loads((runs[1] / "scores" / "scores.json").read_text())["metrics"]
    wanted = {"arm": "stage1", "control": "none", "metric": "closed_accuracy", "slice": {}}
    row = next(row for row in scores if wanted.items() <= row.items())
    assert row["value"] == second.value and row["sd"] == pytest.approx(second.sd)
    one = second.difference
    assert one.value == pytest.approx(0.4) and one.n == 40 and one.p < 0.01  # 16 questions on 8 images are better
    assert one.p == pytest.approx(2 / 2**8, abs=2e-3)  # all 8 signs alike: 2 of 256 patterns
    assert len(table.tests) == 4
    assert [cell.difference.p_holm for cell in table.tests] == holm([cell.difference.p for cell in table.tests])
    assert table.cell("", "first", ("closed_accuracy", "none")).difference is None


def test_the_usual_columns_end_with_the_blind_score(runs):
    table = make_table(read_rows(runs), draws=100)
    assert table.columns[0] == ("closed_accuracy", "none") and table.columns[-1] == ("closed_accuracy", "blank")
    assert table.cell("", "first", ("closed_accuracy", "blank")).value == 0
    assert all(cell.control == "none" for cell in table.tests)


def test_columns_that_repeat_another_are_named_and_left_out(runs):
    """Right and wrong answers of one word: five metrics are one number, and would be five times the tests."""
    table = make_table(read_rows(runs), draws=100)
    assert [metric for metric, control in table.columns if control == "none"] == ["closed_accuracy", "rouge2"]
    assert "ROUGE-1, ROUGE-L" in table.notes[-1] and table.notes[-1].endswith("in every answer")
    assert len(table.tests) == 2
    asked = make_table(read_rows(runs), metrics=["rouge1", "rougeL"], draws=100)  # what is asked for is printed
    assert len(asked.columns) == 2


def test_blocks_divide_the_rows(runs):
    table = make_table(read_rows(runs), metrics=["closed_accuracy"], by="topic", draws=100)
    assert table.blocks == ("organ", "plane")
    assert [table.cell(block, "second", ("closed_accuracy", "none")).num_right for block in table.blocks] == [18, 18]
    with pytest.raises(InputError, match="allowed: kind, source, topic"):
        make_table(read_rows(runs), by="colour")


def test_rows_that_answered_other_questions_are_compared_on_those_in_common(runs, tmp_path):
    file = runs[1] / "scores" / "scores.parquet"
    pl.read_parquet(file).filter(pl.col("id") != "q39").write_parquet(file)
    table = make_table(read_rows(runs), metrics=["closed_accuracy"], draws=100)
    cell = table.cell("", "second", ("closed_accuracy", "none"))
    assert (cell.n, cell.difference.n, cell.num_right) == (39, 39, 35)
    assert table.notes == ("40 questions on 20 images", "second answered 39 of them")


def test_formats_say_the_same(runs, tmp_path):
    table = write_table(runs, tmp_path / "table", draws=100, metrics=("closed_accuracy", "rougeL"))
    markdown, latex, html, text = (
        (tmp_path / "table" / f"table.{end}").read_text() for end in ("md", "tex", "html", "csv")
    )
    cell = table.cell("", "second", ("closed_accuracy", "none"))
    shown = f"90.0 [{100 * cell.low:.1f}, {100 * cell.high:.1f}]"
    assert f"| second | 40 | {shown}\\* |" in markdown and f"second & 40 & {shown}$^*$" in latex
    assert f"<td>{shown}*</td>" in html and "<script" not in html and 'src="data:image/png' in html
    assert (tmp_path / "table" / "table.png").read_bytes().startswith(b"\x89PNG")
    assert "after Holm's correction over the 2 tests" in markdown
    read = {(row["row"], row["metric"]): row for row in csv.DictReader(io.StringIO(text))}
    assert float(read["second", "closed_accuracy"]["value"]) == 0.9
    assert float(read["second", "closed_accuracy"]["difference_p_holm"]) == cell.difference.p_holm
    assert read["first", "rougeL"]["difference_p"] == ""
    assert latex.count("&") == 3 * 3 and r"\toprule" in latex


def test_the_papers_shape_prints_right_of_all_and_the_baseline_in_brackets(runs, tmp_path):
    metrics = ("closed_accuracy", "rouge1")
    places = [f"{runs[0]}:base", *runs]
    write_table(places, tmp_path / "t", shape="paper", baseline="first · base", metrics=metrics, draws=100)
    lines = (tmp_path / "t" / "table.md").read_text().splitlines()
    assert lines[0] == "|  | n | closed accuracy | ROUGE-1 |"
    assert lines[2].startswith("| first | 40 | 20/40 (10/40) | 0.500 ± 0.506 (0.250 ± 0.439) |")
    for bad, said in (({"shape": "tall"}, "allowed: interval, paper"), ({"baseline": "x"}, "allowed: first")):
        with pytest.raises(InputError, match=said):
            write_table(runs, tmp_path / "bad", **bad)
    assert not (tmp_path / "bad").exists()


def test_a_judges_column_comes_first_though_no_metric_is_registered_for_it(runs):
    for run in runs:
        file = run / "scores" / "scores.parquet"
        frame = pl.read_parquet(file)
        frame.with_columns(judge=pl.when(pl.col("id") == "q0").then(None).otherwise(pl.lit(1.0))).write_parquet(file)
    table = make_table(read_rows(runs), draws=100)
    assert table.columns[0] == ("judge", "none") and table.cell("", "first", ("judge", "none")).num_right == 39


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda run: [run / "nothing"], "there are no scores here; there is no folder"),
        (lambda run: [run / "predictions"], "there are no scores here; give a run"),
        (lambda run: [f"{run}:stage3"], "found 'stage3'; did you mean stage1"),
    ],
)
def test_places_without_scores_are_refused(runs, change, said):
    with pytest.raises(InputError, match=re.escape(said)):
        read_rows(change(runs[0]))


def test_the_command_line_makes_a_table(runs, tmp_path):
    arguments = [
        "table",
        *map(str, runs),
        "--metric",
        "closed_accuracy",
        "--draws",
        "100",
        "--out",
        str(tmp_path / "t"),
    ]
    said = CliRunner().invoke(app, arguments)
    assert said.exit_code == 0 and "90.0 [" in said.output and "table.html" in said.output
    said = CliRunner().invoke(app, [*arguments[:-1], str(tmp_path / "u"), "--metric", "acuracy"])
    assert said.exit_code == 2 and "found 'acuracy'" in said.output and not (tmp_path / "u").exists()


# ---------------------------------------------------------------- two runs, question by question


def test_a_comparison_counts_who_is_better_where(runs):
    found = compare_rows(*read_rows(runs), draws=100)
    assert found.counts == {
        "same score": 24, "b better": 16, "a better": 0, "unscored": 0, "other words": 16, "n": 40,
    }  # fmt: skip
    better = found.questions.filter(pl.col("outcome") == "b better")
    assert sorted(better["id"], key=lambda name: int(name[1:])) == [f"q{i}" for i in range(4, 20)]
    assert {next(iter(row["slice"].items())) for row in found.slices} == {("topic", "organ"), ("topic", "plane")}
    assert all(row["difference"] == pytest.approx(0.4) and row["n"] == 20 for row in found.slices)
    stages = compare_rows(*read_rows([f"{runs[0]}:base", f"{runs[0]}:stage1"]), draws=100)
    assert stages.counts["b better"] == 10 and stages.counts["a better"] == 0


def test_open_answers_are_better_where_their_score_is_higher(tmp_path):
    first = write_run(tmp_path, {"stage1": {38}}, open_from=20, name="first")
    second = write_run(tmp_path, {"stage1": {39}}, open_from=20, name="second")
    found = compare_rows(*read_rows([first, second]), draws=100)
    assert set(found.questions["metric"]) == {"closed_accuracy", "token_f1"}
    assert (found.counts["b better"], found.counts["a better"]) == (1, 1)


def test_runs_over_other_questions_are_refused(runs, tmp_path):
    file = runs[1] / "predictions" / "stage1-none" / "predictions.parquet"
    frame = pl.read_parquet(file)
    frame.with_columns(question=pl.lit("Is it so?")).write_parquet(file)
    with pytest.raises(InputError, match="ask different questions under this id"):
        compare_rows(*read_rows(runs))
    frame.with_columns(id="x" + pl.col("id")).write_parquet(file)
    with pytest.raises(InputError, match="no question in common"):
        compare_rows(*read_rows(runs))
    with pytest.raises(InputError, match="its answers are not here"):
        compare_rows(*read_rows([runs[0] / "scores", runs[1]]))
    with pytest.raises(InputError, match="has no closed_acuracy; did you mean closed_accuracy"):
        compare_rows(*read_rows([f"{runs[0]}:base", runs[0]]), metric="closed_acuracy")


# ---------------------------------------------------------------- the gain


def test_the_gain_of_pairs_is_their_mean_with_a_t_interval(tmp_path):
    wrong = {"a0": 20, "b0": 10, "a1": 20, "b1": 6}  # gains 10/40 and 14/40
    runs = [write_run(tmp_path, {"stage1": set(range(n))}, name=name) for name, n in wrong.items()]
    rows = read_rows(runs)
    found = gains([(rows[0], rows[1]), (rows[2], rows[3])], metrics=["closed_accuracy"], draws=100)
    assert [gain.value for gain in found] == pytest.approx([0.25, 0.35, 0.3])
    mean = found[2]  # sd 0.0707, error 0.05, t(0.975, 1) = 12.706
    assert mean.n == 2 and (mean.low, mean.high) == pytest.approx((0.3 - 0.6353, 0.3 + 0.6353), abs=1e-4)
    assert mean.p == pytest.approx(0.1051, abs=1e-3)
    assert [gain.p_holm for gain in found[:2]] == holm([gain.p for gain in found[:2]])
    places = [str(run) for run in runs]
    said = CliRunner().invoke(app, ["annealing", "gain", *places, "--metric", "closed_accuracy", "--draws", "100"])
    assert said.exit_code == 0 and "+0.250" in said.output and "mean of 2 pairs" in said.output
    said = CliRunner().invoke(app, ["annealing", "gain", *places[:3]])
    assert said.exit_code == 2 and "are no pairs" in said.output


def test_the_papers_annealed_floor_is_lower_and_by_how_much(tmp_path):
    curves = Path(__file__).parent.parent / "docs" / "founding_curves.csv"
    points = {one.group: falling(one)[0] for one in read_points(curves, data="epochs", by="run")}
    fits = [estimate(points[name], FORMS["data"], num_draws=100) for name in ("ROCO", "ROCO+MedPix annealed")]
    value, low, high = floor_gain(*fits)
    assert value == pytest.approx(0.208, abs=0.003) and 0.15 < low < value < high < 0.3
    out = str(tmp_path / "fit")
    options = ["--data", "epochs", "--by", "run", "--until-lowest", "--draws", "100", "--out", out]
    assert CliRunner().invoke(app, ["scaling", "fit", str(curves), *options]).exit_code == 0
    said = CliRunner().invoke(app, ["annealing", "gain", f"{out}:ROCO", f"{out}:ROCO+MedPix annealed"])
    assert said.exit_code == 0 and re.search(r"the annealed floor is 0\.20\d+ lower", said.output)
    assert "not independent" in said.output


def test_a_table_can_be_asked_for_any_cell(runs):
    table = make_table(read_rows(runs), draws=100)
    assert isinstance(table, Table) and all(
        table.cell(cell.block, cell.row, (cell.metric, cell.control)) is cell for cell in table.cells
    )
