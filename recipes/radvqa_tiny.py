"""How the built-in model radvqa-tiny is made, from nothing, on phantoms alone. About an hour on one core.

    python recipes/radvqa_tiny.py --out src/radvqa/assets/radvqa-tiny

A real PaliGemma (SigLIP tower, projector, Gemma) of 2.3 M parameters, in five steps:
  1. a byte-fallback BPE tokenizer on the phantoms' words and a list of common words of radiology;
  2. the tower alone, to name the structure under each quarter of a patch (a linear head that is thrown away afterwards);
  3. the language model on the finished tower, one row a picture with ten texts behind it: captions, open and choice
     questions, `detect X` (where it is, or none) and `match STATEMENT` (true or false, of modality, plane and organs);
  4. everything together, for a short while, under PaliGemma's own prefix mask;
  5. yes and no take the embeddings of true and false (and the other way round): words that pretraining never used as
     answers could not be learned by an adapter that leaves the embeddings alone.
It never sees a yes/no question, and no statement on a finding: like the big generalists it starts from descriptions, and
what radiologists ask is left to be learned. Its phantoms come from seed 1,000,003 and are never shown again: recipes use
other seeds. `--work` keeps what is finished, so that a killed run goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from radvqa_tiny_parts import GRID, IMAGE_PX, PATCH_PX, VOCABULARY, WIDTH, Both, make_network, make_tokenizer, texts_of
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import PaliGemmaForConditionalGeneration, PaliGemmaProcessor, SiglipImageProcessor

from radvqa.batch import IGNORED, Encoded, collate, collate_image_first, encode
from radvqa.families import PaliGemma
from radvqa.phantom import FINDINGS, STRUCTURES, layout, phantoms, questions
from radvqa.pixels import PixelFormat
from radvqa.prompt import prompt

SEED = 1_000_003
WORDS = (Path(__file__).parent / "radvqa_tiny_words.txt").read_text().split()
DENSE = 2 * GRID
"""Labels to a side that the tower learns: four to a patch."""


class Study:
    """The phantoms in memory: pictures uint8[N, 120, 120], dense labels uint8[N, 24, 24], and what is said of each."""

    def __init__(self, num: int, form: PixelFormat) -> None:
        self.form, self.pictures = form, np.zeros((num, IMAGE_PX, IMAGE_PX), np.uint8)
        self.labels = np.zeros((num, DENSE, DENSE), np.uint8)
        self.texts: list[list[tuple[str, str]]] = []
        for i, phantom in enumerate(track(phantoms(SEED, range(num), num_workers=2), "phantoms", total=num)):
            small = Image.fromarray(phantom.image).resize((IMAGE_PX, IMAGE_PX), Image.Resampling.BICUBIC)
            self.pictures[i], self.labels[i] = np.asarray(small), layout(phantom, DENSE)
            self.texts.append(texts_of(phantom, np.random.default_rng([SEED, i, 7])))

    def pixels(self, chosen: np.ndarray) -> torch.Tensor:
        """float[I, 3, 120, 120]"""
        return self.form.normalise(np.repeat(self.pictures[chosen, :, :, None], 3, 3))


def steps(num: int, epochs: float, size: int, salt: int) -> Iterator[np.ndarray]:
    """Indices of the pictures of each step, every picture once an epoch."""
    rng = np.random.default_rng([SEED, salt])
    order = np.concatenate([rng.permutation(num) for _ in range(int(np.ceil(epochs)))])[: int(epochs * num)]
    yield from (order[at : at + size] for at in range(0, len(order) - size + 1, size))


def train(name: str, parameters: list[nn.Parameter], batches: list[np.ndarray], lr: float, loss_of) -> None:
    """One step a batch of indices: warm-up over a twentieth, then straight down to zero."""
    optimizer, start, recent = Both(parameters, lr), time.time(), []
    for step, chosen in enumerate(batches):
        optimizer.scale(min(1.0, (step + 1) / (0.05 * len(batches))) * (1 - step / len(batches)))
        loss = loss_of(chosen)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        recent = [*recent[-24:], loss.item()]
        if step % 50 == 0 or step == len(batches) - 1:
            print(f"{name} {step}/{len(batches)} loss {np.mean(recent):.3f} {time.time() - start:.0f} s", flush=True)


def train_tower(network: PaliGemmaForConditionalGeneration, study: Study, epochs: float, lr: float) -> None:
    """SigLIP alone: which structure lies where. Lesions, rare and small, weigh four times."""
    tower, head = network.model.vision_tower, nn.Linear(WIDTH, 4 * len(STRUCTURES))
    weight = torch.tensor([4.0 if name in FINDINGS else 1.0 for name in STRUCTURES])
    lesions = torch.tensor([name in FINDINGS for name in STRUCTURES])

    def loss_of(chosen: np.ndarray) -> torch.Tensor:
        features = tower(study.pixels(chosen)).last_hidden_state
        logits = head(features).view(-1, GRID, GRID, 2, 2, len(STRUCTURES)).transpose(2, 3).flatten(0, 4)
        target = torch.from_numpy(study.labels[chosen].astype(np.int64)).flatten()
        if np.random.rand() < 0.02:
            right, lesion = logits.argmax(-1) == target, lesions[target]
            said = lesions[logits.argmax(-1)]
            print(f"  right {right.float().mean():.3f} on lesions {right[lesion].float().mean():.3f}, of those called lesions {lesion[said].float().mean():.3f}")  # fmt: skip
        return cross_entropy(logits, target, weight=weight)

    train("tower", [*tower.parameters(), *head.parameters()], list(steps(len(study.pictures), epochs, 48, 1)), lr, loss_of)  # fmt: skip


@torch.no_grad()
def seen(network: PaliGemmaForConditionalGeneration, study: Study) -> torch.Tensor:
    """float16[N, 144, 128]: what the finished tower says of every picture."""
    tower, parts = (
        network.model.vision_tower,
        np.array_split(np.arange(len(study.pictures)), len(study.pictures) // 100),
    )
    return torch.cat([tower(study.pixels(part)).last_hidden_state.half() for part in parts])


def answer_loss(family: PaliGemma, network, batch, features: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy (nats) of the supervised tokens."""
    hidden = family.hidden(network, batch, features)
    target = batch.labels[:, 1:]
    here = target != IGNORED
    return cross_entropy(family.logits(network, hidden[:, :-1][here]), target[here])


def train_language(network, study: Study, rows: list[list[Encoded]], pad: int, epochs: float, lr: float) -> None:
    """Projector and Gemma on the finished tower, all texts of a picture behind it in one row."""
    features, family = seen(network, study), PaliGemma(network.config)
    nothing = torch.zeros(0)

    def loss_of(chosen: np.ndarray) -> torch.Tensor:
        batch = collate_image_first([rows[i] for i in chosen], nothing, pad)
        return answer_loss(family, network, batch, network.model.multi_modal_projector(features[chosen].float()))

    parameters = [*network.model.multi_modal_projector.parameters(), *network.model.language_model.parameters()]
    train("language", parameters, list(steps(len(rows), epochs, 24, 2)), lr, loss_of)


def train_together(network, study: Study, rows: list[list[Encoded]], pad: int, num: int, lr: float) -> None:
    """Every weight under PaliGemma's own mask: a row a text, five texts of a picture side by side."""
    family, texts = PaliGemma(network.config), 5

    def loss_of(chosen: np.ndarray) -> torch.Tensor:
        rng = np.random.default_rng([SEED, *chosen.tolist()])
        picked = [rows[i][k] for i in chosen for k in rng.permutation(len(rows[i]))[:texts]]
        owners = [place for place, i in enumerate(chosen) for _ in range(min(texts, len(rows[i])))]
        batch = collate(picked, owners, study.pixels(chosen), pad, layout="prefix")
        return answer_loss(family, network, batch, family.encode(network, batch.pixels))

    train("together", list(network.parameters()), list(steps(num, 1, 12, 3)), lr, loss_of)


@torch.no_grad()
def swap_words(network: PaliGemmaForConditionalGeneration, tokenizer, pairs: tuple[tuple[str, str], ...]) -> None:
    """Two words of one token each exchange their rows of the embedding, which is also the output layer's."""
    weight = network.get_input_embeddings().weight
    for words in pairs:
        (a,), (b,) = (tokenizer(word, add_special_tokens=False)["input_ids"] for word in words)
        weight[[a, b]] = weight[[b, a]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="a folder for what is finished, to go on from")
    parser.add_argument("--images", type=int, default=14_000)
    parser.add_argument("--tower-epochs", type=float, default=2.5)
    parser.add_argument("--epochs", type=float, default=1.5, help="of the language model")
    parser.add_argument("--prefix-images", type=int, default=2_000)
    options = parser.parse_args()
    torch.manual_seed(SEED), np.random.seed(0)
    processor = SiglipImageProcessor(
        size={"height": IMAGE_PX, "width": IMAGE_PX}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    processor.image_seq_length = GRID * GRID
    study = Study(options.images, PixelFormat.of(processor, IMAGE_PX))
    texts = [text for said in study.texts[:4000] for pair in said for text in pair]
    asked = [prompt(s.question) for p in phantoms(SEED, range(500)) for s in questions(p)]
    tokenizer = make_tokenizer(texts + asked + 20 * WORDS + 20 * [" " + word for word in WORDS])
    assert len(tokenizer) <= VOCABULARY, len(tokenizer)
    wrapped = PaliGemmaProcessor(image_processor=processor, tokenizer=tokenizer)
    network = make_network(tokenizer.convert_tokens_to_ids("<image>"))
    print(f"{sum(p.numel() for p in network.parameters()):,} parameters, {len(tokenizer)} tokens", flush=True)
    rows = [[encode(tokenizer, GRID * GRID, asked, told) for asked, told in said] for said in study.texts]
    pad = tokenizer.pad_token_id
    for name, work in {
        "tower": lambda: train_tower(network, study, options.tower_epochs, 3e-3),
        "language": lambda: train_language(network, study, rows, pad, options.epochs, 3e-3),
        "together": lambda: train_together(network, study, rows, pad, options.prefix_images, 1e-3),
    }.items():
        kept = options.work and options.work / f"{name}.safetensors"
        if kept and kept.is_file():
            network.load_state_dict(load_file(kept))
            continue
        work()
        if kept:
            options.work.mkdir(parents=True, exist_ok=True)
            save_file({n: t.contiguous().clone() for n, t in network.state_dict().items()}, kept)
    swap_words(network, tokenizer, (("true", "yes"), ("false", "no")))
    network.eval().save_pretrained(options.out)
    wrapped.save_pretrained(options.out)
    print(json.dumps({"images": options.images, "patch_px": PATCH_PX, "out": str(options.out)}))


if __name__ == "__main__":
    main()
