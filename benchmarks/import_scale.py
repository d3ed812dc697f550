"""Memory and speed of an import: many questions over fewer images, and the pictures of MedPix.

    python benchmarks/import_scale.py --questions 1000000 --images 10000 --folder scale --out benchmarks/import-2cpu.json
    python benchmarks/import_scale.py --medpix MedPix-2-0 --folder scale --out benchmarks/import-medpix-2cpu.json

The first writes a table of questions and its pictures into the folder (kept, and used again) and imports it. The second
imports MedPix' training images, all of them and those alone that are at least LARGE_PX wide or high (a copy of the data
set may hold the others made smaller). JSON: seconds of wall clock and of processor, questions and images a second, peak
memory.
"""

import argparse
import json
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from radvqa.datasets import import_corpus

SIZE_PX, LARGE_PX = 224, 256


def make(folder: Path, num_questions: int, num_images: int) -> Path:
    """A JSON-lines table whose rows lie as data sets' rows do: the questions of an image are not beside each other."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number in range(num_images):
        file = folder / "images" / f"{number}.png"
        if not file.exists():
            small = Image.fromarray(np.random.default_rng(number).integers(0, 256, (28, 28), dtype=np.uint8))
            small.resize((SIZE_PX, SIZE_PX), Image.Resampling.BILINEAR).save(file)
    table = folder / f"questions-{num_questions}.jsonl"
    if not table.exists():
        with table.open("w") as stream:
            for number in range(num_questions):
                image = number % num_images
                row = {"id": f"q{number}", "question": f"Is there a nodule of {number % 97} mm in the left lung?"}
                row |= {
                    "answer": "yes" if number % 2 else "no",
                    "image": f"images/{image}.png",
                    "subject": f"p{image // 3}",
                }
                stream.write(json.dumps(row | {"modality": "CT", "plane": "axial", "split": "train"}) + "\n")
    return table


def measured(out: Path, name: str, path: Path, **options: Any) -> dict[str, Any]:
    """What an import took, and its peak memory so far in this process."""
    wall, processor = time.perf_counter(), time.process_time()
    card = import_corpus(name, path, out, progress=False, **options).card
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    found = {"questions": card["num_questions"], "images": card["num_images"]}
    found |= {"wall_s": round(wall, 1), "processor_s": round(processor, 1)}
    found |= {f"{unit}_per_processor_s": round(found[unit] / processor, 1) for unit in ("questions", "images")}
    found |= {"images_per_wall_s": round(found["images"] / wall, 1)}
    return found | {"peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def of_medpix(path: Path, folder: Path) -> dict[str, Any]:
    """The import of all training images, and of the large ones alone."""
    options = {"options": {"splits": ["train"]}}
    whole = measured(folder / "medpix", "medpix", path, **options)
    large = folder / "medpix-large"
    shutil.copytree(path, large, ignore=_small, dirs_exist_ok=True)
    return {"all": whole, "large": measured(folder / "medpix-corpus", "medpix", large, allow_missing=True, **options)}


def _small(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name.endswith(".png") and max(_size(Path(folder) / name)) < LARGE_PX]


def _size(file: Path) -> tuple[int, int]:
    with Image.open(file) as picture:
        return picture.size


def main() -> None:
    """Make the input if it is not there, import it, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=1_000_000)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--medpix", type=Path, help="The folder of MedPix 2.0.")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    if chosen.medpix:
        result = of_medpix(chosen.medpix, chosen.folder)
    else:
        table = make(chosen.folder, chosen.questions, chosen.images)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        result = measured(chosen.folder / "corpus", "table", table) | {"peak_rss_bytes_before": before}
        assert (result["questions"], result["images"]) == (chosen.questions, chosen.images)
    text = json.dumps(result, indent=1)
    print(text)
    if chosen.out:
        chosen.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
