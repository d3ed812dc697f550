"""PaliGemma and PaliGemma 2: SigLIP tower, linear projector, Gemma; the prompt is bidirectional, the answer causal.

In: a network and a Batch. Out: image features, hidden states, logits, and the names that LoRA adapts in each tower.

    family = PaliGemma(network.config)
    hidden = family.hidden(network, batch, family.encode(network, batch.pixels))
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import Cache, PaliGemmaForConditionalGeneration, PretrainedConfig, PreTrainedTokenizerBase

from radvqa.batch import Batch, Encoded, encode
from radvqa.errors import InputError
from radvqa.families.blocks import BLOCKS, LEAST, BlockMask, block_mask
from radvqa.families.last_layer import additive, last_layer_at

LANGUAGE_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
VISION_MODULES = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


class PaliGemma:
    """What is particular to PaliGemma. It holds sizes read from the configuration, never literals, and no weights."""

    name = "paligemma"
    network_class = PaliGemmaForConditionalGeneration
    layout = "prefix"
    """The mask it was pretrained under."""

    def __init__(self, config: PretrainedConfig) -> None:
        self.config = config
        self.text: Any = config.text_config
        self.vision: Any = config.vision_config
        self.image_px: int = self.vision.image_size
        side = self.image_tokens_a_side()
        self.grid: tuple[int, int] = (side, side)
        """Rows and columns of image tokens."""
        self.num_image_tokens = side * side
        self.num_patches = (self.vision.image_size // self.vision.patch_size) ** 2
        """What the tower makes of a picture, before any pooling."""
        self.num_vision_layers: int = self.vision.num_hidden_layers
        """Those of the tower that its features come through."""
        self.head_dim: int = getattr(self.text, "head_dim", None) or (
            self.text.hidden_size // self.text.num_attention_heads
        )
        self.image_token_id: int = config.image_token_id
        self.max_tokens: int = min(
            self.text.max_position_embeddings, getattr(self.text, "sliding_window", None) or sys.maxsize
        )
        """The longest sequence it takes."""

    def core(self, network: nn.Module) -> PaliGemmaForConditionalGeneration:
        """The PaliGemma inside, with or without a PEFT wrapper around it."""
        return network.get_base_model() if hasattr(network, "get_base_model") else network  # type: ignore[operator,return-value]

    def image_tokens_a_side(self) -> int:
        """Rows, and columns, of image tokens."""
        return self.vision.image_size // self.vision.patch_size

    # ------------------------------------------------------------ tokens and layout

    def tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
        """The checkpoint's tokenizer, with the token that ends an answer as its end of sequence."""
        return tokenizer

    def tokens(self, tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str | None) -> Encoded:
        """A question as token ids, as its processor makes them."""
        return encode(tokenizer, self.num_image_tokens, prompt, answer)

    def layout_of(self, asked: str | None) -> str:
        """The layout asked for, or the family's own. Raises InputError where prefix is asked of a causal family."""
        if asked == "prefix" and self.layout != "prefix":
            raise InputError(
                f"{self.name} was trained under the mask of {self.layout}, not of prefix",
                key="adapt.layout",
                fix="leave it out",
            )
        return asked or self.layout

    def attention(self, asked: str | None) -> str | dict[str, str]:
        """What transformers is told: sdpa, but eager for a language model whose attention scores are capped (Gemma 2's).

        Raises InputError where sdpa is asked for and would leave the cap out.
        """
        if getattr(self.text, "attn_logit_softcapping", None) is None:
            return asked or "sdpa"
        if asked == "sdpa":
            raise InputError(
                f"sdpa does not cap attention scores, as {self.text.model_type} does", key="attention", fix="use eager"
            )
        return "eager" if asked else {"": "sdpa", "text_config": "eager", "vision_config": "sdpa"}

    # ------------------------------------------------------------ forward, in three parts

    def encode(self, network: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
        """Image features float[I, N, D] of pictures float[I, 3, H, W]: tower and projector, each picture once."""
        return self.core(network).model.get_image_features(pixels).pooler_output

    def hidden(
        self,
        network: nn.Module,
        batch: Batch,
        features: torch.Tensor,
        cache: Cache | None = None,
        at: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Last hidden states float[B, L, D] of a batch whose picture features are float[I, N, D]; fills `cache`.

        With `at` bool[B, L] only float[M, D], those of the True positions in reading order: the last layer then
        computes no others.
        """
        core = self.core(network)
        is_image = batch.ids == self.image_token_id
        embeds = core.get_input_embeddings()(batch.ids.masked_fill(is_image, 0))
        images = features[batch.image_of_row].flatten(0, 1).to(embeds.dtype)
        number = is_image.flatten().cumsum(0).sub(1).clamp(min=0)  # of each image token; a mask would make a GPU wait
        embeds = torch.where(is_image[..., None], images.index_select(0, number).view_as(embeds), embeds)
        if at is None:
            return self.language(network, embeds, batch.attention_mask(), batch.position_ids, cache)
        blocks = core.model.language_model.config._attn_implementation == BLOCKS and batch.ids.shape[1] >= LEAST
        mask = block_mask(batch) if blocks else batch.attention_mask()
        with last_layer_at(core.model.language_model.layers[-1], at, batch.attention_mask) as chosen:
            return chosen(self.language(network, embeds, mask, batch.position_ids))

    def language(
        self,
        network: nn.Module,
        embeds: torch.Tensor,
        mask: torch.Tensor | BlockMask,
        position_ids: torch.Tensor,
        cache: Cache | None = None,
    ) -> torch.Tensor:
        """Gemma on embeddings float[B, L, D] under our own mask bool[B, 1, L, K] (K counts what the cache holds)."""
        self._fits(mask.shape[-1] if cache is not None else position_ids)
        given = mask if isinstance(mask, BlockMask) else additive(mask, embeds.dtype)
        kinds = set(getattr(self.text, "layer_types", None) or ())
        masks = dict.fromkeys(kinds, given) if "sliding_attention" in kinds else given
        return (
            self.core(network)
            .model.language_model(
                inputs_embeds=embeds,
                attention_mask=masks,
                position_ids=position_ids,
                past_key_values=cache,
                use_cache=cache is not None,
            )
            .last_hidden_state
        )

    def _fits(self, length: int | torch.Tensor) -> None:
        """Raises InputError where a sequence, by its length or its positions, is longer than an attention window."""
        window = getattr(self.text, "sliding_window", None)
        longest = 0 if window is None else int(torch.as_tensor(length).max())  # a packed row holds several sequences
        if window is not None and longest > window:
            raise InputError(
                f"a sequence of {longest} tokens", key="sliding_window", fix=f"this checkpoint takes {window}"
            )

    def recompute(self, network: nn.Module) -> None:
        """Compute activations again for the backward pass, but for the last layer, of which little is kept anyway."""
        core = self.core(network)
        core.gradient_checkpointing_enable({"use_reentrant": False})
        core.model.language_model.layers[-1].gradient_checkpointing = False

    def logits(self, network: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        """float32[..., V] next-token logits of hidden states float[..., D]; choose the positions before calling."""
        logits = self.core(network).lm_head(hidden).float()
        cap = getattr(self.text, "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    # ------------------------------------------------------------ names

    def banned_tokens(self, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        """Ids that are no words of an answer: image, pad, bos, `<locXXXX>` and `<segXXX>`; also unused embedding rows."""
        drawn = re.compile(r"<(loc\d{4}|seg\d{3})>")
        vocabulary = tokenizer.get_vocab()
        banned = {i for token, i in vocabulary.items() if drawn.fullmatch(token)}
        banned |= {self.image_token_id, tokenizer.pad_token_id, tokenizer.bos_token_id}
        banned |= set(range(len(tokenizer), self.text.vocab_size))
        return sorted(banned - {tokenizer.eos_token_id, None})

    def lora_targets(self, language: Sequence[str], vision: Sequence[str], projector: bool = False) -> str:
        """One anchored regular expression for peft's `target_modules`: bare names would also adapt the other tower.

        Raises InputError for a module name that the tower does not have.
        """
        for tower, names, allowed in (("language", language, LANGUAGE_MODULES), ("vision", vision, VISION_MODULES)):
            for name in names:
                if name not in allowed:
                    raise InputError(
                        f"no module {name!r} in the {tower} tower",
                        key=f"adapt.{tower}",
                        fix="use " + ", ".join(allowed),
                    )
        parts = []
        if language:
            parts.append(rf"model\.language_model\.layers\.\d+\.(self_attn|mlp)\.({'|'.join(language)})")
        if vision:
            layers = r"\d+" if self.num_vision_layers == self.vision.num_hidden_layers else self._used_layers()
            parts.append(
                rf"model\.vision_tower\.(vision_model\.)?encoder\.layers\.{layers}\.(self_attn|mlp)\.({'|'.join(vision)})"
            )
        if projector:
            parts.append(self.projector_target())
        if not parts:
            raise InputError(
                "nothing to adapt", key="adapt", fix="name modules for language or vision, or projector: true"
            )
        return "|".join(f"({part})" for part in parts)

    def _used_layers(self) -> str:
        return f"({'|'.join(map(str, range(self.num_vision_layers)))})"

    def projector_target(self) -> str:
        """The projector's linear layers, as a regular expression."""
        return r"model\.multi_modal_projector\.linear"

    def projector_shapes(self) -> list[tuple[int, int]]:
        """Their inputs and outputs."""
        return [(self.vision.hidden_size, self.text.hidden_size)]

    def num_lora_parameters(
        self, rank: int, language: Sequence[str], vision: Sequence[str], projector: bool, magnitudes: bool = False
    ) -> dict[str, int]:
        """How many parameters LoRA must add per tower, counted from the configuration: rank x (in + out) a module.

        `magnitudes`: DoRA's vector of one number an output besides.
        """
        text, tower = self.text, self.vision
        heads, shared = self.head_dim * text.num_attention_heads, self.head_dim * text.num_key_value_heads
        d, m, v, w = text.hidden_size, text.intermediate_size, tower.hidden_size, tower.intermediate_size
        sizes = {"q_proj": (d, heads), "k_proj": (d, shared), "v_proj": (d, shared), "o_proj": (heads, d)}
        sizes |= {"gate_proj": (d, m), "up_proj": (d, m), "down_proj": (m, d)}
        seen = dict.fromkeys(("q_proj", "k_proj", "v_proj", "out_proj"), (v, v)) | {"fc1": (v, w), "fc2": (w, v)}

        def added(shapes: Sequence[tuple[int, int]]) -> int:
            return sum(rank * (inputs + outputs) + magnitudes * outputs for inputs, outputs in shapes)

        return {
            "language": text.num_hidden_layers * added([sizes[name] for name in language]),
            "vision": self.num_vision_layers * added([seen[name] for name in vision]),
            "projector": added(self.projector_shapes()) if projector else 0,
        }
