"""What saliency costs: ours against a loop that stores every attention, on a model with 1,024 image tokens.

    python benchmarks/saliency.py --shape tiny            # seconds and memory on this machine, printed as a table
    python benchmarks/saliency.py --shape paligemma --out benchmarks/saliency-h200.json     # full size, on a GPU

Weights are random: cost does not depend on them. An answer of 10 tokens is explained. Every figure is the smallest of
`--repeat` runs; on a CPU it is processor seconds, which other programs on the machine disturb least. Memory is what a
call needs on top of the weights and of what was there before it.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PreTrainedTokenizerFast,
    SiglipImageProcessor,
)

from radvqa.families import PaliGemma
from radvqa.model import VQAModel
from radvqa.pixels import PixelFormat
from radvqa.saliency import method_named
from radvqa.saliency.raw import attention_pass
from radvqa.saliency.turn import Target, Turn, prepare

SHAPES = {  # vision: width, layers, heads, mlp; language: width, layers, heads, head size, mlp; vocabulary
    "planted": ((64, 3, 4, 128), (64, 3, 4, 16, 128), 64),
    "tiny": ((128, 5, 4, 512), (128, 4, 4, 32, 512), 2304),
    "small": ((384, 8, 6, 1536), (512, 8, 8, 64, 2048), 8192),
    "paligemma": ((1152, 27, 16, 4304), (2048, 18, 8, 256, 16384), 257216),
}
NUM_TOKENS = 10
QUESTION = "is there a mass in the upper lobe of the left lung on this picture"
ANSWER = "yes there is a mass in the left upper lobe"


def build(shape: str, device: str, dtype: torch.dtype, image_px: int, text: str = f"{QUESTION} {ANSWER}") -> VQAModel:
    """A model of one of SHAPES with random weights and a tokenizer of whole words, those of `text`."""
    (v_width, v_layers, v_heads, v_mlp), (width, layers, heads, size, mlp), vocabulary = SHAPES[shape]
    words = [
        "<pad>",
        "<eos>",
        "<bos>",
        "<unk>",
        "\n",
        "<image>",
        *dict.fromkeys(f"answer en {text}".split()),
    ]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Split(" ", "removed")]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", unk_token="<unk>"
    )
    config = PaliGemmaConfig(
        vision_config={
            "model_type": "siglip_vision_model", "hidden_size": v_width, "num_hidden_layers": v_layers,
            "num_attention_heads": v_heads, "intermediate_size": v_mlp, "image_size": image_px, "patch_size": 14,
            "projection_dim": width, "vision_use_head": False,
        },
        text_config={
            "model_type": "gemma", "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": 1, "head_dim": size, "intermediate_size": mlp, "vocab_size": vocabulary,
            "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
        },
        image_token_id=5, projection_dim=width, bos_token_id=2, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    with torch.device(device):
        network = PaliGemmaForConditionalGeneration(config).eval()
    torch.set_default_dtype(before)
    network.set_attn_implementation("sdpa")
    processor = SiglipImageProcessor(
        size={"height": image_px, "width": image_px}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return VQAModel(shape, network, PaliGemma(config), tokenizer, processor, PixelFormat.of(processor, image_px))


# ---------------------------------------------------------------- what is compared


@torch.no_grad()
def plain(turn: Turn) -> torch.Tensor:
    """One forward: tower, language model, logits at the answer."""
    family, network = turn.model.family, turn.model.network
    return turn.logits(family.hidden(network, turn.batch, family.encode(network, turn.batch.pixels)))


def ours_attention(turn: Turn) -> np.ndarray:
    """Raw rows of all layers and heads, and rollout, of every answer token."""
    seen = attention_pass(turn)
    method_named("raw")(turn, seen=seen)
    return method_named("rollout")(turn, seen=seen).values


def stored(turn: Turn, vision: bool) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    """Logits and all attentions of a forward with eager attention, everything kept."""
    core, family, batch = turn.model.family.core(turn.model.network), turn.model.family, turn.batch
    core.set_attn_implementation("eager")
    try:
        tower = core.model.vision_tower(batch.pixels, output_attentions=vision)
        features = core.model.multi_modal_projector(tower.last_hidden_state)
        is_image = (batch.ids == family.image_token_id)[..., None]
        embeds = core.get_input_embeddings()(batch.ids.masked_fill(batch.ids == family.image_token_id, 0))
        embeds = embeds.masked_scatter(is_image.expand_as(embeds), features.to(embeds.dtype))
        mask = batch.attention_mask()
        additive = torch.zeros(mask.shape, dtype=embeds.dtype, device=embeds.device)
        additive = additive.masked_fill(~mask, torch.finfo(embeds.dtype).min)
        out = core.model.language_model(
            inputs_embeds=embeds, attention_mask=additive, position_ids=batch.position_ids, output_attentions=True
        )
    finally:
        core.set_attn_implementation("sdpa")
    return turn.logits(out.last_hidden_state), list(tower.attentions or ()), list(out.attentions)


@torch.no_grad()
def naive_attention(turn: Turn) -> np.ndarray:
    """All attentions stored, the rollout by products of L x L matrices."""
    _, _, attentions = stored(turn, vision=False)
    rolled = None
    for attention in attentions:
        mean = attention[0].float().mean(0)
        matrix = 0.5 * mean + 0.5 * torch.eye(len(mean), device=mean.device)
        rolled = matrix if rolled is None else matrix @ rolled
    return rolled[turn.rows][:, turn.image].cpu().numpy()


def ours_relevancy(turn: Turn) -> np.ndarray:
    """Relevancy of all ten answer tokens through both towers."""
    return method_named("relevancy")(turn, Target(tokens=tuple(range(NUM_TOKENS)))).values[:NUM_TOKENS]


def naive_relevancy(turn: Turn, num_tokens: int = NUM_TOKENS) -> np.ndarray:
    """For each token: forward, backward through stored attentions, R <- R + A R with L x L matrices, both towers."""
    found = []
    for token in range(num_tokens):
        logits, vision, language = stored(turn, vision=True)
        score = turn.score(logits)[0, token]
        gradients = torch.autograd.grad(score, [*vision, *language])
        rolled = []
        for layers, slopes in ((vision, gradients[: len(vision)]), (language, gradients[len(vision) :])):
            relevance = torch.eye(layers[0].shape[-1], device=score.device)
            for attention, slope in zip(layers, slopes):
                relevance = relevance + (attention[0].detach() * slope[0]).float().clamp(min=0).mean(0) @ relevance
            rolled.append(relevance)
        found.append((rolled[1][turn.rows[token]][turn.image] @ rolled[0]).cpu().numpy())
    return np.stack(found)


# ---------------------------------------------------------------- measuring


def measured(call: Callable[[Turn], object], turn: Turn, repeat: int) -> dict[str, float]:
    """Smallest seconds of several runs (memory is measured first and warms up), and the bytes a call needs."""
    clock = time.perf_counter if turn.model.device.type == "cuda" else time.process_time
    num_bytes, seconds = peak_bytes(call, turn), []
    for _ in range(repeat):
        _wait(turn)
        start = clock()
        call(turn)
        _wait(turn)
        seconds.append(clock() - start)
    return {"s": min(seconds), "bytes": num_bytes}


def _wait(turn: Turn) -> None:
    if turn.model.device.type == "cuda":
        torch.cuda.synchronize()


def peak_bytes(call: Callable[[Turn], object], turn: Turn) -> float:
    """The allocator's peak on a GPU; on a CPU the peak of live tensor bytes that the profiler saw."""
    gc.collect()
    if turn.model.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call(turn)
        torch.cuda.synchronize()
        return float(torch.cuda.max_memory_allocated() - before)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call(turn)
    live = peak = 0
    events = (e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]")
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return float(peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--image-px", type=int, default=448, help="448 px: 1,024 image tokens")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--threads", type=int, default=1, help="on a CPU")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    model = build(given.shape, device, dtype, given.image_px)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (480, 480, 3)).astype(np.uint8))
    turn = prepare(model, picture, QUESTION, ANSWER)
    assert len(turn.columns) == NUM_TOKENS + 1, "ten tokens and the end"
    calls = {"plain forward": plain, "ours: raw + rollout": ours_attention, "stored: raw + rollout": naive_attention}
    calls |= {"ours: relevancy": ours_relevancy, "stored: relevancy": naive_relevancy}
    if device == "cpu":  # the same numbers, or the comparison is worth nothing
        ours, naive = ours_attention(turn)[:, :, :].reshape(NUM_TOKENS + 1, -1), naive_attention(turn)
        assert np.abs(ours - naive).max() < 1e-5, "rollouts differ"
        ours, naive = ours_relevancy(turn)[:2].reshape(2, -1), naive_relevancy(turn, 2)
        assert np.abs(ours - naive).max() < 1e-5 * max(1.0, float(np.abs(naive).max())), "relevancies differ"
    rows = {name: measured(call, turn, given.repeat) for name, call in calls.items()}
    report(rows, model, turn, given)


def report(rows: dict[str, dict[str, float]], model: VQAModel, turn: Turn, given: argparse.Namespace) -> None:
    base = rows["plain forward"]
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    millions = sum(p.numel() for p in model.network.parameters()) / 1e6
    print(
        f"{given.shape}: {millions:.1f} M parameters, {len(turn.image)} image tokens, {turn.batch.ids.shape[1]} in all, {name}"
    )
    for label, row in rows.items():
        print(
            f"  {label:24} {row['s'] * 1e3:10.1f} ms {row['s'] / base['s']:7.2f} x forward {row['bytes'] / 1e6:10.1f} MB"
        )
    found = {
        "raw + rollout, times a forward": rows["ours: raw + rollout"]["s"] / base["s"],
        "raw + rollout, faster than storing": rows["stored: raw + rollout"]["s"] / rows["ours: raw + rollout"]["s"],
        "raw + rollout, memory above a forward, as a share of storing's": max(
            0.0, rows["ours: raw + rollout"]["bytes"] - base["bytes"]
        )
        / (rows["stored: raw + rollout"]["bytes"] - base["bytes"]),
        "relevancy, times a forward": rows["ours: relevancy"]["s"] / base["s"],
        "relevancy, faster than storing": rows["stored: relevancy"]["s"] / rows["ours: relevancy"]["s"],
        "relevancy, memory as a share of storing's": rows["ours: relevancy"]["bytes"]
        / rows["stored: relevancy"]["bytes"],
    }
    for label, value in found.items():
        print(f"  {label}: {value:.3g}")
    if given.out:
        about = {
            "shape": given.shape,
            "parameters_millions": round(millions, 1),
            "image_px": given.image_px,
            "device": name,
        }
        about |= {
            "torch": torch.__version__,
            "platform": platform.platform(),
            "date": datetime.now(UTC).date().isoformat(),
        }
        given.out.write_text(json.dumps({**about, "rows": rows, "found": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
