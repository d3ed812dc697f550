"""Do the methods find evidence that is known? A small model learns to answer from one disc, then every method is ranked.

    python benchmarks/saliency_planted.py --out benchmarks/saliency-planted-2cpu.json

Each picture is smooth noise with a bright disc (a mass), a dark one (a cyst), both or neither; the questions are
whether there is a mass, a cyst, and on which side. The model cannot answer above chance without looking at the disc
that is asked about, so a method that points elsewhere is wrong about the model. Where a picture holds both, the same
picture asked about the other one must move the map. A few minutes on a CPU: training, then the study of `explain`.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from saliency import build
from scipy.ndimage import gaussian_filter

from radvqa.batch import collate, encode
from radvqa.model import VQAModel
from radvqa.prompt import prompt
from radvqa.saliency import METHODS, SLOW, method_named
from radvqa.saliency.ranking import AGAINST
from radvqa.saliency.study import Measured, examine, explain_all, summarise
from radvqa.saliency.truth import points_at
from radvqa.saliency.turn import prepare
from radvqa.saliency.words import COLUMNS, lines, said

SIDE_PX, RADIUS_PX = 112, (9, 14)
NAMES = {"mass": 1.0, "cyst": -1.0}
TEXT = "is there a mass cyst on which side the ? yes no left right"


def picture(rng: np.random.Generator) -> tuple[Image.Image, dict[str, np.ndarray]]:
    """A picture and, by name, the mask bool[112, 112] of what is in it; the two never touch."""
    grey = 0.45 + 0.10 * gaussian_filter(rng.standard_normal((SIDE_PX, SIDE_PX)), 6) * 12
    rows, columns = np.mgrid[:SIDE_PX, :SIDE_PX]
    masks: dict[str, np.ndarray] = {}
    for name, sign in NAMES.items():
        if rng.random() < 0.4:
            continue
        while True:
            radius = rng.uniform(*RADIUS_PX)
            y, x = rng.uniform(radius + 2, SIDE_PX - radius - 2, 2)
            mask = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
            wide = (rows - y) ** 2 + (columns - x) ** 2 < (radius + 16) ** 2
            if abs(x - SIDE_PX / 2) > radius and not any((wide & other).any() for other in masks.values()):
                break
        masks[name] = mask
        grey = grey + sign * 0.25 * gaussian_filter(mask.astype(float), 1.0)
    pixels = (np.clip(grey, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(pixels).convert("RGB"), masks


def questions(masks: dict[str, np.ndarray]) -> list[tuple[str, str, str]]:
    """(question, answer, what it is about)."""
    found = []
    for name in NAMES:
        found.append((f"is there a {name} ?", "yes" if name in masks else "no", name))
        if name in masks:
            centre = np.nonzero(masks[name])[1].mean()
            found.append((f"on which side is the {name} ?", "left" if centre < SIDE_PX / 2 else "right", name))
    return found


def train(model: VQAModel, steps: int, seed: int = 0, batch_size: int = 12) -> None:
    """Full training, every picture new; the answer's tokens are supervised as in the package."""
    rng, network, family = np.random.default_rng(seed), model.network.train(), model.family
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        shown = [picture(rng) for _ in range(batch_size)]
        asked = [(i, q, a) for i, (_, masks) in enumerate(shown) for q, a, _ in questions(masks)]
        pixels = model.form.normalise(np.stack([model.form.resize(image) for image, _ in shown]))
        rows = [encode(model.tokenizer, family.num_image_tokens, prompt(q), a) for _, q, a in asked]
        batch = collate(rows, [i for i, _, _ in asked], pixels, model.tokenizer.pad_token_id, layout=model.layout)
        hidden = family.hidden(network, batch, family.encode(network, batch.pixels))
        supervised = batch.labels != -100
        places = torch.roll(supervised, -1, 1)
        loss = torch.nn.functional.cross_entropy(family.logits(network, hidden[places]), batch.labels[supervised])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
    network.eval()


def study(model: VQAModel, number: int, methods: list[str], seed: int = 1) -> dict:
    """Rank the methods on right answers about discs that are there; and follow the map when the other disc is asked for."""
    rng, measured, right, asked = np.random.default_rng(seed), Measured(), 0, 0
    follows: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(20 * number):  # a model that is hardly ever right is not waited for
        if measured_answers(measured) == number:
            break
        image, masks = picture(rng)
        for question, answer, about in questions(masks):
            asked += 1
            own = model.answer(image, question).text
            right += own == answer
            if own != answer or about not in masks or rng.random() < 0.5:
                continue
            place = measured_answers(measured)
            turn = prepare(model, image, question, answer)
            maps, seconds = explain_all(turn, list(dict.fromkeys([*methods, *AGAINST])))
            swapped = next((name for name in masks if name != about), None)
            other = None if swapped is None else prepare(model, image, question.replace(about, swapped))
            if other is not None:
                for name in methods:
                    moved = method_named(name)(other).overall
                    both = points_at(maps[name].overall, masks[about]) * points_at(moved, masks[swapped])
                    follows[name].append(both)
            found = examine(
                turn, masks[about], maps, seconds, ("blur", "grey"),
                others={} if other is None else {"other question": other}, randomise=place < 10,
            )  # fmt: skip
            about_it = {"id": str(place), "image": str(asked), "right": True, "kind": "closed", "topic": "finding"}
            measured.extend(found.about(**about_it, answer=answer).plain())
            break  # one question a picture: answers are independent
    ranking = summarise(measured)
    ranking["follows_the_question"] = {
        name: {"n": len(hits), "value": float(np.mean(hits)) if hits else None} for name, hits in follows.items()
    }
    return {"accuracy": right / asked, "num_asked": asked, **ranking}


def measured_answers(measured: Measured) -> int:
    return len({row["id"] for row in measured.faithfulness})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--answers", type=int, default=100)
    parser.add_argument("--methods", default=",".join(name for name in METHODS if name not in SLOW))
    parser.add_argument("--out", type=Path, help="write the ranking as JSON")
    given = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    model = build("planted", "cpu", torch.float32, SIDE_PX, TEXT)
    train(model, given.steps)
    trained = time.process_time()
    found = study(model, given.answers, given.methods.split(","))
    about = {"training_cpu_s": round(trained - start), "study_cpu_s": round(time.process_time() - trained)}
    about |= {"steps": given.steps, "torch": torch.__version__, "platform": platform.platform()}
    about |= {"date": datetime.now(UTC).date().isoformat()}
    print(f"accuracy {found['accuracy']:.3f} on {found['num_asked']} questions; {about}")
    print(" | ".join(["method", *COLUMNS, "follows", "verdict"]))
    for line in lines(found):
        follows = found["follows_the_question"].get(line.method, {}).get("value")
        cells = [f"{cell.text} ({cell.bounds})" if cell.bounds else cell.text for cell in line.cells]
        print(" | ".join([line.method, *cells, "-" if follows is None else f"{follows:.2f}", line.verdict]))
    print(said(found))
    if given.out:
        given.out.write_text(json.dumps({**about, **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
