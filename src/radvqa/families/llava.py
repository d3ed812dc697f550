"""LLaVA 1.5: CLIP tower, two-layer projector, a causal language model; nothing is bidirectional.

    <bos> USER:  <image> x N  \\n prompt ASSISTANT:   answer <eos>
    |-- the picture's ------| question, causal    | causal, supervised |

In: a network and a Batch. Out: as PaliGemma's. Its own mask is the layout image-first. CLIP's processor shows the model the
middle square of a picture; what lies beside it is not seen, and saliency maps are therefore refused.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import LlavaForConditionalGeneration, PretrainedConfig, PreTrainedTokenizerBase

from radvqa.families.gemma3 import Gemma3


class Llava(Gemma3):
    """What is particular to LLaVA."""

    name = "llava"
    network_class = LlavaForConditionalGeneration
    turn = "USER: {image}\n{prompt} ASSISTANT:"
    after = 0
    block = False

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        taken = config.vision_feature_layer
        last = max(
            layer % (self.vision.num_hidden_layers + 1) for layer in ([taken] if isinstance(taken, int) else taken)
        )
        self.num_vision_layers = last

    def image_tokens_a_side(self) -> int:
        return self.vision.image_size // self.vision.patch_size

    def tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
        """The end of sequence ends an answer; it also pads where the checkpoint has no token for that."""
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    def encode(self, network: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
        """Image features float[I, N, D] of pictures float[I, 3, H, W], from the layer of the tower that it was trained on."""
        return torch.stack(list(self.core(network).model.get_image_features(pixels).pooler_output))

    def projector_target(self) -> str:
        return r"model\.multi_modal_projector\.linear_[12]"

    def projector_shapes(self) -> list[tuple[int, int]]:
        d = self.text.hidden_size
        return [(self.vision.hidden_size, d), (d, d)]
