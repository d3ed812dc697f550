"""Memory and speed of an import: many questions over fewer images.

    python benchmarks/import_scale.py --questions 1000000 --images 10000 --folder scale

Writes a table of questions and its pictures into the folder (kept, and used again), imports it, and prints one line of
JSON: seconds of wall clock and of processor, questions and images a second, peak memory.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
from PIL import Image

from radvqa.datasets import import_corpus

SIZE_PX = 224


def make(folder: Path, num_questions: int, num_images: int) -> Path:
    """A JSON-lines table whose rows lie as data sets' rows do: the questions of an image are not beside each other."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number in range(num_images):
        file = folder / "images" / f"{number}.png"
        if not file.exists():
            small = Image.fromarray(rng.integers(0, 256, (28, 28), dtype=np.uint8))
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


def main() -> None:
    """Make the input if it is not there, import it, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=1_000_000)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, required=True)
    chosen = parser.parse_args()
    table = make(chosen.folder, chosen.questions, chosen.images)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    wall, processor = time.perf_counter(), time.process_time()
    corpus = import_corpus("table", table, chosen.folder / "corpus", progress=False)
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    assert corpus.card["num_questions"] == chosen.questions and corpus.card["num_images"] == chosen.images
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    result = {"questions": chosen.questions, "images": chosen.images, "wall_s": wall, "processor_s": processor}
    result |= {"questions_per_processor_s": chosen.questions / processor}
    print(json.dumps(result | {"peak_rss_bytes": peak, "peak_rss_bytes_before": before}))


if __name__ == "__main__":
    main()
