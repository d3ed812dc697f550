"""Load, adapt, save and merge a vision-language model.

In: a checkpoint (the built-in `radvqa-tiny`, a folder, or a hub id) and, if there is one, an adapter. Out: a VQAModel.

    model = load("radvqa-tiny", adapter="runs/demo/stage2/adapter")
    print(model.answer("chest.png", "Is there a pleural effusion?").text)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from radvqa.batch import Encoded
from radvqa.errors import InputError
from radvqa.families import PaliGemma, family_of
from radvqa.pixels import PixelFormat
from radvqa.recipe_sections import Adapt
from radvqa.sample import read_picture

if TYPE_CHECKING:
    from radvqa.predict import Answer
    from radvqa.saliency.map import Explanation
    from radvqa.saliency.turn import Target

BUILT_IN = "radvqa-tiny"
ADAPTER_CARD = "radvqa.json"
"""Beside an adapter: the base it was trained on, so that another base is refused."""
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()


@dataclass
class VQAModel:
    """A network with everything that is needed to ask it a question."""

    name: str
    network: nn.Module
    family: PaliGemma
    tokenizer: PreTrainedTokenizerBase
    image_processor: Any
    form: PixelFormat
    style: str = "paligemma"
    """Wording of the prompt, a key of prompt.STYLES."""
    layout: str = "prefix"
    """The mask it is trained and asked under: prefix or image-first."""

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return self.family.core(self.network).dtype

    def encode(self, prompt: str, answer: str | None) -> Encoded:
        """A question as token ids, worded as the family was trained; `answer` None: up to where the answer begins."""
        return self.family.tokens(self.tokenizer, prompt, answer)

    def answer(self, image: str | Path | Image.Image, question: str, choices: Sequence[str] = ()) -> Answer:
        """The greedy answer to one question about one picture, with its probability."""
        from radvqa.predict import answer_one

        return answer_one(self, read_picture(as_source(image))[0], question, choices)

    def explain(
        self,
        image: str | Path | Image.Image,
        question: str,
        *,
        answer: str | None = None,
        choices: Sequence[str] = (),
        method: str = "rollout",
        target: Target | None = None,
        drop_sinks: bool = False,
    ) -> Explanation:
        """Where the model looked for its answer: a map over the picture with `.save(path)` and `.overlay()`."""
        from radvqa.saliency import explain

        picture = read_picture(as_source(image))[0]
        return explain(self, picture, question, answer, method, choices=choices, target=target, drop_sinks=drop_sinks)

    def save(self, folder: str | Path, whole: dict[str, torch.Tensor] | None = None) -> None:
        """Write network, tokenizer and image processor as a checkpoint folder that plain transformers loads.

        `whole`: the network's weights, where it holds but a part of each (see sharding.py).
        """
        self.family.core(self.network).save_pretrained(folder, state_dict=whole)
        self.tokenizer.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)

    def merge(self) -> VQAModel:
        """The adapter's weights added into the network; a model without an adapter stays as it is."""
        if isinstance(self.network, PeftModel):
            self.network = self.network.merge_and_unload()
        return self


def as_source(image: str | Path | Image.Image) -> Path | Image.Image:
    """A path given as text becomes a Path; pictures pass."""
    return Path(image) if isinstance(image, str) else image


def checkpoint_path(name: str | Path) -> str:
    """Where `from_pretrained` finds a checkpoint: the built-in one in the package, a folder, or a hub id."""
    if str(name) == BUILT_IN:
        return str(files("radvqa") / "assets" / BUILT_IN)
    folder = Path(name)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise InputError(
            "not a model folder (no config.json)", file=folder, fix="give a folder that save_pretrained wrote"
        )
    if not folder.is_dir() and (folder.is_absolute() or str(name).count("/") != 1 or str(name).startswith(".")):
        raise InputError(
            "no such model",
            file=name,
            fix=f"give {BUILT_IN}, a folder, or a hub id such as google/paligemma-3b-mix-448",
        )
    return str(name)


def load(
    name: str | Path = BUILT_IN,
    adapter: str | Path | None = None,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str = "auto",
    attention: str | None = None,
    style: str = "paligemma",
    quantized: bool = False,
) -> VQAModel:
    """Load a checkpoint, and on it an adapter, or instead of it a fully tuned model folder, that training wrote.

    `dtype`: auto is bfloat16 on a GPU (float16 overflows Gemma) and float32 on a CPU. `attention`: None is the fastest
    that computes the model as it was trained. `quantized`: 4-bit weights on a GPU. Raises InputError for a folder that
    is no model, a model type that is not supported, FlashAttention, and an adapter of another base.
    """
    if attention not in (None, "sdpa", "eager"):
        raise InputError(f"attention {attention!r} drops the prefix mask", key="attention", fix="use sdpa or eager")
    if adapter is not None and not Path(adapter).is_dir():
        raise InputError("no such adapter folder", file=adapter)
    if adapter is not None and (Path(adapter) / "config.json").is_file():
        name, adapter = adapter, None
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    path = checkpoint_path(name)
    try:
        config = AutoConfig.from_pretrained(path)
        family = family_of(config, name)
        options: dict[str, Any] = {"dtype": dtype_of(dtype, device)}
        options["attn_implementation"] = family.attention(attention)
        if quantized:
            options |= {"quantization_config": _four_bit(device), "device_map": {"": device}}
        network: Any = family.network_class.from_pretrained(path, **options)
        network = (network if quantized else network.to(device)).eval()
        tokenizer = family.tokenizer(AutoTokenizer.from_pretrained(path))
        processor = AutoImageProcessor.from_pretrained(path)
    except InputError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"the model cannot be loaded: {str(error).splitlines()[0]}", file=str(name)) from error
    form = PixelFormat.of(processor, family.image_px)
    model = VQAModel(str(name), network, family, tokenizer, processor, form, style, family.layout)
    card = _card(Path(path))
    if card:
        model.style, model.layout = card["prompt_style"], card["layout"]
    return model if adapter is None else _with_adapter(model, Path(adapter))


def dtype_of(name: torch.dtype | str, device: torch.device) -> torch.dtype:
    """A recipe's `model.dtype` on a device."""
    if isinstance(name, torch.dtype):
        return name
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def _four_bit(device: torch.device) -> Any:
    """QLoRA's NF4 with bfloat16 arithmetic. Raises InputError where it cannot run."""
    from importlib.util import find_spec

    from transformers import BitsAndBytesConfig

    if device.type != "cuda" or find_spec("bitsandbytes") is None:
        raise InputError("qlora needs a GPU and bitsandbytes", key="adapt.method", fix="use lora")
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=["vision_tower", "multi_modal_projector", "lm_head"],
    )


def _card(folder: Path) -> dict[str, Any] | None:
    """What training wrote beside its weights; None for weights that are not ours."""
    file = folder / ADAPTER_CARD
    return json.loads(file.read_text()) if file.is_file() else None


def base_fingerprint(model: VQAModel) -> str:
    """Names and shapes of the base weights, hashed: what an adapter must find again."""
    core = model.family.core(model.network)
    shapes = sorted(
        (n.replace(".base_layer", ""), list(p.quant_state.shape if hasattr(p, "quant_state") else p.shape))
        for n, p in core.named_parameters()
        if "lora_" not in n
    )
    return hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:16]


def adapt(model: VQAModel, settings: Adapt) -> VQAModel:
    """Make a model trainable as the recipe says: LoRA by tower, its size asserted, or every weight. In place."""
    model.layout = model.family.layout_of(settings.layout)
    if settings.method == "full":
        model.network.requires_grad_(True)
        return model
    model.network = get_peft_model(model.network, lora_config(model, settings))  # type: ignore[arg-type]
    expected = model.family.num_lora_parameters(
        settings.rank, settings.language, settings.vision, settings.projector, settings.method == "dora"
    )
    assert sum(num_trainable(model).values()) == sum(expected.values()), (
        f"LoRA should add {expected}, not {num_trainable(model)}"
    )
    return model


def lora_config(model: VQAModel, settings: Adapt) -> LoraConfig:
    """The recipe's adapter in PEFT's words."""
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        target_modules=model.family.lora_targets(settings.language, settings.vision, settings.projector),
        use_rslora=settings.method == "rslora",
        use_dora=settings.method == "dora",
    )


def tower_of(name: str) -> str:
    """Which tower a parameter belongs to, by its name: vision, projector or language."""
    return "vision" if "vision_tower" in name else "projector" if "multi_modal_projector" in name else "language"


def num_trainable(model: VQAModel) -> dict[str, int]:
    """Trainable parameters by tower."""
    counts = {"language": 0, "vision": 0, "projector": 0}
    for name, parameter in model.network.named_parameters():
        if parameter.requires_grad:
            counts[tower_of(name)] += parameter.numel()
    return counts


def save_adapter(model: VQAModel, folder: Path, whole: dict[str, torch.Tensor] | None = None) -> None:
    """Write what was trained: a PEFT adapter that plain `peft` loads, or for full fine-tuning the whole checkpoint."""
    if isinstance(model.network, PeftModel):
        model.network.save_pretrained(str(folder), save_embedding_layers=False)  # "auto" would ask the hub
    else:
        model.save(folder, whole)
    card = {
        "base": model.name,
        "base_fingerprint": base_fingerprint(model),
        "prompt_style": model.style,
        "layout": model.layout,
    }
    (folder / ADAPTER_CARD).write_text(json.dumps(card, indent=2) + "\n")


def _with_adapter(model: VQAModel, folder: Path, trainable: bool = False) -> VQAModel:
    """Put an adapter on its base. Refuses one of another base, and one whose weights do not arrive."""
    if not (folder / "adapter_config.json").is_file():
        raise InputError("not an adapter folder (no adapter_config.json)", file=folder)
    card = _card(folder)
    if card:
        if card["base_fingerprint"] != base_fingerprint(model):
            raise InputError(
                f"this adapter was trained on {card['base']!r}, not on {model.name!r}",
                file=folder,
                fix="load its own base",
            )
        model.style, model.layout = card["prompt_style"], card["layout"]
    saved = load_file(folder / "adapter_model.safetensors")
    model.network = PeftModel.from_pretrained(model.network, str(folder), is_trainable=trainable)  # type: ignore[arg-type]
    present = {
        name.replace("_vector.default.weight", "_vector").replace(".default", "")  # as peft names them in files
        for name, _ in model.network.named_parameters()
        if "lora_" in name
    }
    missing, unused = present - saved.keys(), saved.keys() - present
    if missing or unused:
        raise InputError(
            f"{len(missing)} adapter weights are missing and {len(unused)} do not fit",
            file=folder,
            key=next(iter(missing | unused)),
        )
    if not any(float(weight.abs().max()) > 0 for name, weight in saved.items() if "lora_B" in name):
        raise InputError("every LoRA-B of this adapter is zero: it was never trained", file=folder)
    return model


def resume_adapter(model: VQAModel, folder: Path, settings: Adapt) -> VQAModel:
    """A loaded base with an earlier stage's adapter on it, trainable. Refuses one of other modules, rank or layout."""
    _with_adapter(model, folder, trainable=True)
    found: Any = model.network.peft_config["default"]  # type: ignore[union-attr,index]
    wanted = lora_config(model, settings)
    for key in ("target_modules", "r", "lora_alpha", "use_rslora", "use_dora"):
        if getattr(found, key) != getattr(wanted, key):
            raise InputError(
                f"this adapter has {key} {getattr(found, key)}, and the recipe {getattr(wanted, key)}",
                file=folder,
                key="adapt",
                fix="use the same, or start from the base",
            )
    layout = model.family.layout_of(settings.layout)
    if model.layout != layout:
        raise InputError(
            f"this adapter was trained under the layout {model.layout}, and the recipe says {layout}",
            file=folder,
            key="adapt.layout",
            fix="use the same, or start from the base",
        )
    return model
