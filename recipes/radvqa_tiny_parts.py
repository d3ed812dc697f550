"""The parts of radvqa-tiny that are not training: tokenizer, random network, what is said of a phantom, the optimizer.

    from radvqa_tiny_parts import make_network, make_tokenizer, texts_of

Used by radvqa_tiny.py alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import nn
from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration, PreTrainedTokenizerFast

from radvqa.phantom import FINDINGS, Phantom, captions, questions
from radvqa.phantom.balance import HOME, halves, seen
from radvqa.phantom.captions import article, place, technique
from radvqa.phantom.scene import MODALITIES, PLANES
from radvqa.prompt import sample_prompt, sample_target

IMAGE_PX, PATCH_PX, WIDTH, VOCABULARY = 120, 10, 128, 2304
GRID = IMAGE_PX // PATCH_PX


# ---------------------------------------------------------------- what is said of a picture

Pair = tuple[str, str]


def texts_of(phantom: Phantom, rng: np.random.Generator) -> list[Pair]:
    """Up to ten (prompt, answer): a caption, three open or choice questions, `detect` three times, `match` three times."""
    told = captions(phantom, rng)
    asked = [s for s in questions(phantom) if s.kind != "closed"]
    said = [("caption en", told[int(rng.integers(len(told)))])]
    said += [(sample_prompt(s), sample_target(s)) for s in (asked[k] for k in rng.permutation(len(asked))[:3])]
    said += list(_detected(phantom, rng))
    true, false = _statements(phantom, rng)
    for _ in range(3):
        pool, word = (true, "true") if rng.random() < 0.5 else (false, "false")
        if pool:
            said.append((f"match en {pool.pop(int(rng.integers(len(pool))))}", word))
    return [said[k] for k in rng.permutation(len(said))]


def _detected(phantom: Phantom, rng: np.random.Generator) -> Iterator[Pair]:
    """Each finding and where it is; as many that are not there, and one at least."""
    there = list(dict.fromkeys(finding.name for finding in phantom.findings))
    absent = [name for name in FINDINGS if name not in there]
    asked = [*there, *(absent[k] for k in rng.permutation(len(absent))[: max(1, len(there))])]
    for name in asked[:3]:
        places = [place(finding) for finding in phantom.findings if finding.name == name]
        yield f"detect {name}", " and ".join(places) or "none"


def _statements(phantom: Phantom, rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """True and false statements on modality, plane, region, organs and their places; none on findings."""
    true, false = (
        [technique(phantom)],
        [name for name in ("ct", "t1 mr", "t2 mr", "x-ray") if name != technique(phantom)],
    )
    for names, value in (
        (MODALITIES, phantom.modality),
        (PLANES[phantom.modality], phantom.plane),
        (HOME, phantom.region),
    ):
        for name in names:
            words = article(name) if names is not HOME else f"the {name}"
            (true if name == value else false).append(words.lower())
    for name in HOME[phantom.region]:
        state, spots = seen(phantom, name), halves(phantom, name) if name in phantom.organs else (None, None)
        if state is not None:
            (true if state else false).append(f"the {name} is visible")
        for spot, pair in zip(spots, (("upper", "lower"), ("left", "right"))):
            if spot is not None:
                k = int(rng.integers(2))
                (true if spot != bool(k) else false).append(f"the {name} in the {pair[k]} half")
    return true, false


# ---------------------------------------------------------------- tokenizer and network


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
    parsed = json.loads(tokenizer.to_str())
    parsed["added_tokens"] = [t for t in parsed["added_tokens"] if t["content"] in special[:4]]
    tokenizer = Tokenizer.from_str(json.dumps(parsed))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>",
        padding_side="left", extra_special_tokens={"image_token": "<image>"}, clean_up_tokenization_spaces=False,
    )  # fmt: skip
    fast.add_tokens([AddedToken("<image>", special=True, normalized=False)])
    return fast


def make_network(image_token_id: int) -> PaliGemmaForConditionalGeneration:
    """2.3 M parameters, random but for the tower's positions, which start as sines (Vaswani et al. 2017) in two axes."""
    network = PaliGemmaForConditionalGeneration(
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
    rows, columns = torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij")
    rate = 100.0 ** (-torch.arange(WIDTH // 4) / (WIDTH // 4))
    waves = [f(axis.flatten()[:, None] * rate) for axis in (rows, columns) for f in (torch.sin, torch.cos)]
    positions = next(p for n, p in network.model.vision_tower.named_parameters() if "position_embedding" in n)
    positions.data.copy_(0.1 * torch.cat(waves, 1))
    return network


# ---------------------------------------------------------------- optimizer


class Both:
    """Muon (Jordan et al. 2024) for the matrices inside the layers, AdamW for all else."""

    def __init__(self, parameters: list[nn.Parameter], lr: float) -> None:
        inner = [p for p in parameters if p.ndim == 2 and max(p.shape) <= 4 * WIDTH and min(p.shape) >= 32]
        chosen = {id(p) for p in inner}
        outer = [p for p in parameters if id(p) not in chosen]
        self.parts = [
            (torch.optim.Muon(inner, lr=lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"), lr),
            (torch.optim.AdamW(outer, lr=lr / 2, weight_decay=0.01), lr / 2),
        ]

    def scale(self, by: float) -> None:
        """The learning rates as a part of their peak."""
        for optimizer, lr in self.parts:
            for group in optimizer.param_groups:
                group["lr"] = lr * by

    def step(self) -> None:
        """One step of both; gradients are cleared."""
        for optimizer, _ in self.parts:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
