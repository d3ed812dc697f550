"""How often the intervals of the scaling law hold the truth: simulated laws, realistic noise, hundreds of each.

    python benchmarks/scaling.py --out benchmarks/scaling-2cpu.json     # goes on where it was cut, a hundred at a time

Each design is one a study could have; the noise of a run is normal in the logarithm of its loss, and in `outliers` one
run in sixteen is off by much more (a run that diverged a little, a bad seed). `reach` is the data a loss needs that lies
two thirds of the way from the loss at the most data down to the floor. Counted: intervals, at 90 %, that hold the truth,
of a hundred. A hundred laws are few: where the truth is 90, one hundred in twenty has under 85 (and A, E and the exponents
miss together). So the counts of every hundred stand beside the mean.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from radvqa.errors import InputError
from radvqa.scaling import FORMS, Points, estimate, reach

HUNDREDS = 4
DESIGNS: dict[str, tuple[str, list[float], dict[str, list[float]], float, int]] = {
    # form, true parameters, levels of the factors, standard deviation of the log loss, runs a cell
    "data, 7 sizes x 2 seeds": (
        "data", [10.0, 0.4, 1.0], {"D": [100, 200, 500, 1000, 2000, 5000, 10000]}, 0.01, 2,
    ),
    "model, 6 ranks x 3 seeds": ("model", [0.6, 0.5, 1.4], {"X": [1, 2, 4, 8, 16, 32]}, 0.005, 3),
    "joint, 6 sizes x 4 ranks": (
        "joint", [8.0, 0.1, 0.3, 1.2], {"X": [2, 4, 8, 16], "D": [100, 300, 1000, 3000, 10000, 30000]}, 0.01, 1,
    ),
    "additive, 6 sizes x 5 ranks x 2 seeds": (
        "additive", [0.5, 0.6, 8.0, 0.4, 1.0], {"X": [1, 2, 4, 8, 16], "D": [100, 300, 1000, 3000, 10000, 30000]}, 0.01, 2,
    ),
}  # fmt: skip


def simulate(design: str, outliers: bool, rng: np.random.Generator) -> tuple[Points, np.ndarray]:
    """Points of one study, and the true parameters as `Form.predict` takes them."""
    name, true, levels, spread, repeats = DESIGNS[design]
    form = FORMS[name]
    grids = np.meshgrid(*(np.repeat(np.array(levels[factor], float), 1) for factor in form.factors), indexing="ij")
    factors = {factor: np.tile(grid.ravel(), repeats) for factor, grid in zip(form.factors, grids)}
    values = np.array(true)
    values[form.is_coefficient] = np.log(values[form.is_coefficient])
    logs = np.log(np.stack([factors[factor] for factor in form.factors], axis=1))
    noise = rng.normal(0, spread, len(logs))
    if outliers:
        noise += (rng.random(len(logs)) < 1 / 16) * rng.normal(0, 8 * spread, len(logs))
    loss = form.predict(values[None], logs)[0][0] * np.exp(noise)
    return Points("all", loss, factors), values


def coverage(design: str, outliers: bool, hundred: int, num_draws: int, seed: int = 0) -> dict[str, int]:
    """Of one hundred of simulated studies, in how many each parameter lies in its 90 % interval."""
    form = FORMS[DESIGNS[design][0]]
    held = dict.fromkeys([*form.parameters, *(["reach"] if "D" in form.factors else [])], 0)
    for number in range(100 * hundred, 100 * (hundred + 1)):
        points, true = simulate(design, outliers, np.random.default_rng([seed, number]))
        fit = estimate(points, form, num_draws=num_draws, seed=number)
        for name, value, is_coefficient in zip(form.parameters, true, form.is_coefficient):
            low, high = fit.interval(name)
            held[name] += bool(low <= (np.exp(value) if is_coefficient else value) <= high)
        if "reach" in held:
            held["reach"] += bool(_reached(fit, points, true))
    return held


def _reached(fit: Any, points: Points, true: np.ndarray) -> bool:
    model = float(points.factors["X"].max()) if "X" in points.factors else None
    most = {name: np.array([column.max()]) for name, column in points.factors.items()}
    logs = np.log(np.stack([most[factor] for factor in fit.form.factors], axis=1))
    loss = float(fit.form.predict(true[None], logs)[0][0, 0])
    bottom = true[-1] + (np.exp(true[0] - true[1] * np.log(model)) if fit.form.name == "additive" else 0)
    target = bottom + (loss - bottom) / 3
    beta = true[fit.form.parameters.index("beta")]
    needed = float(points.factors["D"].max()) * 3 ** (1 / beta)
    try:
        found = reach(fit, float(target), model=model)
    except InputError:  # the fitted floor lies above: refused, which is a miss here
        return False
    return found.low <= needed <= found.high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hundreds", type=int, default=HUNDREDS)
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--only", default="", help="Designs whose name begins so.")
    arguments = parser.parse_args()
    found: dict[str, Any] = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
    found |= {"hardware": f"{platform.machine()}, {os.cpu_count()} CPUs", "num_draws": arguments.draws}
    for design, outliers in itertools.product(DESIGNS, (False, True)):
        name = f"{design}{', outliers' if outliers else ''}"
        row = found.setdefault(name, {"each_hundred": {}, "cpu_s": 0.0})
        for hundred in range(row.get("laws", 0) // 100, arguments.hundreds if name.startswith(arguments.only) else 0):
            start = time.process_time()
            for parameter, number in coverage(design, outliers, hundred, arguments.draws).items():
                row["each_hundred"].setdefault(parameter, []).append(number)
            row["laws"] = 100 * (hundred + 1)
            row["of_100"] = {key: round(float(np.mean(some)), 1) for key, some in row["each_hundred"].items()}
            row["cpu_s"] = round(row["cpu_s"] + time.process_time() - start, 1)
            found["when"] = datetime.now(UTC).date().isoformat()
            arguments.out.write_text(json.dumps(found, indent=1) + "\n")
            print(name, row["laws"], row["of_100"], row["cpu_s"], flush=True)


if __name__ == "__main__":
    main()
