"""The scaling law: recovered where it is known, refused where it says never, and warned of where points cannot tell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import least_squares
from typer.testing import CliRunner

from radvqa.cli import app
from radvqa.errors import InputError
from radvqa.scaling import FORMS, Points, estimate, falling, floor, form_for, held_out, reach, read_points
from radvqa.scaling.estimate import from_summary
from radvqa.scaling.fit import fit_one, huber
from radvqa.scaling.study import write_fits

CURVES = Path(__file__).parent.parent / "docs" / "founding_curves.csv"
SIZES = np.array([100.0, 200, 500, 1000, 2000, 5000, 10000])
TRUTH = [10, 0.4, 1.0]
TRUE = {
    "data": [np.log(10), 0.4, 1.0],
    "model": [np.log(2), 0.5, 1.4],
    "joint": [np.log(8), 0.1, 0.3, 1.2],
    "additive": [np.log(0.5), 0.6, np.log(8), 0.4, 1.0],
}


def simulated(name: str, spread: float = 0.0, seed: int = 0, repeats: int = 1) -> Points:
    form = FORMS[name]
    ranks = np.array([1.0, 2, 4, 8, 16])
    levels = {"D": SIZES, "X": ranks if "D" in form.factors else np.array([1.0, 2, 4, 8, 16, 32, 64])}
    grids = np.meshgrid(*(levels[factor] for factor in form.factors))
    factors = {factor: np.tile(grid.ravel(), repeats) for factor, grid in zip(form.factors, grids)}
    logs = np.log(np.stack(list(factors.values()), axis=1))
    noise = np.random.default_rng(seed).normal(0, spread, len(logs))
    return Points("all", form.predict(np.array([TRUE[name]]), logs)[0][0] * np.exp(noise), factors)


@pytest.mark.parametrize("name", list(FORMS))
def test_without_noise_every_form_finds_its_parameters(name):
    points = simulated(name)
    values, _ = fit_one(FORMS[name], np.log(points.loss), points.logs(FORMS[name]))
    np.testing.assert_allclose(values, TRUE[name], rtol=1e-6)


@pytest.mark.parametrize("name", list(FORMS))
def test_derivatives_are_those_of_the_prediction(name):
    form, points, step = FORMS[name], simulated(name), 1e-6
    logs, values = points.logs(form), np.array([TRUE[name]])
    slopes = form.predict(values, logs)[1][0]
    for place in range(len(form.parameters)):
        moved = np.repeat(values, 2, axis=0)
        moved[:, place] += [step, -step]
        up, down = form.predict(moved, logs)[0]
        np.testing.assert_allclose(slopes[:, place], (up - down) / (2 * step), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", ["data", "joint", "additive"])
def test_the_minimum_is_that_of_scipy(name):
    form, points = FORMS[name], simulated(name, 0.02, seed=3)
    logs, targets = points.logs(form), np.log(points.loss)
    values, delta = fit_one(form, targets, logs)

    def residuals(at: np.ndarray) -> np.ndarray:
        return targets - np.log(form.predict(at[None], logs)[0][0])

    tight = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15, "max_nfev": 5000}
    peer = least_squares(residuals, np.array(TRUE[name]), loss="huber", f_scale=delta, x_scale="jac", **tight)
    ours = huber(residuals(values), delta).sum()
    assert ours <= peer.cost * (1 + 1e-9)
    np.testing.assert_allclose(values, peer.x, rtol=1e-3)


def test_one_wrong_run_in_fourteen_hardly_moves_the_law():
    points = simulated("data", 0.005, seed=1, repeats=2)
    before = estimate(points, FORMS["data"], num_draws=100)
    points.loss[5] *= 1.5
    after = estimate(points, FORMS["data"], num_draws=100)
    assert abs(after.value("E") - before.value("E")) < 0.02  # least squares moves it by more than 0.1
    np.testing.assert_allclose(after.values, before.values, atol=0.1)


def test_the_truth_is_in_the_intervals_in_at_least_85_of_100_draws():
    held = np.zeros(3)
    for seed in range(100):
        fit = estimate(simulated("data", 0.01, seed, repeats=2), FORMS["data"], num_draws=100, seed=seed)
        low, high = np.array([fit.interval(name) for name in ("A", "beta", "E")]).T
        held += (low <= TRUTH) & (high >= TRUTH)
    assert (held >= 85).all() and (held <= 99).all(), held  # wide enough, and not so wide as to say nothing


def test_the_order_of_points_and_a_unit_do_not_matter():
    points = simulated("joint", 0.01, seed=2)
    fit = estimate(points, FORMS["joint"], num_draws=100)
    shuffled = estimate(points.chosen(np.random.default_rng(0).permutation(len(points))), FORMS["joint"], num_draws=100)
    np.testing.assert_allclose(shuffled.values, fit.values, atol=1e-6)
    thousands = Points("all", points.loss, {"X": points.factors["X"], "D": points.factors["D"] / 1000})
    other = estimate(thousands, FORMS["joint"], num_draws=100)
    np.testing.assert_allclose(other.values[1:], fit.values[1:], atol=1e-6)
    np.testing.assert_allclose(other.value("A"), fit.value("A") / 1000 ** fit.value("beta"), rtol=1e-6)


# ---------------------------------------------------------------- what follows from a law


@pytest.mark.parametrize("name", ["data", "joint", "additive"])
def test_the_data_a_target_needs_gives_that_target(name):
    fit = estimate(simulated(name, 0.005), FORMS[name], num_draws=200)
    model = 4.0 if "X" in fit.form.factors else None
    target = floor(fit, model)[0] + 0.1
    found = reach(fit, target, model=model)
    factors = {"D": np.array([found.data]), "X": np.array([4.0])}
    np.testing.assert_allclose(fit.predict(factors), target, rtol=1e-9)
    assert found.low < found.data < found.high


def test_a_target_under_the_floor_is_refused_with_the_reason():
    fit = estimate(simulated("data", 0.005), FORMS["data"], num_draws=200)
    with pytest.raises(InputError, match=r"0\.9 is never reached: the floor is \d\.\d+ \(90 % interval"):
        reach(fit, 0.9)
    near = reach(fit, fit.value("E") + 0.002)  # above the floor, but within its interval
    assert near.high == np.inf and near.never > 0.1 and near.beyond > 1
    with pytest.raises(InputError, match="needs X above 0"):
        reach(estimate(simulated("joint"), FORMS["joint"], num_draws=100), 1.5)
    with pytest.raises(InputError, match="has no D"):
        reach(estimate(simulated("model"), FORMS["model"], num_draws=100), 1.5)


def test_the_largest_runs_are_foretold_from_the_others():
    found = held_out(simulated("data", 0.005, repeats=2), FORMS["data"])
    assert found is not None and found.at == 10000 and found.n == 2
    assert found.error < 0.03 < found.carried
    assert held_out(simulated("data").chosen(np.arange(4)), FORMS["data"]) is None  # three points for three parameters
    joint = held_out(simulated("joint"), FORMS["joint"])
    assert joint is not None and joint.n == 5 and joint.error < 1e-6


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (simulated("data", 0.01).chosen(np.array([0, 2, 4])), "3 points for 3 parameters"),
        (simulated("data", 0.01, repeats=3).chosen(np.arange(21) % 7 < 3), "D takes 3 values"),
        (simulated("data", 0.1, seed=3), "beta is not identified"),
        (Points("all", np.exp(np.random.default_rng(0).normal(0, 0.01, 7)), {"D": SIZES}), "beta"),
        (Points("all", 9 * SIZES**-0.3, {"D": SIZES}), "no floor shows"),
        (Points("all", 1 + 9 * SIZES**-0.3, {"D": SIZES}, ("a",) * 7), "come from one run"),
        (Points("all", 1 + 9 * SIZES**-0.3, {"D": SIZES, "X": SIZES / 100}), "cannot be told apart"),
    ],
)
def test_what_the_points_cannot_tell_is_said(points, said):
    fit = estimate(points, form_for(points), num_draws=100)
    assert any(said in warning for warning in fit.warnings), fit.warnings
    clear = estimate(simulated("data", 0.002, repeats=2), FORMS["data"], num_draws=200)
    assert not clear.warnings


def test_the_form_follows_from_what_varies():
    assert form_for(simulated("joint")).name == "joint"
    assert form_for(simulated("model")).name == "model"
    one_rank = Points("all", np.ones(7), {"D": SIZES, "X": np.full(7, 12.0)})
    assert form_for(one_rank).name == "data"
    with pytest.raises(InputError, match="same data and model"):
        form_for(Points("all", np.ones(3), {"D": np.ones(3)}))
    with pytest.raises(InputError, match="did you mean joint"):
        form_for(simulated("joint"), "jont")
    with pytest.raises(InputError, match="2 points, L"):
        estimate(simulated("data").chosen(np.arange(2)), FORMS["data"])
    with pytest.raises(InputError, match="needs X"):
        estimate(simulated("data"), FORMS["joint"])


# ---------------------------------------------------------------- the founding paper's curves


def test_the_papers_annealed_curve_has_the_lower_floor():
    curves = {points.group: falling(points) for points in read_points(CURVES, data="epochs", by="run")}
    assert {name: left for name, (_, left) in curves.items()} == {
        "MedPix": 6, "ROCO": 3, "ROCO+MedPix annealed": 1, "SLAKE closed": 0,
    }  # fmt: skip
    fits = {name: estimate(points, FORMS["data"], num_draws=400) for name, (points, _) in curves.items()}
    plain, annealed = fits["ROCO"], fits["ROCO+MedPix annealed"]
    assert annealed.value("E") == pytest.approx(1.792, abs=0.002) and plain.value("E") == pytest.approx(2.0, abs=0.002)
    assert annealed.interval("E")[1] < plain.interval("E")[0]
    assert all(any("one run" in warning for warning in fit.warnings) for fit in fits.values())
    with pytest.raises(InputError, match="never reached"):
        reach(plain, 1.85)  # the loss that the annealed curve has after its fifth epoch


# ---------------------------------------------------------------- files and the command line


def table(folder: Path, text: str, name: str = "points.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("loss,size\n1,2\n", "points.csv: there is no column 'data'"),
        ("loss,data\n1,100\n0.9,-5\n", "points.csv, row 2, data: found -5"),
        ("loss,data\n1,100\nnan,200\n", "points.csv, row 2, loss: found"),
        ("loss,data\n1,100\nx,200\n", "row 2, loss: found 'x'"),
        ("loss,data\n", "there are no points"),
    ],
)
def test_a_table_that_is_wrong_is_told_with_its_row(tmp_path, text, said):
    with pytest.raises(InputError) as error:
        read_points(table(tmp_path, text))
    assert said in str(error.value)


def test_files_that_are_no_table(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_points(tmp_path / "points.csv")
    with pytest.raises(InputError, match="is no table"):
        read_points(table(tmp_path, "x", "points.txt"))
    with pytest.raises(InputError, match="cannot be read"):
        read_points(table(tmp_path, "x", "points.parquet"))


def test_a_written_law_answers_as_the_one_that_was_fitted(tmp_path):
    fits, _ = write_fits([simulated("joint", 0.01)], tmp_path / "fit", inputs={}, num_draws=100)
    law = json.loads((tmp_path / "fit" / "fit.json").read_text())["laws"][0]
    again = from_summary(law)
    assert reach(again, 1.5, model=8).data == pytest.approx(reach(fits[0], 1.5, model=8).data)
    assert again.interval("E") == pytest.approx(fits[0].interval("E"))
    assert (tmp_path / "fit" / "fit.png").read_bytes()[:4] == b"\x89PNG"


def test_the_command_line_fits_and_answers(tmp_path):
    run = CliRunner().invoke
    out = str(tmp_path / "fit")
    options = ["--data", "epochs", "--by", "run", "--until-lowest", "--together", "--draws", "100", "--out", out]
    said = run(app, ["scaling", "fit", str(CURVES), *options])
    assert said.exit_code == 0, said.output
    assert "ROCO+MedPix annealed: L(D) = A / D^beta + E, 9 points" in said.output and "held out" in said.output
    assert not list(tmp_path.glob("*.partial"))
    said = run(app, ["scaling", "reach", out, "2.04", "--group", "ROCO"])
    assert said.exit_code == 0 and "for a loss of 2.04" in said.output
    for arguments, expected in (
        (["1.5", "--group", "ROCO"], "never reached: the floor is 2"),
        (["1.5"], "choose MedPix, ROCO"),
        (["1.5", "--group", "ROC"], "did you mean ROCO"),
    ):
        said = run(app, ["scaling", "reach", out, *arguments])
        assert said.exit_code == 2 and expected in said.output
    said = run(app, ["scaling", "reach", str(CURVES), "1"])
    assert said.exit_code == 2 and "is no fit.json" in said.output
