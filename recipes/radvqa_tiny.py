"""How the built-in model radvqa-tiny is made, from nothing, on phantoms alone. About forty minutes on two cores.

    python recipes/radvqa_tiny.py --out src/radvqa/assets/radvqa-tiny

A real PaliGemma (SigLIP tower, projector, Gemma) of 2.3 M parameters, in three steps:
  1. a byte-fallback BPE tokenizer on the phantoms' words and a list of common words of radiology;
  2. the tower alone, to name the structure under each patch (a linear head that is thrown away afterwards);
  3. the whole model, to write captions and answer open questions: first one row a picture with all its texts behind
     it (several times cheaper), then under PaliGemma's own prefix mask. It never sees a yes/no question: like the big
     generalists it starts from descriptions, and what radiologists ask is left to be learned.
Its phantoms come from seed 1,000,003 and are never shown again: recipes use other seeds.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import (
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    PreTrainedTokenizerFast,
    SiglipImageProcessor,
)

from radvqa.batch import encode
from radvqa.families import PaliGemma
from radvqa.model import VQAModel
from radvqa.phantom import FINDINGS, STRUCTURES, captions, layout, phantoms, questions
from radvqa.pixels import PixelFormat
from radvqa.prompt import prompt, sample_prompt, sample_target
from radvqa.recipe_sections import Stage, TrainSource
from radvqa.train import Item, Stepper, make_batch, make_image_first

SEED, IMAGE_PX, PATCH_PX, WIDTH, VOCABULARY = 1_000_003, 120, 10, 128, 2304
GRID = IMAGE_PX // PATCH_PX
WORDS = (Path(__file__).parent / "radvqa_tiny_words.txt").read_text().split()


def make_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Lower-case BPE: what it has no word for becomes bytes, so nothing is unknown."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Lowercase(), normalizers.Replace(" ", "▁")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"▁?[a-z]+|▁?[0-9]|\n|▁|[^▁a-z0-9\n]"), "isolated")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<pad>", "<eos>", "<bos>", "<unk>", *[f"<0x{i:02X}>" for i in range(256)], "\n"]
    room = VOCABULARY - 1 - 1024 - 128  # image, <loc>, <seg>
    trainer = trainers.BpeTrainer(vocab_size=room, special_tokens=special, show_progress=False, min_frequency=1)
    tokenizer.train_from_iterator(texts, trainer)
    # bytes and newline are ordinary tokens that BPE falls back to, not specials that a decoder hides
    state = tokenizer.to_str()
    import json

    parsed = json.loads(state)
    parsed["added_tokens"] = [t for t in parsed["added_tokens"] if t["content"] in special[:4]]
    tokenizer = Tokenizer.from_str(json.dumps(parsed))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>",
        padding_side="left", extra_special_tokens={"image_token": "<image>"}, clean_up_tokenization_spaces=False,
    )  # fmt: skip
    fast.add_tokens([AddedToken("<image>", special=True, normalized=False)])
    return fast


def make_network(image_token_id: int) -> PaliGemmaForConditionalGeneration:
    """2.3 M parameters, random."""
    return PaliGemmaForConditionalGeneration(
        PaliGemmaConfig(
            vision_config={
                "model_type": "siglip_vision_model", "hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_hidden_layers": 5,
                "num_attention_heads": 4, "image_size": IMAGE_PX, "patch_size": PATCH_PX, "projection_dim": WIDTH,
                "vision_use_head": False,
            },
            text_config={
                "model_type": "gemma", "hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_hidden_layers": 4,
                "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 32, "vocab_size": VOCABULARY,
                "max_position_embeddings": 1024, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
            },
            image_token_id=image_token_id, projection_dim=WIDTH, bos_token_id=2, eos_token_id=1, pad_token_id=0,
        )
    )  # fmt: skip


class Study:
    """The phantoms in memory: pictures uint8[N, 120, 120], dense labels int[N, 12, 12], and what is said of each."""

    def __init__(self, num: int, form: PixelFormat) -> None:
        self.form, self.pictures = form, np.zeros((num, IMAGE_PX, IMAGE_PX), np.uint8)
        self.labels = np.zeros((num, GRID, GRID), np.int64)
        self.texts: list[list[tuple[str, str]]] = []
        for i, phantom in enumerate(track(phantoms(SEED, range(num), num_workers=2), "phantoms", total=num)):
            self.pictures[i] = np.asarray(
                Image.fromarray(phantom.image).resize((IMAGE_PX, IMAGE_PX), Image.Resampling.BICUBIC)
            )
            self.labels[i] = layout(phantom, GRID)
            self.texts.append(self._said(phantom, i))

    def _said(self, phantom, index: int) -> list[tuple[str, str]]:
        rng = np.random.default_rng([SEED, index, 7])
        told = captions(phantom, rng)
        said = [("caption en", told[k]) for k in rng.permutation(len(told))[:2]]
        asked = [s for s in questions(phantom) if s.kind != "closed"]
        said += [(sample_prompt(s), sample_target(s)) for s in (asked[k] for k in rng.permutation(len(asked))[:4])]
        names = list(FINDINGS)
        for name in {f.name for f in phantom.findings} | {names[int(rng.integers(len(names)))]}:
            places = [f"{f.organ}" for f in phantom.findings if f.name == name]
            said.append((f"detect {name}", " and ".join(places) if places else "none"))
        return said

    def batch(self, keys) -> torch.Tensor:
        return self.form.normalise(np.repeat(self.pictures[[int(k) for k in keys], :, :, None], 3, 3))


def train_tower(network: PaliGemmaForConditionalGeneration, study: Study, epochs: float, batch_size: int = 32) -> None:
    """SigLIP alone: which structure lies under each patch. Lesions, rare and small, weigh four times."""
    tower, head = network.model.vision_tower, nn.Linear(WIDTH, len(STRUCTURES))
    weight = torch.tensor([4.0 if name in FINDINGS else 1.0 for name in STRUCTURES])
    parameters = [*tower.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.05)
    rng, num = np.random.default_rng(SEED), len(study.pictures)
    steps = int(epochs * num / batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5e-3, total_steps=steps, pct_start=0.1)
    order = np.concatenate([rng.permutation(num) for _ in range(int(np.ceil(epochs)) + 1)])
    start = time.time()
    for step in range(steps):
        chosen = order[step * batch_size : (step + 1) * batch_size]
        features = tower(study.batch(chosen)).last_hidden_state
        target = torch.from_numpy(study.labels[chosen]).flatten(1)
        logits = head(features).flatten(0, 1)
        loss = cross_entropy(logits, target.flatten(), weight=weight)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step(), optimizer.zero_grad(), schedule.step()
        if step % 50 == 0 or step == steps - 1:
            lesion = torch.tensor([name in FINDINGS for name in STRUCTURES])[target.flatten()]
            right = logits.argmax(-1) == target.flatten()
            print(f"tower {step}/{steps} loss {loss.item():.3f} right {right.float().mean():.3f} on lesions {right[lesion].float().mean():.3f} {time.time() - start:.0f} s", flush=True)  # fmt: skip


def train_whole(
    model: VQAModel, study: Study, layout_name: str, num: int, texts: int, epochs: float, lr: float
) -> None:
    """Captions, open and choice questions, `detect X` on `num` phantoms: every weight, the loop of radvqa itself."""
    items = []
    for i, said in enumerate(study.texts[:num]):
        for k, (asked, told) in enumerate(said[:texts] if layout_name == "image-first" else said[-texts:]):
            items.append(Item(f"{i}-{k}", str(i), encode(model.tokenizer, model.family.num_image_tokens, asked, told)))
    size = 16 * texts if layout_name == "image-first" else 64
    stage = Stage(
        name="tiny", data=(TrainSource(corpus="phantom"),), epochs=epochs, batch_size=size, questions_per_image=texts, lr=lr,
        schedule="cosine", warmup_steps=100, weight_decay=0.02,
    )  # fmt: skip
    model.network.requires_grad_(True)
    build = make_image_first if layout_name == "image-first" else make_batch
    stepper = Stepper(model, items, study, stage, SEED, build)  # type: ignore[arg-type]
    start, recent = time.time(), []
    for step in range(stepper.num_steps):
        row = stepper.step(step)
        recent = [*recent[-24:], row["loss"]]
        if step % 25 == 0 or step == stepper.num_steps - 1:
            print(f"{layout_name} {step}/{stepper.num_steps} loss {np.mean(recent):.3f} {row['questions_per_s']:.0f} questions/s {time.time() - start:.0f} s", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=16_000)
    parser.add_argument("--tower-epochs", type=float, default=1.5)
    parser.add_argument("--epochs", type=float, default=1.5, help="of the image-first layout, over all phantoms")
    parser.add_argument("--prefix-images", type=int, default=6_000, help="phantoms of the prefix layout, one epoch")
    options = parser.parse_args()
    torch.manual_seed(SEED)
    processor = SiglipImageProcessor(
        size={"height": IMAGE_PX, "width": IMAGE_PX}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    processor.image_seq_length = GRID * GRID
    form = PixelFormat.of(processor, IMAGE_PX)
    study = Study(options.images, form)
    texts = [text for said in study.texts[:4000] for pair in said for text in pair]
    texts += (
        [prompt(s.question) for p in phantoms(SEED, range(500), num_workers=0) for s in questions(p)]
        + 20 * WORDS
        + 20 * [" " + w for w in WORDS]
    )
    tokenizer = make_tokenizer(texts)
    wrapped = PaliGemmaProcessor(image_processor=processor, tokenizer=tokenizer)
    network = make_network(tokenizer.convert_tokens_to_ids("<image>"))
    assert len(tokenizer) <= VOCABULARY, len(tokenizer)
    print(f"{sum(p.numel() for p in network.parameters()):,} parameters, {len(tokenizer)} tokens")
    train_tower(network, study, options.tower_epochs)
    model = VQAModel("radvqa-tiny", network, PaliGemma(network.config), tokenizer, processor, form)
    for layout_name, num, texts, epochs, lr in (
        ("image-first", options.images, 8, options.epochs, 1e-3),
        ("prefix", options.prefix_images, 4, 1, 5e-4),
    ):
        train_whole(model, study, layout_name, num, texts, epochs, lr)
        network.eval().save_pretrained(options.out)
        wrapped.save_pretrained(options.out)


if __name__ == "__main__":
    main()
