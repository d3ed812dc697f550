"""What the trust room reaches on runs: failure AUROC against the best single indicator, calibration, the promise.

In: run folders that `radvqa trust` has judged. Out: a JSON of the numbers with what must be reached, and the pictures
of docs/trust.md.

    python benchmarks/trust.py runs/vqa_rad runs/medpix --out benchmarks/trust-2cpu.json --pictures docs
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

import matplotlib
import polars as pl

from radvqa.stage import record
from radvqa.trust.quality import auroc

matplotlib.use("Agg")
from matplotlib import pyplot as plt

MIN_AUROC, MAX_CALIBRATION, MIN_HELD = 0.70, 0.05, 0.90


def measured(run: Path) -> dict[str, Any]:
    """The numbers of one run, and whether each is reached."""
    found = json.loads((run / "trust" / "trust.json").read_text())
    table = pl.read_parquet(run / "trust" / "indicators.parquet")
    best = next(one for one in found["indicators"] if one["name"] == found["single"])
    risk, difference = found["risk"], best["auroc_difference"]
    tried = [{"alpha": rule["alpha"], **rule["safe"], **rule["resplits"]} for rule in found["abstention"]]
    wrong = table["wrong"].to_numpy()
    assert abs(auroc(table["risk"].to_numpy(), wrong) - risk["auroc"]["value"]) < 1e-9
    took = record(run / "trust")
    return {
        "run": run.name,
        "n": found["n"],
        "num_wrong": found["num_wrong"],
        "num_clusters": found["num_clusters"],
        "splits": found["splits"],
        "auroc": risk["auroc"],
        "best_single": {"name": found["single"], "auroc": best["auroc"], "aurc": best["aurc"]},
        "auroc_above_best_single": difference,
        "aurc": risk["aurc"],
        "best_possible_aurc": found["best_aurc"],
        "calibration_error": risk["calibration_error"],
        "calibration_floor": risk["calibration_floor"],
        "boosting": {name: found["boosting"][name] for name in ("auroc", "aurc", "calibration_error")},
        "abstention": tried,
        "groups": found["slices"],
        "wall_s": took and took["wall_s"],
        "reached": {
            "auroc at least 0.70, not below the best single": risk["auroc"]["value"] >= MIN_AUROC
            and difference["high"] >= 0,
            "auroc interval above the best single": difference["low"] > 0,
            "calibration error at most 0.05": risk["calibration_error"] <= MAX_CALIBRATION,
            "promise held in at least 90 % of resplits": all(one["held"] >= MIN_HELD for one in tried),
            "of the promises that answer anything": [one["alpha"] for one in tried if one["mean_coverage"] > 0.05],
        },
    }


def picture(runs: list[Path], out: Path) -> None:
    """Reliability diagram and risk-coverage curve side by side, a row a run."""
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(len(runs), 2, figsize=(9, 4.3 * len(runs)), squeeze=False)
    for run, (left, right) in zip(runs, axes):
        found = json.loads((run / "trust" / "trust.json").read_text())
        points = found["risk"]["reliability"]
        spread = [[p["wrong"] - p["low"] for p in points], [p["high"] - p["wrong"] for p in points]]
        left.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
        left.errorbar([p["risk"] for p in points], [p["wrong"] for p in points], spread, fmt="o", color="#a85a00")
        said = f"calibration error {found['risk']['calibration_error']:.3f}, floor {found['risk']['calibration_floor']:.3f}"
        left.set(
            title=f"{run.name}: {found['n']} answers, {found['num_wrong']} wrong\n{said}", xlim=(0, 1), ylim=(0, 1.02)
        )
        left.set(xlabel="risk foreseen", ylabel="share wrong")
        single = found["single"]
        for name, style in (("risk", {"color": "#a85a00"}), (single, {"color": "#0072b2", "linestyle": "--"})):
            curve = found["curves"][name]
            right.plot(curve["coverage"], curve["error"], label=name if name == "risk" else f"{name} alone", **style)
        areas = (
            found["risk"]["aurc"]["value"],
            next(i for i in found["indicators"] if i["name"] == single)["aurc"]["value"],
        )
        right.set(title=f"area {areas[0]:.3f}, of {single} {areas[1]:.3f}", xlim=(0, 1), ylim=(0, None))
        right.set(xlabel="share answered, least risk first", ylabel="share wrong among them")
        right.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder for trust.png")
    told = parser.parse_args()
    found = {"hardware": f"{os.cpu_count()} CPUs, {platform.machine()}", "runs": [measured(run) for run in told.runs]}
    text = json.dumps(found, indent=1, ensure_ascii=False)
    print(text)
    if told.out:
        told.out.write_text(text + "\n")
    if told.pictures:
        picture(told.runs, told.pictures / "trust.png")


if __name__ == "__main__":
    main()
