"""How often the intervals of the scaling law hold the truth: simulated laws, realistic noise, five hundred of each.

    python benchmarks/scaling.py --out benchmarks/scaling-2cpu.json

Each design is one a study could have; the noise of a run is normal in the logarithm of its loss, and in `outliers` one
run in sixteen is off by much more (a run that diverged a little, a bad seed). `reach` is the data a loss needs that lies
two thirds of the way from the loss at the most data down to the floor. Counted: intervals, at 90 %, that hold the truth,
of a hundred. A hundred laws are few: where the truth is 90, one hundred in twenty has under 85 (and A, E and the exponents
miss together). So the counts of every hundred stand beside the mean.
"""

from __future__ import annotations

import argparse
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

NUM_LAWS = 500
HUNDRED = 100
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


def coverage(design: str, outliers: bool, num_laws: int, num_draws: int, seed: int = 0) -> dict[str, Any]:
    """Of a hundred simulated studies, in how many each parameter lies in its 90 % interval: mean, and each hundred."""
    form = FORMS[DESIGNS[design][0]]
    names = [*form.parameters, *(["reach"] if "D" in form.factors else [])]
    held = np.zeros((num_laws, len(names)), dtype=bool)
    widths: dict[str, list[float]] = {name: [] for name in form.parameters}
    for number in range(num_laws):
        points, true = simulate(design, outliers, np.random.default_rng([seed, number]))
        fit = estimate(points, form, num_draws=num_draws, seed=number)
        for place, (name, value, is_coefficient) in enumerate(zip(form.parameters, true, form.is_coefficient)):
            low, high = fit.interval(name)
            held[number, place] = low <= (np.exp(value) if is_coefficient else value) <= high
            widths[name].append(high - low)
        if "reach" in names:
            held[number, -1] = _reached(fit, points, true)
    hundreds = np.add.reduceat(held, np.arange(0, num_laws, HUNDRED)).tolist()
    return {
        "laws": num_laws,
        "held_of_100": {name: round(100 * float(share), 1) for name, share in zip(names, held.mean(axis=0))},
        "each_hundred": {name: [row[place] for row in hundreds] for place, name in enumerate(names)},
        "median_width": {name: float(f"{np.median(width):.3g}") for name, width in widths.items()},
    }


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
    parser.add_argument("--laws", type=int, default=NUM_LAWS)
    parser.add_argument("--draws", type=int, default=300)
    arguments = parser.parse_args()
    found: dict[str, Any] = {
        "when": datetime.now(UTC).date().isoformat(),
        "hardware": f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs",
        "interval": "90 %",
        "num_draws": arguments.draws,
    }
    for design in DESIGNS:
        for outliers in (False, True):
            start = time.process_time()
            row = coverage(design, outliers, arguments.laws, arguments.draws)
            row["cpu_s"] = round(time.process_time() - start, 1)
            found[f"{design}{', outliers' if outliers else ''}"] = row
            print(design, "outliers" if outliers else "", row["held_of_100"], row["cpu_s"], flush=True)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
